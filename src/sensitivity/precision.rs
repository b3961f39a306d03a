//! What a layer may compute in.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::lowbit::Integers;
use crate::precision::Half;

/// What a layer computes in, from the widest to the narrowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// float32, as it was.
    #[serde(rename = "fp32")]
    Fp32,
    /// Weights are float16, and the layer computes in float32.
    Fp16Weights,
    /// float16: operands, result and weights.
    Fp16,
    /// bfloat16: operands, result and weights.
    Bf16,
    /// Weights are integers of 8 bits, and the layer computes in float32.
    Int8Weights,
    /// Operands and weights are integers of 8 bits.
    Int8,
    /// Weights are integers of 4 bits with zero points, and the layer computes in float32.
    Uint4,
    /// Weights are integers of 4 bits around zero, and the layer computes in float32.
    Int4,
    /// Weights are integers of 2 bits around zero, and the layer computes in float32.
    Int2,
}

impl Precision {
    /// Every one.
    pub const ALL: [Precision; 9] = [
        Precision::Fp32,
        Precision::Fp16Weights,
        Precision::Fp16,
        Precision::Bf16,
        Precision::Int8Weights,
        Precision::Int8,
        Precision::Uint4,
        Precision::Int4,
        Precision::Int2,
    ];

    /// Bits of an element of a weight.
    pub fn weight_bits(self) -> u64 {
        match self {
            Precision::Fp32 => 32,
            Precision::Fp16Weights | Precision::Fp16 | Precision::Bf16 => 16,
            Precision::Int8Weights | Precision::Int8 => 8,
            Precision::Uint4 | Precision::Int4 => 4,
            Precision::Int2 => 2,
        }
    }

    /// Bits of an element of a computed operand.
    pub fn operand_bits(self) -> u64 {
        match self {
            Precision::Fp16 | Precision::Bf16 => 16,
            Precision::Int8 => 8,
            _ => 32,
        }
    }

    /// Whether nothing but weights is narrower.
    pub fn is_of_weights(self) -> bool {
        self.weight_bits() < 32 && self.operand_bits() == 32
    }

    /// The integers that stand for weights of a layer that computes in float32.
    pub(crate) fn few_bits(self) -> Option<Integers> {
        match self {
            Precision::Fp32 | Precision::Fp16Weights | Precision::Fp16 | Precision::Bf16 | Precision::Int8 => None,
            Precision::Int8Weights => Some(Integers::Int8),
            Precision::Uint4 => Some(Integers::Uint4),
            Precision::Int4 => Some(Integers::Int4),
            Precision::Int2 => Some(Integers::Int2),
        }
    }

    /// The half that a layer computes in.
    pub(crate) fn half(self) -> Option<Half> {
        match self {
            Precision::Fp16 => Some(Half::F16),
            Precision::Bf16 => Some(Half::BF16),
            _ => None,
        }
    }

    /// What a user calls it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::Fp32 => "fp32",
            Precision::Fp16Weights => "fp16-weights",
            Precision::Fp16 => "fp16",
            Precision::Bf16 => "bf16",
            Precision::Int8Weights => "int8-weights",
            Precision::Int8 => "int8",
            Precision::Uint4 => "uint4",
            Precision::Int4 => "int4",
            Precision::Int2 => "int2",
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
        assert!("int3".parse::<Precision>().unwrap_err().contains("int8-weights"));
    }
}
