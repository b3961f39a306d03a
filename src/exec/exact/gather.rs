//! Elements picked by index.

use crate::exec::exact::args::{Args, axis, count, position};
use crate::exec::exact::lanes::{Lane, common_splat, per_lane};
use crate::exec::exact::layout::{Nest, View, at, pull};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Dims, Key, Tensor};
use crate::ops::gather::BATCH_DIMS;
use crate::ops::slice::AXIS;

/// `Gather`
pub(super) fn gather(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, indices) = (args.tensor(0)?, args.tensor(1)?);
    let at = args.axis(AXIS, data.rank())?;
    let positions = positions(args, 1, data.dims()[at])?;
    let mut dims = Dims::from(&data.dims()[..at]);
    dims.extend_from_slice(indices.dims());
    dims.extend_from_slice(&data.dims()[at + 1..]);
    take(args, data, at, &positions, &dims).map(Folded::from)
}

/// Operand `slot` as positions along an axis of `size`.
fn positions(args: &Args<'_>, slot: usize, size: usize) -> Result<Vec<usize>, Unable> {
    args.ints(slot)?.into_iter().map(|i| position(i, size)).collect()
}

/// The slices of `data` at `positions` along axis `at`, in a tensor of `dims`.
fn take(args: &Args<'_>, data: &Tensor, at: usize, positions: &[usize], dims: &[usize]) -> Result<Tensor, Unable> {
    let first = positions.first().copied().unwrap_or(0);
    if positions.iter().enumerate().all(|(i, &p)| p == first + i) {
        // Neighbours: a view, which needs no copy along the first axis.
        let view = View::of(data.dims()).stepped(at, first, 1, positions.len());
        return pull(args, data, &view, dims);
    }
    if let Some(e) = common_splat(&[data]) {
        return args.splat(data.dtype(), dims, &e);
    }
    let n = args.room_for(data.dtype(), dims)?;
    let (outer, inner) = (count(&data.dims()[..at]).unwrap_or(0), count(&data.dims()[at + 1..]).unwrap_or(0));
    let size = data.dims()[at];
    per_lane!(data.dtype(), T => {
        let lanes = T::read(args, data)?;
        let mut out: Vec<T> = Vec::with_capacity(n);
        if n > 0 {
            for o in 0..outer {
                for p in positions {
                    let start = (o * size + p) * inner;
                    out.extend_from_slice(&lanes[start..start + inner]);
                }
            }
        }
        T::write(data.dtype(), dims, out)
    })
}

/// `GatherElements`
pub(super) fn gather_elements(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, indices) = (args.tensor(0)?, args.tensor(1)?);
    let along = args.axis(AXIS, data.rank())?;
    check_elements(data, indices, along)?;
    let positions = positions(args, 1, data.dims()[along])?;
    if let Some(e) = common_splat(&[data]) {
        return Ok(args.splat(data.dtype(), indices.dims(), &e)?.into());
    }
    let n = args.room_for(data.dtype(), indices.dims())?;
    per_lane!(data.dtype(), T => {
        let lanes = T::read(args, data)?;
        let mut out: Vec<T> = Vec::with_capacity(n);
        each_element(data.dims(), indices.dims(), along, &positions, |offset| out.push(lanes[offset].clone()));
        T::write(data.dtype(), indices.dims(), out)
    })
    .map(Folded::from)
}

/// `indices` may be smaller than `data`, but not along the axis that they index.
pub(super) fn check_elements(data: &Tensor, indices: &Tensor, along: usize) -> Result<(), Unable> {
    let fits = data.rank() == indices.rank()
        && data.dims().iter().zip(indices.dims()).enumerate().all(|(a, (d, i))| a == along || i <= d);
    if fits { Ok(()) } else { Err(Unable::malformed(format!("{indices} into {data}"))) }
}

/// Call `f` with the offset in a tensor of `data` dimensions that each index names, in the order of the indices.
pub(super) fn each_element(
    data: &[usize],
    indices: &[usize],
    along: usize,
    positions: &[usize],
    mut f: impl FnMut(usize),
) {
    if count(indices) == Some(0) {
        return;
    }
    let view = View::of(data);
    let stride = at(view.strides()[along]);
    // The index replaces the position along its axis.
    let fixed = view.stepped(along, 0, 0, indices[along]);
    let nest = Nest::new(indices, [fixed.strides()]);
    let (len, [by]) = nest.row();
    let mut next = positions.iter();
    nest.rows([0], |[start]| {
        let mut offset = start;
        for p in next.by_ref().take(len) {
            f(at(offset) + p * stride);
            offset += by;
        }
    });
}

/// `GatherND`
pub(super) fn gather_nd(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, indices) = (args.tensor(0)?, args.tensor(1)?);
    let batch = usize::try_from(BATCH_DIMS.of(args.node())).unwrap_or(usize::MAX);
    let mismatch = || Unable::malformed(format!("{indices} into {data} with {batch} batch dimensions"));
    let (&width, tuples) = indices.dims().split_last().ok_or_else(mismatch)?;
    if batch > tuples.len() || batch.checked_add(width).is_none_or(|end| end > data.rank()) {
        return Err(mismatch());
    }
    if data.dims()[..batch] != tuples[..batch] {
        return Err(mismatch());
    }
    let mut dims = Dims::from(tuples);
    dims.extend_from_slice(&data.dims()[batch + width..]);
    let starts = tuple_offsets(args, 1, &data.dims()[batch..batch + width], count(tuples).unwrap_or(0))?;
    if let Some(e) = common_splat(&[data]) {
        return Ok(args.splat(data.dtype(), &dims, &e)?.into());
    }
    let n = args.room_for(data.dtype(), &dims)?;
    let inner = count(&data.dims()[batch + width..]).unwrap_or(0);
    let per_batch = count(&data.dims()[batch..]).unwrap_or(0);
    let tuples_per_batch = count(&tuples[batch..]).unwrap_or(0).max(1);
    per_lane!(data.dtype(), T => {
        let lanes = T::read(args, data)?;
        let mut out: Vec<T> = Vec::with_capacity(n);
        if n > 0 {
            for (i, start) in starts.iter().enumerate() {
                let start = i / tuples_per_batch * per_batch + start * inner;
                out.extend_from_slice(&lanes[start..start + inner]);
            }
        }
        T::write(data.dtype(), &dims, out)
    })
    .map(Folded::from)
}

/// Operand `slot` as `tuples` index tuples into the leading dimensions `dims`: which slice each of them names.
pub(super) fn tuple_offsets(args: &Args<'_>, slot: usize, dims: &[usize], tuples: usize) -> Result<Vec<usize>, Unable> {
    let indices = args.ints(slot)?;
    if dims.is_empty() {
        args.room(DType::I64, tuples)?;
        return Ok(vec![0; tuples]);
    }
    let too_far = || Unable::malformed("the dimensions are too large");
    let offset = |tuple: &[i64]| {
        tuple.iter().zip(dims).try_fold(0usize, |offset, (&i, &d)| {
            let at = position(i, d)?;
            offset.checked_mul(d).and_then(|o| o.checked_add(at)).ok_or_else(too_far)
        })
    };
    indices.chunks_exact(dims.len()).map(offset).collect()
}

/// `Compress`
pub(super) fn compress(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, condition) = (args.tensor(0)?, args.tensor(1)?);
    if condition.dtype() != DType::Bool || condition.rank() != 1 {
        return Err(Unable::malformed(format!("{condition} where a vector of booleans is needed")));
    }
    args.room(DType::I64, condition.len())?;
    let chosen = condition.integers().ok_or(Unable::NoKernel)?;
    let positions: Vec<usize> = chosen.iter().enumerate().filter(|(_, c)| **c != 0).map(|(i, _)| i).collect();
    let (data, at) = match AXIS.get(args.node()) {
        Some(a) => (data.clone(), axis(a, data.rank())?),
        None => (data.reshaped(&[data.len()]).map_err(|e| Unable::malformed(e.to_string()))?, 0),
    };
    if let Some(p) = positions.last().filter(|&&p| p >= data.dims()[at]) {
        return Err(Unable::malformed(format!("element {p} of {}", data.dims()[at])));
    }
    let mut dims = Dims::from(data.dims());
    dims[at] = positions.len();
    take(args, &data, at, &positions, &dims).map(Folded::from)
}

/// `ReverseSequence`
pub(super) fn reverse_sequence(args: &Args<'_>) -> Result<Folded, Unable> {
    const BATCH_AXIS: Key<i64> = Key::new("batch_axis", 1);
    const TIME_AXIS: Key<i64> = Key::new("time_axis", 0);
    let (data, lengths) = (args.tensor(0)?, args.ints(1)?);
    let (batch_axis, time_axis) = (BATCH_AXIS.of(args.node()), TIME_AXIS.of(args.node()));
    let &[d0, d1, ref rest @ ..] = data.dims() else {
        return Err(Unable::malformed(format!("{data} has no batch and time axes")));
    };
    let (batches, times) = match (batch_axis, time_axis) {
        (1, 0) => (d1, d0),
        (0, 1) => (d0, d1),
        _ => return Err(Unable::malformed("batch and time have to be axes 0 and 1")),
    };
    if lengths.len() != batches {
        return Err(Unable::malformed(format!("{} lengths for {batches} sequences", lengths.len())));
    }
    let lengths: Vec<usize> = args.dims(&lengths)?.to_vec();
    if let Some(l) = lengths.iter().find(|&&l| l > times) {
        return Err(Unable::malformed(format!("a sequence of {l} in {times} steps")));
    }
    if let Some(e) = common_splat(&[data]) {
        return Ok(args.splat(data.dtype(), data.dims(), &e)?.into());
    }
    let n = args.room_for(data.dtype(), data.dims())?;
    let inner = count(rest).unwrap_or(0);
    per_lane!(data.dtype(), T => {
        let lanes = T::read(args, data)?;
        let mut out: Vec<T> = Vec::with_capacity(n);
        if n > 0 {
            for i in 0..d0 {
                for j in 0..d1 {
                    let (batch, time) = if time_axis == 0 { (j, i) } else { (i, j) };
                    let from = if time < lengths[batch] { lengths[batch] - 1 - time } else { time };
                    let row = if time_axis == 0 { from * d1 + j } else { i * d1 + from };
                    out.extend_from_slice(&lanes[row * inner..(row + 1) * inner]);
                }
            }
        }
        T::write(data.dtype(), data.dims(), out)
    })
    .map(Folded::from)
}
