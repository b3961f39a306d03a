//! Elements as numbers: one trait over the integer and IEEE types, so that a kernel is written once.
//!
//! Integers wrap, as two's complement hardware and numpy do. float16 and bfloat16 are computed in float32 and rounded
//! once: with 24 bits, at least twice their precision plus two, that is what rounding the exact result gives.

use std::borrow::Cow;

use half::{bf16, f16};

use crate::exec::exact::Unable;
use crate::exec::exact::args::Args;
use crate::exec::exact::lanes::{Lane, raw};
use crate::exec::exact::layout::{Nest, View, at};
use crate::exec::exact::minifloat;
use crate::ir::{DType, Data, Tensor};

/// An element with arithmetic.
pub(super) trait Number: Copy + PartialOrd + Default {
    /// Its packed little-endian bytes.
    type Packed: Lane + Copy + IntoIterator<Item = u8> + AsRef<[u8]>;
    const DTYPE: DType;
    const ZERO: Self;
    const ONE: Self;
    /// The smallest value there is: −∞ for floats.
    const LEAST: Self;
    /// The largest value there is: +∞ for floats.
    const GREATEST: Self;
    fn get(packed: Self::Packed) -> Self;
    fn put(self) -> Self::Packed;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// Integers round towards zero; `None` where an integer has no quotient.
    fn div(self, other: Self) -> Option<Self>;
    /// `self − ⌊self / other⌋ · other`, with the sign of `other`.
    fn floor_mod(self, other: Self) -> Option<Self>;
    /// `self − trunc(self / other) · other`, with the sign of `self`.
    fn trunc_mod(self, other: Self) -> Option<Self>;
    /// −1, 0 or 1; `None` for a NaN.
    fn sign(self) -> Option<Self>;
    fn abs(self) -> Self;
    fn neg(self) -> Self;
    fn is_nan(self) -> bool;
    /// The value as a cast sees it.
    fn wide(self) -> Wide;

    /// The larger; a NaN if either is one.
    fn larger(self, other: Self) -> Self {
        if self.is_nan() || self > other || !(other.is_nan() || other > self) { self } else { other }
    }

    /// The smaller; a NaN if either is one.
    fn smaller(self, other: Self) -> Self {
        if self.is_nan() || self < other || !(other.is_nan() || other < self) { self } else { other }
    }

    fn to_f64(self) -> f64 {
        self.wide().to_f64()
    }
}

/// A number of any type, exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wide {
    Int(i128),
    Float(f64),
}

impl Wide {
    #[expect(clippy::cast_precision_loss, reason = "rounds to nearest, ties to even")]
    pub(super) fn to_f64(self) -> f64 {
        match self {
            Wide::Int(i) => i as f64,
            Wide::Float(f) => f,
        }
    }
}

/// An integer with bits.
pub(super) trait Integer: Number + Ord {
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn not(self) -> Self;
    /// Zeros come in.
    fn left(self, by: u32) -> Self;
    /// Copies of the sign bit come in.
    fn right(self, by: u32) -> Self;
    fn power(self, exponent: u32) -> Option<Self>;
    fn to_i128(self) -> i128;
    /// The low bits.
    fn wrapped(i: i128) -> Self;
}

/// An IEEE number.
pub(super) trait Float: Number {
    /// All whole numbers up to this one are exact.
    const WHOLE: f64;
    /// Rounded to nearest, ties to even.
    fn nearest(x: f64) -> Self;
    fn is_infinite(self) -> bool;
    fn sqrt(self) -> Self;
    fn ceil(self) -> Self;
    fn floor(self) -> Self;
    /// Ties to even.
    fn round(self) -> Self;
    /// `⌈(limit − start) / delta⌉`, each step rounded to this type (float32 for 16-bit types).
    fn range_count(start: f64, limit: f64, delta: f64) -> f64;
}

macro_rules! integers {
    ($($t:ident $dtype:ident),*) => { $(
        impl Number for $t {
            type Packed = [u8; size_of::<$t>()];
            const DTYPE: DType = DType::$dtype;
            const ZERO: $t = 0;
            const ONE: $t = 1;
            const LEAST: $t = $t::MIN;
            const GREATEST: $t = $t::MAX;
            fn get(packed: Self::Packed) -> $t { $t::from_le_bytes(packed) }
            fn put(self) -> Self::Packed { self.to_le_bytes() }
            fn add(self, other: $t) -> $t { self.wrapping_add(other) }
            fn sub(self, other: $t) -> $t { self.wrapping_sub(other) }
            fn mul(self, other: $t) -> $t { self.wrapping_mul(other) }
            fn div(self, other: $t) -> Option<$t> { self.checked_div(other) }
            fn floor_mod(self, other: $t) -> Option<$t> {
                if other == 0 {
                    return None;
                }
                let r = self.wrapping_rem(other);
                let adjust = r != 0 && (r > 0) != (other > 0);
                Some(if adjust { r.wrapping_add(other) } else { r })
            }
            fn trunc_mod(self, other: $t) -> Option<$t> { (other != 0).then(|| self.wrapping_rem(other)) }
            fn sign(self) -> Option<$t> {
                Some(match self.cmp(&0) {
                    std::cmp::Ordering::Less => (0 as $t).wrapping_sub(1),
                    std::cmp::Ordering::Equal => 0,
                    std::cmp::Ordering::Greater => 1,
                })
            }
            fn abs(self) -> $t { if self.cmp(&0).is_lt() { self.neg() } else { self } }
            fn neg(self) -> $t { (0 as $t).wrapping_sub(self) }
            fn is_nan(self) -> bool { false }
            fn wide(self) -> Wide { Wide::Int(self.into()) }
        }

        impl Integer for $t {
            fn and(self, other: $t) -> $t { self & other }
            fn or(self, other: $t) -> $t { self | other }
            fn xor(self, other: $t) -> $t { self ^ other }
            fn not(self) -> $t { !self }
            fn left(self, by: u32) -> $t { self.checked_shl(by).unwrap_or(0) }
            fn right(self, by: u32) -> $t {
                self.checked_shr(by).unwrap_or(if self.cmp(&0).is_lt() { !0 } else { 0 })
            }
            fn power(self, exponent: u32) -> Option<$t> { self.checked_pow(exponent) }
            fn to_i128(self) -> i128 { self.into() }
            // a cast between integers keeps the low bits, as ONNX asks
            fn wrapped(i: i128) -> $t { i as $t }
        }
    )* };
}

integers!(i8 I8, i16 I16, i32 I32, i64 I64, u8 U8, u16 U16, u32 U32, u64 U64);

/// `$wide` is the type that the element is computed in, `$narrow` rounds back.
macro_rules! floats {
    ($($t:ident $dtype:ident $wide:ident $one:literal $whole:literal $narrow:expr, $nearest:expr;)*) => { $(
        impl Number for $t {
            type Packed = [u8; size_of::<$t>()];
            const DTYPE: DType = DType::$dtype;
            const ZERO: $t = $t::from_bits(0);
            const ONE: $t = $t::from_bits($one);
            const LEAST: $t = $t::NEG_INFINITY;
            const GREATEST: $t = $t::INFINITY;
            fn get(packed: Self::Packed) -> $t { $t::from_le_bytes(packed) }
            fn put(self) -> Self::Packed { self.to_le_bytes() }
            fn add(self, other: $t) -> $t { $narrow($wide::from(self) + $wide::from(other)) }
            fn sub(self, other: $t) -> $t { $narrow($wide::from(self) - $wide::from(other)) }
            fn mul(self, other: $t) -> $t { $narrow($wide::from(self) * $wide::from(other)) }
            fn div(self, other: $t) -> Option<$t> { Some($narrow($wide::from(self) / $wide::from(other))) }
            fn floor_mod(self, other: $t) -> Option<$t> {
                let (a, b) = ($wide::from(self), $wide::from(other));
                // The remainder of floats is exact; adding the divisor back may round, as it does for numpy.
                let r = a % b;
                Some($narrow(if r == 0.0 {
                    r.abs().copysign(b)
                } else if (r < 0.0) != (b < 0.0) {
                    r + b
                } else {
                    r
                }))
            }
            fn trunc_mod(self, other: $t) -> Option<$t> { Some($narrow($wide::from(self) % $wide::from(other))) }
            fn sign(self) -> Option<$t> {
                let x = $wide::from(self);
                if x.is_nan() { None } else if x > 0.0 { Some(<$t as Number>::ONE) } else if x < 0.0 { Some(-<$t as Number>::ONE) } else { Some(Self::ZERO) }
            }
            fn abs(self) -> $t { $t::from_bits(self.to_bits() & !(-Self::ZERO).to_bits()) }
            fn neg(self) -> $t { -self }
            fn is_nan(self) -> bool { self.is_nan() }
            fn wide(self) -> Wide { Wide::Float(self.into()) }
        }

        impl Float for $t {
            const WHOLE: f64 = $whole;
            fn nearest(x: f64) -> $t { $nearest(x) }
            fn is_infinite(self) -> bool { self.is_infinite() }
            fn sqrt(self) -> $t { $narrow($wide::from(self).sqrt()) }
            fn ceil(self) -> $t { $narrow($wide::from(self).ceil()) }
            fn floor(self) -> $t { $narrow($wide::from(self).floor()) }
            fn round(self) -> $t { $narrow($wide::from(self).round_ties_even()) }
            // The operands came from this type.
            fn range_count(start: f64, limit: f64, delta: f64) -> f64 {
                f64::from(((limit as $wide - start as $wide) / delta as $wide).ceil().max(0.0))
            }
        }
    )* };
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to nearest, ties to even")]
fn to_f32(x: f64) -> f32 {
    x as f32
}

floats! {
    f16 F16 f32 0x3c00 2048.0 f16::from_f32, minifloat::to_f16;
    bf16 BF16 f32 0x3f80 256.0 bf16::from_f32, minifloat::to_bf16;
    f32 F32 f32 0x3f80_0000 16_777_216.0 std::convert::identity::<f32>, to_f32;
    f64 F64 f64 0x3ff0_0000_0000_0000 9_007_199_254_740_992.0 std::convert::identity::<f64>, std::convert::identity::<f64>;
}

/// Evaluate an expression with `$T` the Rust type of `$dtype`.
macro_rules! per_integer {
    ($dtype:expr, $T:ident => $body:expr, else => $other:expr) => {
        match $dtype {
            $crate::ir::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::ir::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::ir::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::ir::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::ir::DType::U8 => {
                type $T = u8;
                $body
            }
            $crate::ir::DType::U16 => {
                type $T = u16;
                $body
            }
            $crate::ir::DType::U32 => {
                type $T = u32;
                $body
            }
            $crate::ir::DType::U64 => {
                type $T = u64;
                $body
            }
            _ => $other,
        }
    };
}

/// As [`per_integer!`], for IEEE types.
macro_rules! per_float {
    ($dtype:expr, $T:ident => $body:expr, else => $other:expr) => {
        match $dtype {
            $crate::ir::DType::F16 => {
                type $T = ::half::f16;
                $body
            }
            $crate::ir::DType::BF16 => {
                type $T = ::half::bf16;
                $body
            }
            $crate::ir::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::ir::DType::F64 => {
                type $T = f64;
                $body
            }
            _ => $other,
        }
    };
}

/// As [`per_integer!`], for integers and IEEE types.
macro_rules! per_number {
    ($dtype:expr, $T:ident => $body:expr, else => $other:expr) => {
        $crate::exec::exact::number::per_integer!($dtype, $T => $body, else =>
            $crate::exec::exact::number::per_float!($dtype, $T => $body, else => $other))
    };
}

pub(super) use {per_float, per_integer, per_number};

/// The elements of an operand as lanes, a splat being one element that every position sees.
pub(super) struct Elements<'t, L: Lane> {
    pub(super) lanes: Cow<'t, [L]>,
    is_splat: bool,
}

impl<'t, L: Lane> Elements<'t, L> {
    pub(super) fn of(args: &Args<'_>, t: &'t Tensor) -> Result<Elements<'t, L>, Unable> {
        let one = match t.data() {
            // Read as a tensor of one element.
            Data::Splat(e) => Some(Tensor::splat(t.dtype(), &[], e).map_err(|_| Unable::NoKernel)?),
            Data::Raw(_) | Data::Strings(_) => None,
        };
        Ok(match one {
            Some(one) => Elements { lanes: Cow::Owned(L::read(args, &one)?.into_owned()), is_splat: true },
            None => Elements { lanes: L::read(args, t)?, is_splat: false },
        })
    }

    /// The view of this operand, of dimensions `own`, under a loop over `dims`.
    pub(super) fn view(&self, own: &[usize], dims: &[usize]) -> Result<View, Unable> {
        let own = if self.is_splat { &[] } else { own };
        View::of(own)
            .broadcast(dims)
            .ok_or_else(|| Unable::malformed(format!("{own:?} does not broadcast to {dims:?}")))
    }
}

/// `f` of every element; a splat stays one.
pub(super) fn map<A: Number, R: Number>(
    args: &Args<'_>,
    t: &Tensor,
    f: impl Fn(A) -> Option<R>,
) -> Result<Tensor, Unable> {
    map_lanes::<A::Packed, R::Packed>(args, t, R::DTYPE, |a| f(A::get(a.clone())).map(R::put))
}

/// As [`map`], over lanes.
pub(super) fn map_lanes<A: Lane, R: Lane + AsRef<[u8]>>(
    args: &Args<'_>,
    t: &Tensor,
    dtype: DType,
    f: impl Fn(&A) -> Option<R>,
) -> Result<Tensor, Unable> {
    let source = Elements::<A>::of(args, t)?;
    if source.is_splat {
        return args.splat(dtype, t.dims(), f(&source.lanes[0]).ok_or(OPEN)?.as_ref());
    }
    args.room_for(dtype, t.dims())?;
    let lanes: Option<Vec<R>> = source.lanes.iter().map(f).collect();
    R::write(dtype, t.dims(), lanes.ok_or(OPEN)?)
}

/// The default answer of a partial function.
pub(super) const OPEN: Unable = Unable::Undefined("an element has no defined result");

/// `f` of every pair of elements of the broadcast operands; splats stay one.
pub(super) fn zip<A: Number, B: Number, R: Number>(
    args: &Args<'_>,
    [a, b]: [&Tensor; 2],
    f: impl Fn(A, B) -> Option<R>,
) -> Result<Tensor, Unable> {
    zip_lanes::<A::Packed, B::Packed, R::Packed>(args, [a, b], R::DTYPE, |a, b| f(A::get(*a), B::get(*b)).map(R::put))
}

/// As [`zip`], over lanes.
pub(super) fn zip_lanes<A: Lane, B: Lane, R: Lane + AsRef<[u8]>>(
    args: &Args<'_>,
    [a, b]: [&Tensor; 2],
    dtype: DType,
    f: impl Fn(&A, &B) -> Option<R>,
) -> Result<Tensor, Unable> {
    let dims = super::layout::broadcast_dims(&[a.dims(), b.dims()])?;
    let (x, y) = (Elements::<A>::of(args, a)?, Elements::<B>::of(args, b)?);
    if x.is_splat && y.is_splat {
        if super::args::count(&dims) == Some(0) {
            return R::write(dtype, &dims, Vec::new());
        }
        return args.splat(dtype, &dims, f(&x.lanes[0], &y.lanes[0]).ok_or(OPEN)?.as_ref());
    }
    let n = args.room_for(dtype, &dims)?;
    let (vx, vy) = (x.view(a.dims(), &dims)?, y.view(b.dims(), &dims)?);
    let nest = Nest::new(&dims, [vx.strides(), vy.strides()]);
    let (len, [sx, sy]) = nest.row();
    let mut out: Vec<R> = Vec::with_capacity(n);
    let mut defined = true;
    let mut push = |r: Option<R>| match r {
        Some(r) => out.push(r),
        None => defined = false,
    };
    if n > 0 {
        nest.rows([0, 0], |[i, j]| match (sx, sy) {
            (1, 1) => {
                let (x, y) = (&x.lanes[at(i)..at(i) + len], &y.lanes[at(j)..at(j) + len]);
                x.iter().zip(y).for_each(|(a, b)| push(f(a, b)));
            }
            (1, 0) => {
                let b = &y.lanes[at(j)];
                x.lanes[at(i)..at(i) + len].iter().for_each(|a| push(f(a, b)));
            }
            (0, 1) => {
                let a = &x.lanes[at(i)];
                y.lanes[at(j)..at(j) + len].iter().for_each(|b| push(f(a, b)));
            }
            _ => {
                let (mut i, mut j) = (i, j);
                for _ in 0..len {
                    push(f(&x.lanes[at(i)], &y.lanes[at(j)]));
                    i += sx;
                    j += sy;
                }
            }
        });
    }
    if defined { R::write(dtype, &dims, out) } else { Err(OPEN) }
}

/// The elements of a tensor of numbers, unpacked.
pub(super) fn numbers<T: Number>(args: &Args<'_>, t: &Tensor) -> Result<Vec<T>, Unable> {
    Ok(T::Packed::read(args, t)?.iter().map(|&p| T::get(p)).collect())
}

/// The tensor of these numbers.
pub(super) fn tensor<T: Number>(dims: &[usize], numbers: &[T]) -> Result<Tensor, Unable> {
    raw(T::DTYPE, dims, numbers.iter().flat_map(|n| n.put()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modulo_takes_the_sign_that_its_kind_says() {
        assert_eq!((-7i32).floor_mod(3), Some(2));
        assert_eq!(7i32.floor_mod(-3), Some(-2));
        assert_eq!((-7i32).trunc_mod(3), Some(-1));
        assert_eq!(i8::MIN.floor_mod(-1), Some(0));
        assert_eq!(5u8.floor_mod(0), None);
        assert_eq!((-4.5f32).floor_mod(2.0), Some(1.5));
        assert_eq!(4.0f32.floor_mod(-2.0).map(f32::to_bits), Some((-0.0f32).to_bits()));
    }

    #[test]
    fn a_nan_wins_over_either_order() {
        assert!(f32::NAN.larger(1.0).is_nan() && 1.0f32.larger(f32::NAN).is_nan());
        assert!(f16::NAN.smaller(f16::ONE).is_nan() && f16::ONE.smaller(f16::NAN).is_nan());
        assert_eq!((2i8.larger(3), 2i8.smaller(3)), (3, 2));
    }

    #[test]
    fn half_precision_rounds_once() {
        // 1 + 2⁻¹¹ is half way: to even, down; adding a little more rounds up.
        let tiny = f16::from_f32(2f32.powi(-11));
        assert_eq!(f16::ONE.add(tiny), f16::ONE);
        assert_eq!(f16::nearest(1.0 + 2f64.powi(-11) + 2f64.powi(-40)).to_bits(), f16::ONE.to_bits() + 1);
    }

    #[test]
    fn shifts_past_the_width_leave_the_sign() {
        assert_eq!((-8i8).right(9), -1);
        assert_eq!(8u8.right(9), 0);
        assert_eq!(1i8.left(7), i8::MIN);
        assert_eq!(1i8.left(8), 0);
    }
}
