//! Constants as numbers.

use crate::ir::{DType, Data, Tensor};
use crate::rewrite::{Const, Match};

/// Whether every element is exactly `number`. (Of a float type, 0 is the positive zero.)
pub fn is_all(tensor: &Tensor, number: f64) -> bool {
    // The first element settles most questions without reading a whole weight.
    let same = |x: f64| x == number && x.is_sign_negative() == number.is_sign_negative();
    tensor.real(0).is_some_and(same) && tensor.uniform_real().is_some_and(same)
}

/// Whether this is a type whose arithmetic rounds and whose constants can be computed here.
pub fn is_foldable_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::BF16)
}

/// The largest finite number of a type of [`is_foldable_float`].
pub fn largest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 65504.0,
        DType::BF16 => f64::from_bits(0x47ef_e000_0000_0000),
        DType::F32 => f64::from(f32::MAX),
        _ => f64::MAX,
    }
}

/// The smallest positive number that a type of [`is_foldable_float`] holds in full precision.
pub fn smallest(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => f64::from(half::f16::MIN_POSITIVE),
        DType::F64 => f64::MIN_POSITIVE,
        _ => f64::from(f32::MIN_POSITIVE),
    }
}

/// `elements` as a tensor of `dtype`; `None` when one is not finite there, or `dtype` is none of [`is_foldable_float`].
pub fn finite(dtype: DType, dims: &[usize], elements: &[f64]) -> Option<Tensor> {
    let limit = largest(dtype);
    if elements.iter().all(|e| e.abs() <= limit) { Tensor::rounded(dtype, dims, elements).ok() } else { None }
}

/// Whether every element is finite: the guard against a constant that overflows when it is folded.
pub fn is_finite(tensor: &Tensor) -> bool {
    let bytes = match tensor.data() {
        Data::Raw(bytes) => &bytes[..],
        Data::Splat(element) => &element[..],
        Data::Strings(_) => return false,
    };
    // All ones in the exponent means infinite or NaN.
    let half = |mask: u16| bytes.chunks_exact(2).all(|e| u16::from_le_bytes([e[0], e[1]]) & mask != mask);
    match tensor.dtype() {
        DType::F16 => half(0x7c00),
        DType::BF16 => half(0x7f80),
        DType::F32 => bytes.chunks_exact(4).all(|e| f32::from_le_bytes([e[0], e[1], e[2], e[3]]).is_finite()),
        DType::F64 => tensor.reals().is_some_and(|r| r.iter().all(|x| x.is_finite())),
        _ => false,
    }
}

/// Every element and its flat index through `f`, rounded once; `None` when a result is not finite.
pub fn mapped(tensor: &Tensor, f: impl Fn(usize, f64) -> f64) -> Option<Tensor> {
    let out: Vec<f64> = tensor.reals()?.into_iter().enumerate().map(|(i, x)| f(i, x)).collect();
    finite(tensor.dtype(), tensor.dims(), &out)
}

/// A constant of up to this many bytes may be stored twice to save a node.
pub const SMALL: usize = 64 << 10;

/// Whether a rule may store another constant for the one that it matched: nobody outside the match reads the old one,
/// or it is small.
pub fn may_replace(m: &Match<'_>, name: Const) -> bool {
    m.owns(name) || m[name].stored_bytes() <= SMALL
}

/// Two constants combined element by element, broadcast together; `None` when they do not broadcast, have more than
/// `limit` elements together, or a result is not finite.
pub fn combine(a: &Tensor, b: &Tensor, limit: usize, f: impl Fn(f64, f64) -> f64) -> Option<Tensor> {
    let rank = a.rank().max(b.rank());
    let size = |t: &Tensor, axis: usize| (axis + t.rank()).checked_sub(rank).map_or(1, |i| t.dims()[i]);
    let dims: Vec<usize> = (0..rank)
        .map(|axis| match (size(a, axis), size(b, axis)) {
            (x, y) if x == y || y == 1 => Some(x),
            (1, y) => Some(y),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let count = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|&n| n <= limit)?;
    let (x, y) = (a.reals()?, b.reals()?);
    let at = |t: &Tensor, mut flat: usize| {
        let (mut index, mut stride) = (0, 1);
        for axis in (0..rank).rev() {
            let i = flat % dims[axis];
            flat /= dims[axis];
            if size(t, axis) > 1 {
                index += i * stride;
            }
            stride *= size(t, axis);
        }
        index
    };
    let out: Vec<f64> = (0..count).map(|i| f(x[at(a, i)], y[at(b, i)])).collect();
    finite(a.dtype(), &dims, &out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_a_sign() {
        let t = |x: f32| Tensor::f32s(&[2], &[x, x]).unwrap();
        assert!(is_all(&t(0.0), 0.0) && !is_all(&t(-0.0), 0.0) && is_all(&t(-0.0), -0.0));
        assert!(!is_all(&Tensor::f32s(&[0], &[]).unwrap(), 0.0));
    }

    #[test]
    fn combining_broadcasts() {
        let column = Tensor::f32s(&[2, 1], &[1.0, 2.0]).unwrap();
        let row = Tensor::f32s(&[3], &[10.0, 20.0, 30.0]).unwrap();
        let sum = combine(&column, &row, 6, |a, b| a + b).unwrap();
        assert_eq!((sum.dims(), sum.reals().unwrap()), (&[2, 3][..], vec![11.0, 21.0, 31.0, 12.0, 22.0, 32.0]));
        assert!(combine(&column, &row, 5, |a, b| a + b).is_none());
        assert!(combine(&row, &row, 3, |a, b| a / (b - 10.0)).is_none());
    }

    #[test]
    fn infinity_is_found_in_every_type() {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let t = |x: f64| Tensor::rounded(dtype, &[2], &[1.0, x]).unwrap();
            assert!(is_finite(&t(3.0)) && !is_finite(&t(f64::NEG_INFINITY)) && !is_finite(&t(f64::NAN)), "{dtype}");
        }
    }

    #[test]
    fn the_largest_numbers_are_finite() {
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let t = Tensor::rounded(dtype, &[1], &[largest(dtype)]).unwrap();
            assert_eq!(t.real(0), Some(largest(dtype)), "{dtype}");
        }
    }
}
