//! Which integers stand for weights, and how many weights share a scale.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::ir::DType;

/// The integers that stand for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Integers {
    /// From -128 to 127.
    Int8,
    /// From -8 to 7.
    Int4,
    /// From 0 to 15, with a zero point.
    Uint4,
    /// From -2 to 1.
    Int2,
}

impl Integers {
    /// How many bits each has.
    pub fn bits(self) -> usize {
        self.width().bits()
    }

    /// The same, of the numbers that there are.
    pub fn width(self) -> Width {
        match self {
            Integers::Int8 => Width::Eight,
            Integers::Int4 | Integers::Uint4 => Width::Four,
            Integers::Int2 => Width::Two,
        }
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        match self {
            Integers::Int8 => DType::I8,
            Integers::Int4 => DType::I4,
            Integers::Uint4 => DType::U4,
            Integers::Int2 => DType::I2,
        }
    }

    /// Whether zero is in the middle where nothing else is asked for.
    pub fn is_symmetric(self) -> bool {
        self != Integers::Uint4
    }

    /// Weights that share a scale where nothing else is asked for.
    pub fn group(self) -> Group {
        match self {
            Integers::Int8 => Group::Channel,
            Integers::Int4 | Integers::Uint4 => Group::Columns(32),
            Integers::Int2 => Group::Columns(16),
        }
    }
}

/// Bits of an integer: as many as lie in a byte without a rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// Four in a byte.
    Two,
    /// Two in a byte.
    Four,
    /// One in a byte.
    Eight,
}

impl Width {
    /// As a number.
    pub fn bits(self) -> usize {
        match self {
            Width::Two => 2,
            Width::Four => 4,
            Width::Eight => 8,
        }
    }
}

/// Weights of one output that share a scale and a zero point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// So many that follow each other along what is summed.
    Columns(usize),
    /// All.
    Channel,
}

/// The numbers of columns that `--group-size` takes.
pub const GROUPS: [usize; 4] = [16, 32, 64, 128];

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Group::Columns(columns) => write!(f, "{columns}"),
            Group::Channel => f.write_str("channel"),
        }
    }
}

impl FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Group, String> {
        if text == "channel" {
            return Ok(Group::Channel);
        }
        let columns = text.parse().ok().filter(|columns| GROUPS.contains(columns));
        columns.map(Group::Columns).ok_or_else(|| "expected 16, 32, 64, 128 or channel".to_string())
    }
}

/// How integers are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The best of all for which there are samples, layer by layer.
    #[default]
    Auto,
    /// The nearest integer, in steps that reach from the least weight of a group to the largest.
    Nearest,
    /// The nearest integer, in steps with which a group errs least.
    Refined,
    /// Channels that weigh more in a layer's result take more of the steps: what is read is divided by what the weight
    /// is multiplied with.
    Scaled,
    /// Column after column; what is lost by rounding is made up for by the columns that follow.
    Gptq,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Method::Auto => "auto",
            Method::Nearest => "nearest",
            Method::Refined => "refined",
            Method::Scaled => "scaled",
            Method::Gptq => "gptq",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_as_they_are_written() {
        for text in ["16", "32", "64", "128", "channel"] {
            assert_eq!(text.parse::<Group>().unwrap().to_string(), text);
        }
        for wrong in ["", "0", "8", "48", "256", "Channel", "-32"] {
            assert!(wrong.parse::<Group>().is_err(), "{wrong}");
        }
    }
}
