//! Elements of a file as an input takes them: floats stay floats, integers stay integers, and every value must fit.

use bytes::Bytes;
use half::{bf16, f16};

use crate::ir::DType;

/// From elements of a file to those of an input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Conversion {
    from: DType,
    is_big_endian: bool,
    to: DType,
}

impl Conversion {
    /// From elements of type `from` to those of type `to`; an error says why they are not converted.
    pub(super) fn new(from: DType, is_big_endian: bool, to: DType) -> Result<Conversion, String> {
        let is_wide_float = |t: DType| matches!(t, DType::F16 | DType::BF16 | DType::F32 | DType::F64);
        let is_wide_integer = |t: DType| t.is_integer() && t.bits() >= 8;
        if from == to || (is_wide_float(from) && is_wide_float(to)) || (is_wide_integer(from) && is_wide_integer(to)) {
            return Ok(Conversion { from, is_big_endian, to });
        }
        Err(format!("holds {from}, the input {to}; values of another kind are not converted"))
    }

    /// The input's type.
    pub(super) fn to(self) -> DType {
        self.to
    }

    /// Bytes of an element in the file.
    pub(super) fn width(self) -> usize {
        self.from.bits() / 8
    }

    /// Bytes of an element where it takes the most.
    pub(super) fn widest(self) -> usize {
        self.from.bits().max(self.to.bits()) / 8
    }

    /// The elements as the input takes them; an error names the first value that does not fit.
    pub(super) fn apply(self, mut elements: Vec<u8>) -> Result<Bytes, String> {
        let width = self.width();
        if self.is_big_endian && width > 1 {
            elements.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        if self.from == self.to {
            if self.from == DType::Bool {
                elements.iter_mut().for_each(|e| *e = u8::from(*e != 0));
            }
            return Ok(elements.into());
        }
        let mut made = Vec::with_capacity(elements.len() / width * (self.to.bits() / 8));
        let misfit = |value: &dyn std::fmt::Debug| format!("holds {value:?}, which does not fit {}", self.to);
        if self.from.is_integer() {
            for element in elements.chunks_exact(width) {
                let value = integer(self.from, element);
                if !put_integer(self.to, value, &mut made) {
                    return Err(misfit(&value));
                }
            }
        } else {
            for element in elements.chunks_exact(width) {
                let value = real(self.from, element);
                if !put_real(self.to, value, &mut made) {
                    return Err(misfit(&value));
                }
            }
        }
        Ok(made.into())
    }
}

/// A little-endian integer of at most 8 bytes.
fn integer(dtype: DType, element: &[u8]) -> i128 {
    let mut wide = [0; 8];
    wide[..element.len()].copy_from_slice(element);
    let unsigned = u64::from_le_bytes(wide);
    if dtype.is_signed_integer() {
        let unused = 64 - dtype.bits();
        i128::from((unsigned << unused).cast_signed() >> unused)
    } else {
        i128::from(unsigned)
    }
}

/// Append `value` as `dtype`; whether it fits.
fn put_integer(dtype: DType, value: i128, out: &mut Vec<u8>) -> bool {
    let bits = dtype.bits();
    let (least, most) = match dtype.is_signed_integer() {
        true => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        false => (0, (1i128 << bits) - 1),
    };
    out.extend(&value.to_le_bytes()[..bits / 8]);
    (least..=most).contains(&value)
}

fn real(dtype: DType, element: &[u8]) -> f64 {
    match (dtype, element) {
        (DType::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f64(),
        (DType::BF16, &[a, b]) => bf16::from_le_bytes([a, b]).to_f64(),
        (DType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).into(),
        (DType::F64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
        _ => f64::NAN,
    }
}

/// Append `value` rounded to `dtype`; whether it fits. What is not finite stays so.
fn put_real(dtype: DType, value: f64, out: &mut Vec<u8>) -> bool {
    let rounded = match dtype {
        DType::F16 => {
            let x = f16::from_f64(value);
            out.extend(x.to_le_bytes());
            x.to_f64()
        }
        DType::BF16 => {
            let x = bf16::from_f64(value);
            out.extend(x.to_le_bytes());
            x.to_f64()
        }
        DType::F32 => {
            #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
            let x = value as f32;
            out.extend(x.to_le_bytes());
            x.into()
        }
        _ => {
            out.extend(value.to_le_bytes());
            value
        }
    };
    rounded.is_finite() || !value.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted<const N: usize>(from: DType, to: DType, element: [u8; N]) -> Result<Vec<u8>, String> {
        Conversion::new(from, false, to)?.apply(element.to_vec()).map(|b| b.to_vec())
    }

    #[test]
    fn every_value_must_fit() {
        let i64_to_i32 = |x: i64| converted(DType::I64, DType::I32, x.to_le_bytes());
        assert_eq!(i64_to_i32(-7), Ok((-7i32).to_le_bytes().to_vec()));
        assert_eq!(i64_to_i32(1 << 31), Err("holds 2147483648, which does not fit int32".into()));
        assert_eq!(converted(DType::I32, DType::I64, (-1i32).to_le_bytes()), Ok((-1i64).to_le_bytes().to_vec()));
        assert_eq!(converted(DType::U64, DType::I64, u64::MAX.to_le_bytes()).unwrap_err().split(',').count(), 2);
        assert!(converted(DType::I8, DType::U8, [255]).is_err(), "-1");
        let f64_to_f32 = |x: f64| converted(DType::F64, DType::F32, x.to_le_bytes());
        assert_eq!(f64_to_f32(0.5), Ok(0.5f32.to_le_bytes().to_vec()));
        assert_eq!(f64_to_f32(1e300), Err("holds 1e300, which does not fit float".into()));
        assert!(f64_to_f32(1e39).is_err() && f64_to_f32(f64::INFINITY).is_ok());
        assert!(converted(DType::F32, DType::F16, 1e5f32.to_le_bytes()).is_err());
    }

    #[test]
    fn kinds_are_not_mixed() {
        for (from, to) in [
            (DType::U8, DType::F32),
            (DType::F32, DType::I64),
            (DType::Bool, DType::I64),
            (DType::I64, DType::Bool),
            (DType::F32, DType::String),
        ] {
            assert!(Conversion::new(from, false, to).is_err(), "{from} {to}");
        }
    }

    #[test]
    fn bytes_may_come_in_either_order() {
        let big = Conversion::new(DType::F32, true, DType::F32).unwrap();
        assert_eq!(&big.apply(2.5f32.to_be_bytes().to_vec()).unwrap()[..], 2.5f32.to_le_bytes());
        let big = Conversion::new(DType::I16, true, DType::I64).unwrap();
        assert_eq!(&big.apply((-300i16).to_be_bytes().to_vec()).unwrap()[..], (-300i64).to_le_bytes());
    }
}
