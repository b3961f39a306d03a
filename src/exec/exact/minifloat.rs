//! Floating-point formats of 4 to 16 bits: decoding, and rounding to them once.
//!
//! Everything goes through f64, which holds every value of every format here.

use half::{bf16, f16};

use crate::ir::DType;

/// What a format does with the codes at its top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Top {
    /// The largest exponent holds infinities and NaNs (IEEE 754).
    Ieee,
    /// Only the all-ones code of either sign is a NaN; there is no infinity.
    LastIsNan,
    /// The code of negative zero is the only NaN; there is no infinity.
    NegativeZeroIsNan,
    /// Every code is a finite number.
    Finite,
}

/// A binary format with one sign bit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    exponent: u32,
    mantissa: u32,
    bias: i32,
    top: Top,
}

const F16: Format = Format { exponent: 5, mantissa: 10, bias: 15, top: Top::Ieee };
const BF16: Format = Format { exponent: 8, mantissa: 7, bias: 127, top: Top::Ieee };

/// What happens beyond the largest finite value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The largest finite value of that sign.
    Saturate,
    /// Infinity where there is one, else NaN.
    Escape,
}

impl Format {
    /// The format of `dtype`, for the types of 4 to 8 bits that have a sign.
    pub(super) fn of(dtype: DType) -> Option<Format> {
        Some(match dtype {
            DType::F8E4M3FN => Format { exponent: 4, mantissa: 3, bias: 7, top: Top::LastIsNan },
            DType::F8E4M3FNUZ => Format { exponent: 4, mantissa: 3, bias: 8, top: Top::NegativeZeroIsNan },
            DType::F8E5M2 => Format { exponent: 5, mantissa: 2, bias: 15, top: Top::Ieee },
            DType::F8E5M2FNUZ => Format { exponent: 5, mantissa: 2, bias: 16, top: Top::NegativeZeroIsNan },
            DType::F6E2M3 => Format { exponent: 2, mantissa: 3, bias: 1, top: Top::Finite },
            DType::F6E3M2 => Format { exponent: 3, mantissa: 2, bias: 3, top: Top::Finite },
            DType::F4E2M1 => Format { exponent: 2, mantissa: 1, bias: 1, top: Top::Finite },
            _ => return None,
        })
    }

    /// Whether the format has no way to say NaN.
    pub(super) fn lacks_nan(self) -> bool {
        self.top == Top::Finite
    }

    fn sign_bit(self) -> u16 {
        1 << (self.exponent + self.mantissa)
    }

    /// The code of the largest finite magnitude.
    fn largest(self) -> u16 {
        let ones = self.sign_bit() - 1;
        match self.top {
            Top::Ieee => ones - (1 << self.mantissa),
            Top::LastIsNan => ones - 1,
            Top::NegativeZeroIsNan | Top::Finite => ones,
        }
    }

    fn nan(self, sign: u16) -> u16 {
        match self.top {
            // The highest mantissa bit makes a NaN quiet.
            Top::Ieee => sign | (self.largest() + 1) | (1 << (self.mantissa - 1)),
            Top::LastIsNan => sign | (self.sign_bit() - 1),
            Top::NegativeZeroIsNan => self.sign_bit(),
            Top::Finite => sign | self.largest(),
        }
    }

    /// The value of `code`.
    pub(super) fn decode(self, code: u16) -> f64 {
        let negative = code & self.sign_bit() != 0;
        let magnitude = code & (self.sign_bit() - 1);
        let field = i32::from(magnitude >> self.mantissa);
        let fraction = f64::from(magnitude & ((1 << self.mantissa) - 1));
        let is_special = magnitude > self.largest() || (self.top == Top::NegativeZeroIsNan && code == self.sign_bit());
        let scale = 2f64.powi(1 - self.bias - self.mantissa.cast_signed());
        let value = if is_special {
            if self.top == Top::Ieee && fraction == 0.0 { f64::INFINITY } else { f64::NAN }
        } else if field == 0 {
            fraction * scale
        } else {
            (fraction + f64::from(1 << self.mantissa)) * scale * 2f64.powi(field - 1)
        };
        if negative { -value } else { value }
    }

    /// The code nearest to `x`, ties to even. A NaN keeps its sign where the format has one.
    pub(super) fn encode(self, x: f64, overflow: Overflow) -> u16 {
        let sign = if x.is_sign_negative() { self.sign_bit() } else { 0 };
        if x.is_nan() {
            return self.nan(sign);
        }
        let too_large = || match (overflow, self.top) {
            (Overflow::Saturate, _) | (_, Top::Finite) => sign | self.largest(),
            (Overflow::Escape, Top::Ieee) => sign | (self.largest() + 1),
            (Overflow::Escape, Top::LastIsNan | Top::NegativeZeroIsNan) => self.nan(sign),
        };
        if x.is_infinite() {
            return too_large();
        }
        let magnitude = self.magnitude(x.abs());
        if magnitude > u64::from(self.largest()) {
            return too_large();
        }
        let magnitude = u16::try_from(magnitude).unwrap_or(self.largest());
        // Without a negative zero, what rounds to zero is plain zero.
        if magnitude == 0 && self.top == Top::NegativeZeroIsNan { 0 } else { sign | magnitude }
    }

    /// Exponent and mantissa fields of the nearest number if the exponent had no end.
    fn magnitude(self, x: f64) -> u64 {
        let mantissa_bits = i64::from(f64::MANTISSA_DIGITS - 1);
        let bits = x.to_bits();
        let (field, fraction) = ((bits >> mantissa_bits).cast_signed(), bits & ((1 << mantissa_bits) - 1));
        // x = significand · 2^(unit)
        let (significand, unit) =
            if field == 0 { (fraction, -1074) } else { (fraction | (1 << mantissa_bits), field - 1075) };
        if significand == 0 {
            return 0;
        }
        // The exponent field that x has in this format, at least 1: below, numbers are subnormal.
        let top_bit = i64::from(significand.ilog2()) + unit;
        let target = (top_bit + i64::from(self.bias)).max(1);
        // The weight of the last mantissa bit there.
        let last = target - i64::from(self.bias) - i64::from(self.mantissa);
        let kept = match u32::try_from(last - unit) {
            Err(_) => significand << u32::try_from(unit - last).unwrap_or(0).min(63),
            Ok(drop) if drop > 63 => 0,
            Ok(0) => significand,
            Ok(drop) => {
                let kept = significand >> drop;
                let rest = significand & ((1 << drop) - 1);
                let half = 1 << (drop - 1);
                kept + u64::from(rest > half || (rest == half && kept & 1 == 1))
            }
        };
        // `kept` carries the hidden bit of normal numbers, which adds one to the exponent field; so does a carry.
        let below = u64::try_from(target - 1).unwrap_or(0) << self.mantissa;
        below + kept
    }
}

/// The float16 nearest to `x`.
pub(super) fn to_f16(x: f64) -> f16 {
    f16::from_bits(F16.encode(x, Overflow::Escape))
}

/// The bfloat16 nearest to `x`.
pub(super) fn to_bf16(x: f64) -> bf16 {
    bf16::from_bits(BF16.encode(x, Overflow::Escape))
}

/// The value of a float8e8m0 code: a power of two.
pub(super) fn decode_e8m0(code: u8) -> f64 {
    if code == u8::MAX { f64::NAN } else { 2f64.powi(i32::from(code) - 127) }
}

/// How a number between two powers of two becomes one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PowerRounding {
    /// To the larger.
    Up,
    /// To the smaller.
    Down,
    /// To the nearer, ties up.
    Nearest,
}

/// The float8e8m0 code for `x`; `None` where ONNX leaves it open (negative numbers).
pub(super) fn encode_e8m0(x: f64, rounding: PowerRounding, overflow: Overflow) -> Option<u8> {
    let beyond = |limit: u8| if overflow == Overflow::Saturate { limit } else { u8::MAX };
    if x.is_nan() {
        return Some(u8::MAX);
    }
    if x.is_sign_negative() {
        return None;
    }
    if x.is_infinite() {
        return Some(beyond(u8::MAX - 1));
    }
    if x < 2f64.powi(-127) {
        return Some(beyond(0));
    }
    let exponent = i32::try_from(x.to_bits() >> (f64::MANTISSA_DIGITS - 1)).ok()? - 1023;
    let power = 2f64.powi(exponent);
    let up = match rounding {
        PowerRounding::Up => x > power,
        PowerRounding::Down => false,
        PowerRounding::Nearest => x >= 1.5 * power,
    };
    let code = exponent + 127 + i32::from(up);
    Some(u8::try_from(code).ok().filter(|c| *c < u8::MAX).unwrap_or(beyond(u8::MAX - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_decodes_and_encodes_to_itself() {
        for bits in 0..=u16::MAX {
            let (h, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            if !h.is_nan() {
                assert_eq!(F16.decode(bits), h.to_f64());
                assert_eq!(to_f16(h.to_f64()).to_bits(), bits);
            }
            if !b.is_nan() {
                assert_eq!(BF16.decode(bits), b.to_f64());
                assert_eq!(to_bf16(b.to_f64()).to_bits(), bits);
            }
        }
    }

    #[test]
    fn singles_round_to_half_as_the_half_crate_rounds_them() {
        for i in 0..200_000u32 {
            let x = f32::from_bits(i.wrapping_mul(2_654_435_761));
            if x.is_nan() {
                continue;
            }
            assert_eq!(to_f16(x.into()).to_bits(), f16::from_f32(x).to_bits(), "{x}");
            assert_eq!(to_bf16(x.into()).to_bits(), bf16::from_f32(x).to_bits(), "{x}");
        }
    }

    #[test]
    fn every_code_of_a_small_format_survives() {
        for dtype in DType::ALL.into_iter().filter(|&dtype| Format::of(dtype).is_some()) {
            let format = Format::of(dtype).unwrap();
            for code in 0..1u16 << dtype.bits() {
                let x = format.decode(code);
                if !x.is_nan() {
                    assert_eq!(format.encode(x, Overflow::Escape), code, "{dtype} {code:#x}");
                }
            }
        }
        for code in 0..u8::MAX {
            assert_eq!(encode_e8m0(decode_e8m0(code), PowerRounding::Up, Overflow::Saturate), Some(code));
        }
    }

    #[test]
    fn the_largest_values_are_those_of_the_specification() {
        let largest = |d| {
            let f = Format::of(d).unwrap();
            f.decode(f.largest())
        };
        assert_eq!(largest(DType::F8E4M3FN), 448.0);
        assert_eq!(largest(DType::F8E4M3FNUZ), 240.0);
        assert_eq!(largest(DType::F8E5M2), 57344.0);
        assert_eq!(largest(DType::F8E5M2FNUZ), 57344.0);
        assert_eq!(largest(DType::F6E2M3), 7.5);
        assert_eq!(largest(DType::F6E3M2), 28.0);
        assert_eq!(largest(DType::F4E2M1), 6.0);
    }

    #[test]
    fn overflow_follows_the_tables_of_cast() {
        let e4m3 = Format::of(DType::F8E4M3FN).unwrap();
        assert_eq!(e4m3.decode(e4m3.encode(1e6, Overflow::Saturate)), 448.0);
        assert!(e4m3.decode(e4m3.encode(1e6, Overflow::Escape)).is_nan());
        // Half way between the largest and what would come next rounds to even, which is beyond.
        assert_eq!(e4m3.decode(e4m3.encode(464.0, Overflow::Escape)), 448.0);
        assert!(e4m3.decode(e4m3.encode(464.1, Overflow::Escape)).is_nan());
        let e5m2 = Format::of(DType::F8E5M2).unwrap();
        assert_eq!(e5m2.decode(e5m2.encode(f64::NEG_INFINITY, Overflow::Escape)), f64::NEG_INFINITY);
        assert_eq!(e5m2.decode(e5m2.encode(f64::NEG_INFINITY, Overflow::Saturate)), -57344.0);
        let uz = Format::of(DType::F8E4M3FNUZ).unwrap();
        assert_eq!(uz.encode(-0.0, Overflow::Saturate), 0);
        assert_eq!(uz.encode(f64::NAN, Overflow::Saturate), 0x80);
    }

    #[test]
    fn powers_round_as_asked() {
        let code = |x, r| encode_e8m0(x, r, Overflow::Saturate).map(decode_e8m0);
        assert_eq!(code(3.0, PowerRounding::Up), Some(4.0));
        assert_eq!(code(3.0, PowerRounding::Down), Some(2.0));
        assert_eq!(code(3.0, PowerRounding::Nearest), Some(4.0));
        assert_eq!(code(2.9, PowerRounding::Nearest), Some(2.0));
        assert_eq!(code(-1.0, PowerRounding::Up), None);
        assert_eq!(encode_e8m0(f64::INFINITY, PowerRounding::Up, Overflow::Saturate), Some(254));
        assert_eq!(encode_e8m0(0.0, PowerRounding::Nearest, Overflow::Escape), Some(255));
    }
}
