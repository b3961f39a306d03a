//! What an assignment may cost.

use std::str::FromStr;

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Bytes and time, each as a share of what float32 takes; bit operations where nothing is known of times. Of two
    /// assignments of as many bytes the faster one costs less.
    #[default]
    Balance,
    /// Bytes of weights, with the scales of their integers.
    Bytes,
    /// Multiply-accumulates, each times the bits of both factors.
    Bitops,
    /// Nanoseconds, as far as the target's costs are known.
    Latency,
    /// Bits of the elements of weights alone.
    Bits,
}

/// How much of it there may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// This share of what the model costs in float32.
    Share(f64),
    /// So much.
    Number(f64),
}

/// The most that an assignment may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// What is counted.
    pub cost: Cost,
    /// How much there may be; of [`Cost::Bits`] the mean of all weights' elements.
    pub most: Amount,
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        const EXPECTED: &str = "expected bytes=50%, bytes=2MB, avg-bits=5, bitops=25% or latency=50%";
        let (what, amount) = text.split_once('=').ok_or(EXPECTED)?;
        let cost = match what {
            "bytes" => Cost::Bytes,
            "avg-bits" => Cost::Bits,
            "bitops" => Cost::Bitops,
            "latency" => Cost::Latency,
            _ => return Err(EXPECTED.into()),
        };
        let number = |text: &str| {
            text.trim().parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0).ok_or_else(|| EXPECTED.to_string())
        };
        let most = match amount.trim().strip_suffix('%') {
            Some(_) if cost == Cost::Bits => return Err("avg-bits is a number of bits, such as 5".into()),
            Some(share) => Amount::Share(number(share)? / 100.0),
            None => match cost {
                Cost::Bytes => Amount::Number(bytes(amount.trim()).ok_or(EXPECTED)?),
                Cost::Bits => Amount::Number(number(amount)?),
                Cost::Bitops | Cost::Latency | Cost::Balance => {
                    return Err(format!("{what} is a share, such as {what}=50%"));
                }
            },
        };
        Ok(Budget { cost, most })
    }
}

/// A number of bytes with a unit: powers of 1000 for kB, MB and GB, of 1024 for KiB, MiB and GiB.
fn bytes(text: &str) -> Option<f64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "" | "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    (number.is_finite() && number > 0.0).then_some(number * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_amounts_or_shares() {
        let of = |text: &str| text.parse::<Budget>().map(|b| (b.cost, b.most));
        assert_eq!(of("bytes=50%"), Ok((Cost::Bytes, Amount::Share(0.5))));
        assert_eq!(of("bytes=2MB"), Ok((Cost::Bytes, Amount::Number(2e6))));
        assert_eq!(of("bytes=1.5KiB"), Ok((Cost::Bytes, Amount::Number(1536.0))));
        assert_eq!(of("avg-bits=5"), Ok((Cost::Bits, Amount::Number(5.0))));
        assert_eq!(of("bitops=25%"), Ok((Cost::Bitops, Amount::Share(0.25))));
        assert_eq!(of("latency=50%"), Ok((Cost::Latency, Amount::Share(0.5))));
        for wrong in
            ["", "bytes", "bytes=", "bytes=0", "bytes=-1", "bytes=2XB", "bytes=nan", "avg-bits=50%", "bitops=5"]
        {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
