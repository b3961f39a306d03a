//! Which weights may be zeros.

use std::fmt;
use std::str::FromStr;

/// How zeros lie in a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    /// Of every `of` weights of one output that follow each other along the input channels, `zeros` are zero.
    Structured {
        /// How many are zero.
        zeros: usize,
        /// Of how many.
        of: usize,
    },
    /// This share of a layer's weights, wherever they are.
    Unstructured(f64),
}

/// The longest run that a pattern counts zeros in.
const LONGEST: usize = 64;

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pattern::Structured { zeros, of } => write!(f, "{}:{of}", of - zeros),
            Pattern::Unstructured(share) => write!(f, "{share}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    /// `2:4`, two weights of four that stay, or `0.5`, the share that goes.
    fn from_str(text: &str) -> Result<Pattern, String> {
        let wrong = || format!("{text} is not N:M, such as 2:4, or a share below 1, such as 0.5");
        if let Some((kept, of)) = text.split_once(':') {
            let (kept, of): (usize, usize) = kept.parse().ok().zip(of.parse().ok()).ok_or_else(wrong)?;
            let sound = kept > 0 && kept < of && of <= LONGEST;
            return if sound { Ok(Pattern::Structured { zeros: of - kept, of }) } else { Err(wrong()) };
        }
        let share = text.parse().ok().filter(|&share: &f64| share > 0.0 && share < 1.0);
        share.map(Pattern::Unstructured).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_read_as_they_are_written() {
        for text in ["2:4", "1:4", "0.5", "0.75"] {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for wrong in ["", "4:4", "0:4", "5:4", "2:", "1:65", "0", "1", "-0.5", "nan"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
