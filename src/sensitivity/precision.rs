//! What a layer may compute in.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a layer computes in, from the widest to the narrowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// float32, as it was.
    #[serde(rename = "fp32")]
    Fp32,
    /// float16: operands, result and weights.
    Fp16,
    /// Weights are integers of 8 bits, and the layer computes in float32.
    Int8Weights,
    /// Operands and weights are integers of 8 bits.
    Int8,
}

impl Precision {
    /// Every one.
    pub const ALL: [Precision; 4] = [Precision::Fp32, Precision::Fp16, Precision::Int8Weights, Precision::Int8];

    /// Bits of an element of a weight.
    pub fn weight_bits(self) -> u64 {
        match self {
            Precision::Fp32 => 32,
            Precision::Fp16 => 16,
            Precision::Int8Weights | Precision::Int8 => 8,
        }
    }

    /// Bits of an element of a computed operand.
    pub fn operand_bits(self) -> u64 {
        match self {
            Precision::Fp32 | Precision::Int8Weights => 32,
            Precision::Fp16 => 16,
            Precision::Int8 => 8,
        }
    }

    /// What a user calls it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16 => "fp16",
            Precision::Int8Weights => "int8-weights",
            Precision::Int8 => "int8",
        }
    }
}

impl Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Precision, String> {
        Precision::ALL.into_iter().find(|precision| precision.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Precision::ALL.iter().map(|precision| precision.name()).collect();
            format!("\"{text}\" is no precision of a layer: {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_is_read_and_written() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
        assert!("int4".parse::<Precision>().unwrap_err().contains("int8-weights"));
    }
}
