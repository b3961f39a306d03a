//! Rounding to narrower floats, once.

use half::{bf16, f16};

/// `x` rounded to nearest, ties to even.
pub(super) fn to_f16(x: f64) -> f16 {
    f16::from_f32(to_odd(x))
}

/// `x` rounded to nearest, ties to even.
pub(super) fn to_bf16(x: f64) -> bf16 {
    bf16::from_f32(to_odd(x))
}

/// `x` as f32; when that is inexact, the neighbour whose last bit is 1. Rounding that to a type with at least two bits
/// less gives what rounding `x` itself gives, where rounding to nearest twice can end on the wrong side of a tie.
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    if x.is_nan() || f64::from(near) == x {
        return near;
    }
    let bits = near.to_bits();
    let truncated = if f64::from(near).abs() > x.abs() { bits - 1 } else { bits };
    f32::from_bits(truncated | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_beside_a_tie_does_not_round_as_the_tie() {
        // Half a unit above 1, and a little that float32 does not hold.
        let (f16_tie, bf16_tie) = (1.0 + 2f64.powi(-11), 1.0 + 2f64.powi(-8));
        let little = 2f64.powi(-40);
        assert_eq!(to_f16(f16_tie), f16::ONE);
        assert_eq!(to_f16(f16_tie + little).to_bits(), f16::ONE.to_bits() + 1);
        assert_eq!(to_f16(-f16_tie - little).to_bits(), f16::NEG_ONE.to_bits() + 1);
        assert_eq!(to_bf16(bf16_tie), bf16::ONE);
        assert_eq!(to_bf16(bf16_tie + little).to_bits(), bf16::ONE.to_bits() + 1);
        let odd = 1.0 + 3.0 * 2f64.powi(-11);
        assert_eq!(to_f16(odd).to_bits(), f16::ONE.to_bits() + 2);
        assert_eq!(to_f16(odd - little).to_bits(), f16::ONE.to_bits() + 1);
    }

    #[test]
    fn the_ends_are_kept() {
        assert_eq!(to_f16(65_519.999_999), f16::MAX);
        assert_eq!(to_f16(65_520.0), f16::INFINITY);
        assert_eq!(to_f16(f64::MAX), f16::INFINITY);
        assert_eq!(to_bf16(-1e300), bf16::NEG_INFINITY);
        assert_eq!(to_f16(2f64.powi(-25)), f16::ZERO);
        assert_eq!(to_f16(2f64.powi(-25) + 2f64.powi(-60)).to_bits(), 1);
        assert_eq!(to_bf16(f64::MIN_POSITIVE).to_bits(), 0);
        assert_eq!(to_f16(-0.0).to_bits(), 0x8000);
        assert!(to_f16(f64::NAN).is_nan() && to_bf16(f64::NAN).is_nan());
    }
}
