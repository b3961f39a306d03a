//! Tensors from sizes and attributes alone.

use bytes::Bytes;

use crate::exec::exact::args::{Args, count};
use crate::exec::exact::number::{Float, Number, per_float};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Attr, DType, Key, Tensor};
use crate::ops::normalize_axis;
use crate::rewrite::Exactness;

/// `Constant`, in each spelling of its value but the sparse one.
pub(super) fn constant(args: &Args<'_>) -> Result<Folded, Unable> {
    let malformed = |e: crate::ir::TensorError| Unable::malformed(e.to_string());
    let [(name, value)] = args.node().attrs() else {
        return Err(Unable::malformed("a constant has exactly one value"));
    };
    Ok(match (name.as_ref(), value) {
        ("value", Attr::Tensor(t)) => Tensor::clone(t),
        ("value_int", Attr::Int(i)) => Tensor::scalar(*i),
        ("value_ints", Attr::Ints(i)) => Tensor::vector(i),
        ("value_float", Attr::Float(f)) => Tensor::f32s(&[], &[*f]).map_err(malformed)?,
        ("value_floats", Attr::Floats(f)) => Tensor::f32s(&[f.len()], f).map_err(malformed)?,
        ("value_string", Attr::Str(s)) => Tensor::strings(&[], vec![s.clone()]).map_err(malformed)?,
        ("value_strings", Attr::Strs(s)) => Tensor::strings(&[s.len()], s.clone()).map_err(malformed)?,
        _ => return Err(Unable::NoKernel),
    }
    .into())
}

/// `ConstantOfShape`: a splat, whatever its size.
pub(super) fn constant_of_shape(args: &Args<'_>) -> Result<Folded, Unable> {
    let dims = args.dims(&args.ints(0)?)?;
    let (dtype, element) = match args.node().attr("value") {
        None => (DType::F32, Bytes::from_static(&[0; 4])),
        Some(Attr::Tensor(t)) if t.len() == 1 => match (t.element(0), t.as_strings()) {
            (Some(e), _) => (t.dtype(), Bytes::copy_from_slice(&e)),
            (None, Some([s])) => {
                let n = args.room_for(DType::String, &dims)?;
                let strings = Tensor::strings(&dims, vec![s.clone(); n]);
                return strings.map(Folded::from).map_err(|e| Unable::malformed(e.to_string()));
            }
            _ => return Err(Unable::NoKernel),
        },
        Some(_) => return Err(Unable::malformed("the value has to be a tensor of one element")),
    };
    Ok(args.splat(dtype, &dims, &element)?.into())
}

/// `Shape`, with `start` and `end` clamped to the rank.
pub(super) fn shape(args: &Args<'_>) -> Result<Folded, Unable> {
    const START: Key<i64> = Key::new("start", 0);
    const END: Key<i64> = Key::new("end", i64::MAX);
    let dims = args.tensor(0)?.dims();
    let clamp = |i: i64| match usize::try_from(i) {
        Ok(i) => i.min(dims.len()),
        Err(_) => normalize_axis(i, dims.len()).unwrap_or(0),
    };
    let (start, end) = (clamp(START.of(args.node())), clamp(END.of(args.node())));
    let sizes: Vec<i64> =
        dims.get(start..end).unwrap_or(&[]).iter().map(|&d| d.try_into().unwrap_or(i64::MAX)).collect();
    Ok(Tensor::vector(&sizes).into())
}

/// `Size`
pub(super) fn size(args: &Args<'_>) -> Result<Folded, Unable> {
    let n = args.tensor(0)?.len();
    Ok(Tensor::scalar(n.try_into().map_err(|_| Unable::malformed("the tensor is too large"))?).into())
}

/// `EyeLike`
pub(super) fn eye_like(args: &Args<'_>) -> Result<Folded, Unable> {
    const K: Key<i64> = Key::new("k", 0);
    const DTYPE: Key<i64> = Key::new("dtype", 0);
    let like = args.tensor(0)?;
    let &[rows, columns] = like.dims() else {
        return Err(Unable::malformed(format!("{like} where a matrix is needed")));
    };
    let dtype = match DTYPE.get(args.node()) {
        None => like.dtype(),
        Some(code) => i32::try_from(code).ok().and_then(DType::from_code).ok_or(Unable::NoKernel)?,
    };
    let one = one(dtype).ok_or(Unable::NoKernel)?;
    let n = args.room_for(dtype, &[rows, columns])?;
    let mut bytes = vec![0u8; n * one.len()];
    let k = i128::from(K.of(args.node()));
    // A matrix without columns may claim any number of rows.
    for row in 0..if n == 0 { 0 } else { rows } {
        let column = usize::try_from(i128::try_from(row).unwrap_or(i128::MAX).saturating_add(k));
        if let Ok(column) = column
            && column < columns
        {
            let at = (row * columns + column) * one.len();
            bytes[at..at + one.len()].copy_from_slice(&one);
        }
    }
    super::lanes::raw(dtype, &[rows, columns], bytes).map(Folded::from)
}

/// The bytes of 1, for types of whole bytes that have arithmetic.
fn one(dtype: DType) -> Option<Vec<u8>> {
    if dtype == DType::Bool {
        return Some(vec![1]);
    }
    Some(super::number::per_number!(dtype, T => T::ONE.put().to_vec(), else => return None))
}

/// `Range`: `start + i · delta` for `i` below `⌈(limit − start) / delta⌉`.
pub(super) fn range(args: &Args<'_>) -> Result<Folded, Unable> {
    const STASH: Key<i64> = Key::new("stash_type", 1);
    let scalar = |slot| {
        let t = args.tensor(slot)?;
        if t.len() == 1 && t.dtype() == args.tensor(0)?.dtype() {
            return Ok(t);
        }
        Err(Unable::malformed(format!("operand {slot} is {t} where one number is needed")))
    };
    let (start, limit, delta) = (scalar(0)?, scalar(1)?, scalar(2)?);
    let dtype = start.dtype();
    match dtype {
        DType::I16 | DType::I32 | DType::I64 => {
            let int = |t: &Tensor| t.integer().map(i128::from).ok_or(Unable::NoKernel);
            let (start, limit, delta) = (int(start)?, int(limit)?, int(delta)?);
            let span = limit - start;
            let n = match delta {
                0 => return Err(Unable::malformed("the step is 0")),
                _ if (span > 0) != (delta > 0) => 0,
                _ => (span.abs() + delta.abs() - 1) / delta.abs(),
            };
            let n = usize::try_from(n).map_err(|_| Unable::TooLarge { limit: usize::MAX })?;
            args.room(dtype, n)?;
            let width = dtype.bits() / 8;
            let mut bytes = Vec::with_capacity(n * width);
            let mut at = start;
            for _ in 0..n {
                bytes.extend_from_slice(&at.to_le_bytes()[..width]);
                at += delta;
            }
            super::lanes::raw(dtype, &[n], bytes).map(Folded::from)
        }
        DType::F16 | DType::BF16 if STASH.of(args.node()) != 1 => Err(Unable::NoKernel),
        _ => {
            let real = |t: &Tensor| t.item().filter(|x| x.is_finite()).ok_or(Unable::Undefined("a range without end"));
            per_float!(dtype, T => float_range::<T>(args, real(start)?, real(limit)?, real(delta)?), else => Err(Unable::NoKernel))
        }
    }
}

fn float_range<T: Float>(args: &Args<'_>, start: f64, limit: f64, delta: f64) -> Result<Folded, Unable> {
    if delta == 0.0 {
        return Err(Unable::malformed("the step is 0"));
    }
    let n = ((limit - start) / delta).ceil().max(0.0);
    // Where the last bit of the quotient decides how many elements there are, runtimes differ.
    let in_type = T::range_count(start, limit, delta);
    if n != in_type {
        return Err(Unable::Undefined("rounding decides how many elements the range has"));
    }
    if n > 1e15 {
        return Err(Unable::TooLarge { limit: usize::MAX });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within 0 and 10¹⁵")]
    let n = n as usize;
    args.room_for(T::DTYPE, &[n])?;
    #[expect(clippy::cast_precision_loss, reason = "counts below 10¹⁵ are exact")]
    let element = |i: usize| start + i as f64 * delta;
    // Multiples of a whole step are the same numbers however they are summed.
    let whole = start.fract() == 0.0 && delta.fract() == 0.0 && element(n).abs() <= T::WHOLE && start.abs() <= T::WHOLE;
    let bytes: Vec<u8> = (0..n).flat_map(|i| T::nearest(element(i)).put()).collect();
    let exactness = if whole { Exactness::Bitwise } else { Exactness::Rounding };
    debug_assert_eq!(count(&[n]), Some(n));
    Ok(Folded { results: vec![super::lanes::raw(T::DTYPE, &[n], bytes)?], exactness })
}
