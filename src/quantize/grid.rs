//! The integers that stand for a tensor's real numbers, and what one of them is worth.

use serde::Serialize;

use crate::calibrate::{Levels, Range};
use crate::ir::DType;

/// An integer type and how it is laid over real numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// An integer type of 2 to 16 bits.
    pub dtype: DType,
    /// Whether zero is the middle of the integers: 0 of signed ones, half of unsigned ones. Else it is where it fits best.
    pub symmetric: bool,
}

/// What integers are worth: `real = scale · (integer − zero_point)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Scaling {
    /// Real units of one step. Positive and normal.
    pub scale: f32,
    /// The integer that stands for zero.
    pub zero_point: i64,
}

impl Grid {
    /// uint8 with a zero point.
    pub const U8: Grid = Grid { dtype: DType::U8, symmetric: false };
    /// int8 around zero.
    pub const I8: Grid = Grid { dtype: DType::I8, symmetric: true };

    /// Bits of one integer.
    pub fn bits(self) -> u32 {
        u32::try_from(self.dtype.bits()).unwrap_or(8)
    }

    /// Whether there are negative integers.
    pub fn is_signed(self) -> bool {
        matches!(self.dtype, DType::I2 | DType::I4 | DType::I8 | DType::I16 | DType::I32 | DType::I64)
    }

    /// The least integer.
    pub fn least(self) -> i64 {
        if self.is_signed() { -(1 << (self.bits() - 1)) } else { 0 }
    }

    /// The greatest integer.
    pub fn greatest(self) -> i64 {
        self.least() + (1 << self.bits()) - 1
    }

    /// What range methods need to know.
    pub fn levels(self) -> Levels {
        Levels { bits: self.bits(), symmetric: self.symmetric }
    }

    /// The scale and zero point for `range`, which a range method gave for [`Grid::levels`].
    pub fn scaling(self, range: Range) -> Scaling {
        let scale = (range.scale(self.levels()) as f32).max(f32::MIN_POSITIVE);
        let zero_point = match self.symmetric {
            true if self.is_signed() => 0,
            true => 1 << (self.bits() - 1),
            false => {
                let below = (-range.low / f64::from(scale)).round() as i64;
                (self.least() + below).clamp(self.least(), self.greatest())
            }
        };
        Scaling { scale, zero_point }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_an_integer_and_ends_are_reached() {
        let s = Grid::U8.scaling(Range { low: -1.0, high: 3.0 });
        assert_eq!(s.zero_point, 64);
        assert!((s.scale - 4.0 / 255.0).abs() < 1e-9);
        let s = Grid::I8.scaling(Range { low: -3.0, high: 3.0 });
        assert_eq!((s.scale, s.zero_point), ((3.0 / 127.0) as f32, 0));
        let i8 = Grid { dtype: DType::I8, symmetric: false };
        assert_eq!(i8.scaling(Range { low: 0.0, high: 6.0 }).zero_point, -128);
        assert_eq!((i8.least(), i8.greatest()), (-128, 127));
    }
}
