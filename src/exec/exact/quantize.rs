//! `QuantizeLinear` and `DequantizeLinear`: per tensor, per axis and in blocks.
//!
//! q = saturate(round(x / scale) + zero point), ties to even, with the division rounded to the scale's precision;
//! x = (q − zero point) · scale.

use crate::exec::exact::args::{Args, count};
use crate::exec::exact::cast::small;
use crate::exec::exact::lanes::{Lane, common_splat};
use crate::exec::exact::minifloat::{Format, Overflow};
use crate::exec::exact::number::{Float, Number, Wide, map_lanes, numbers, per_float, per_integer, per_number};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Dims, Key, Tensor};
use crate::ops::quant::BLOCK_SIZE;
use crate::rewrite::Exactness;

const OUTPUT_DTYPE: Key<i64> = Key::new("output_dtype", 0);

/// A type attribute of which 0 means absent.
fn dtype(args: &Args<'_>, key: Key<i64>) -> Result<Option<DType>, Unable> {
    match key.of(args.node()) {
        0 => Ok(None),
        code => i32::try_from(code).ok().and_then(DType::from_code).map(Some).ok_or(Unable::NoKernel),
    }
}

/// Which scale each element has.
struct Scales {
    /// Elements before, along and after the axis.
    outer: usize,
    size: usize,
    inner: usize,
    /// Elements along the axis that share a scale, and scales along it; both 0 when all elements share one.
    block: usize,
    blocks: usize,
    /// Whether positions before and after the axis have scales of their own.
    is_blocked: bool,
}

impl Scales {
    fn of(args: &Args<'_>, x: &Tensor, scale: &Tensor) -> Result<Scales, Unable> {
        const AXIS: Key<i64> = Key::new("axis", 1);
        let mismatch = || Unable::malformed(format!("{scale} as the scale of {x}"));
        let all = Scales { outer: 1, size: x.len(), inner: 1, block: 0, blocks: 0, is_blocked: false };
        let block = usize::try_from(BLOCK_SIZE.of(args.node())).map_err(|_| mismatch())?;
        if block == 0 && scale.len() == 1 && scale.rank() <= 1 {
            return Ok(all);
        }
        // A vector has one axis to choose from, whatever the attribute says.
        let along = if x.rank() == 1 { 0 } else { args.axis(AXIS, x.rank())? };
        let size = *x.dims().get(along).ok_or_else(mismatch)?;
        let mut dims = Dims::from(x.dims());
        if block > 0 {
            dims[along] = size.div_ceil(block);
        }
        let fits = if block > 0 { scale.dims() == dims.as_slice() } else { scale.dims() == [size] };
        if !fits {
            return Err(mismatch());
        }
        // Without elements there is nothing to walk, however large the other axes are.
        let part = |part: &[usize]| if x.len() == 0 { 0 } else { count(part).unwrap_or(0) };
        Ok(Scales {
            outer: part(&dims[..along]),
            size,
            inner: part(&dims[along + 1..]),
            block: block.max(1),
            blocks: dims[along],
            is_blocked: block > 0,
        })
    }

    /// Call `f` with every element's position and its scale's, in order.
    fn each(&self, mut f: impl FnMut(usize, usize)) {
        if self.block == 0 {
            (0..self.size).for_each(|i| f(i, 0));
            return;
        }
        let mut i = 0;
        for outer in 0..self.outer {
            for along in 0..self.size {
                for inner in 0..self.inner {
                    let scale = if self.is_blocked {
                        (outer * self.blocks + along / self.block) * self.inner + inner
                    } else {
                        along
                    };
                    f(i, scale);
                    i += 1;
                }
            }
        }
    }
}

/// The range of a quantized integer type.
fn range(dtype: DType) -> Option<(i64, i64)> {
    Some(match dtype {
        DType::I8 | DType::I16 | DType::I4 | DType::I2 => (-(1 << (dtype.bits() - 1)), (1 << (dtype.bits() - 1)) - 1),
        DType::U8 | DType::U16 | DType::U4 | DType::U2 => (0, (1 << dtype.bits()) - 1),
        _ => return None,
    })
}

/// `zero_point`, one integer per scale; zeros when it is left out.
fn zero_points(args: &Args<'_>, slot: usize, scale: &Tensor) -> Result<Vec<i64>, Unable> {
    let Some(t) = args.optional(slot) else { return Ok(vec![0; scale.len()]) };
    if t.dims() != scale.dims() && !(t.len() == 1 && scale.len() == 1) {
        return Err(Unable::malformed(format!("{t} as the zero point beside {scale}")));
    }
    args.room(DType::I64, t.len())?;
    if t.dtype().is_float() {
        // Float types have no zero point but zero.
        let is_zero = t.uniform().is_some_and(|e| e.iter().all(|b| *b == 0));
        return if is_zero { Ok(vec![0; t.len()]) } else { Err(Unable::Undefined("a zero point in a float type")) };
    }
    t.integers().ok_or(Unable::NoKernel)
}

/// `QuantizeLinear`
pub(super) fn quantize(args: &Args<'_>) -> Result<Folded, Unable> {
    const PRECISION: Key<i64> = Key::new("precision", 0);
    let (x, scale) = (args.tensor(0)?, args.tensor(1)?);
    let to = match (args.optional(2).map(Tensor::dtype), dtype(args, OUTPUT_DTYPE)?) {
        (Some(z), Some(o)) if z != o => return Err(Unable::malformed(format!("a zero point of {z} for {o}"))),
        (z, o) => z.or(o).unwrap_or(DType::U8),
    };
    let precision = match dtype(args, PRECISION)? {
        Some(precision) => precision,
        None if x.dtype() == scale.dtype() || (x.dtype() == DType::I32 && scale.dtype() == DType::F32) => scale.dtype(),
        None => return Err(Unable::Undefined("operand and scale differ in type, and no precision is given")),
    };
    args.room(scale.dtype(), scale.len())?;
    let scales = Scales::of(args, x, scale)?;
    let zero_points = zero_points(args, 2, scale)?;
    per_float!(precision, P => {
        let divisors = reals::<P>(args, scale)?;
        let quantized = |x: P, zero: i64, scale: P| -> Option<u16> {
            let q = x.div(scale)?;
            match range(to) {
                Some((least, greatest)) => to_integer(q.to_f64(), zero, least, greatest),
                None => to_float(args, q.to_f64(), to),
            }
        };
        write(args, x, to, &scales, |lane, s| quantized(lane, zero_points[s], divisors[s]))
    }, else => Err(Unable::NoKernel))
    .map(Folded::from)
}

/// Write `f(element, scale index)` of every element as codes of `to`.
fn write<P: Float>(
    args: &Args<'_>,
    x: &Tensor,
    to: DType,
    scales: &Scales,
    f: impl Fn(P, usize) -> Option<u16>,
) -> Result<Tensor, Unable> {
    const OPEN: Unable = Unable::Undefined("a quotient is no finite number");
    if scales.block == 0
        && let Some(e) = common_splat(&[x])
    {
        let one = Tensor::splat(x.dtype(), &[], &e).map_err(|e| Unable::malformed(e.to_string()))?;
        let code = f(reals::<P>(args, &one)?[0], 0).ok_or(OPEN)?.to_le_bytes();
        return args.splat(to, x.dims(), &code[..to.bits().div_ceil(8)]);
    }
    args.room_for(x.dtype(), x.dims())?;
    let elements = reals::<P>(args, x)?;
    let mut codes: Vec<[u8; 2]> = Vec::with_capacity(elements.len());
    let mut defined = true;
    scales.each(|i, s| match f(elements[i], s) {
        Some(code) => codes.push(code.to_le_bytes()),
        None => defined = false,
    });
    match (defined, to.bits()) {
        (false, _) => Err(OPEN),
        (true, 16) => Lane::write(to, x.dims(), codes),
        (true, _) => <[u8; 1]>::write(to, x.dims(), codes.into_iter().map(|[low, _]| [low]).collect()),
    }
}

/// The elements of a float or int32 tensor, rounded to `P`.
fn reals<P: Float>(args: &Args<'_>, t: &Tensor) -> Result<Vec<P>, Unable> {
    per_number!(t.dtype(), T => Ok(numbers::<T>(args, t)?.into_iter().map(|x| P::nearest(x.to_f64())).collect()), else => match t.dtype() {
        DType::F8E8M0 => Ok(<[u8; 1]>::read(args, t)?.iter().filter_map(|[c]| small(t.dtype(), *c)).map(|w| P::nearest(w.to_f64())).collect()),
        _ => Err(Unable::NoKernel),
    })
}

/// Ties to even, then the zero point, then the ends of the range. The low 16 bits.
fn to_integer(quotient: f64, zero: i64, least: i64, greatest: i64) -> Option<u16> {
    if !quotient.is_finite() {
        return None;
    }
    // Far beyond every range, so that the sum below cannot overflow.
    #[expect(clippy::cast_possible_truncation, reason = "clamped")]
    let rounded = quotient.round_ties_even().clamp(-1e9, 1e9) as i64;
    let bytes = (rounded + zero).clamp(least, greatest).to_le_bytes();
    Some(u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn to_float(args: &Args<'_>, quotient: f64, to: DType) -> Option<u16> {
    const SATURATE: Key<bool> = Key::new("saturate", true);
    let overflow = if SATURATE.of(args.node()) { Overflow::Saturate } else { Overflow::Escape };
    let format = Format::of(to)?;
    if format.lacks_nan() && quotient.is_nan() {
        return None;
    }
    Some(format.encode(quotient, overflow))
}

/// `DequantizeLinear`
pub(super) fn dequantize(args: &Args<'_>) -> Result<Folded, Unable> {
    let (x, scale) = (args.tensor(0)?, args.tensor(1)?);
    let to = match dtype(args, OUTPUT_DTYPE)? {
        Some(to) => to,
        None if scale.dtype() == DType::F8E8M0 => {
            return Err(Unable::Undefined("a product in a type of powers of two"));
        }
        None => scale.dtype(),
    };
    args.room(scale.dtype(), scale.len())?;
    let scales = Scales::of(args, x, scale)?;
    let zero_points = zero_points(args, 2, scale)?;
    if x.dtype() == DType::I32 && zero_points.iter().any(|z| *z != 0) {
        return Err(Unable::Undefined("int32 with a zero point"));
    }
    let result = per_float!(to, P => {
        let factors = reals::<f32>(args, scale)?;
        // The difference of an integer of at most 16 bits and its zero point is exact in float32.
        let real = |w: Wide, s: usize| match w {
            Wide::Int(i) => f32::nearest(Wide::Int(i - i128::from(zero_points[s])).to_f64()) * factors[s],
            Wide::Float(f) => (f as f32) * factors[s],
        };
        if scales.block == 0 {
            per_integer!(x.dtype(), Q => map_lanes::<<Q as Number>::Packed, <P as Number>::Packed>(args, x, to, |q| Some(P::nearest(real(Q::get(*q).wide(), 0).into()).put())), else => {
                map_lanes::<[u8; 1], <P as Number>::Packed>(args, x, to, |[c]| Some(P::nearest(real(small(x.dtype(), *c)?, 0).into()).put()))
            })
        } else {
            args.room_for(to, x.dims())?;
            let wides: Vec<Wide> = per_integer!(x.dtype(), Q => numbers::<Q>(args, x)?.into_iter().map(Number::wide).collect(), else => {
                let codes = <[u8; 1]>::read(args, x)?;
                codes.iter().map(|[c]| small(x.dtype(), *c)).collect::<Option<_>>().ok_or(Unable::NoKernel)?
            });
            let mut out: Vec<<P as Number>::Packed> = Vec::with_capacity(wides.len());
            scales.each(|i, s| out.push(P::nearest(real(wides[i], s).into()).put()));
            Lane::write(to, x.dims(), out)
        }
    }, else => Err(Unable::NoKernel))?;
    let exactness =
        if to == DType::F32 && scale.dtype() == DType::F32 { Exactness::Bitwise } else { Exactness::Rounding };
    Ok(Folded { results: vec![result], exactness })
}
