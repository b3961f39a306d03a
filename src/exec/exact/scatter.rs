//! A copy of a tensor with some elements replaced, or combined with others.

use fixedbitset::FixedBitSet;

use crate::exec::exact::args::{Args, count, position};
use crate::exec::exact::gather::{check_elements, each_element, tuple_offsets};
use crate::exec::exact::lanes::{Lane, per_lane};
use crate::exec::exact::number::{Number, numbers, per_number, tensor};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Key, Tensor};
use crate::ops::normalize_axis;
use crate::rewrite::Exactness;

/// The slices of `data`, `run` elements long, that each slice of `updates` goes to.
struct Targets {
    slices: Vec<usize>,
    run: usize,
}

/// `ScatterElements`
pub(super) fn scatter_elements(args: &Args<'_>) -> Result<Folded, Unable> {
    const AXIS: Key<i64> = Key::new("axis", 0);
    let (data, indices, updates) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let along = args.axis(AXIS, data.rank())?;
    check_elements(data, indices, along)?;
    if updates.dims() != indices.dims() {
        return Err(Unable::malformed(format!("{updates} at {indices}")));
    }
    let size = data.dims()[along];
    let positions: Vec<usize> = args.ints(1)?.into_iter().map(|i| position(i, size)).collect::<Result<_, _>>()?;
    let mut slices = Vec::with_capacity(positions.len());
    each_element(data.dims(), indices.dims(), along, &positions, |offset| slices.push(offset));
    scatter(args, data, updates, &Targets { slices, run: 1 })
}

/// `ScatterND`
pub(super) fn scatter_nd(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, indices, updates) = (args.tensor(0)?, args.tensor(1)?, args.tensor(2)?);
    let mismatch = || Unable::malformed(format!("{updates} at {indices} into {data}"));
    let (&width, tuples) = indices.dims().split_last().ok_or_else(mismatch)?;
    if width > data.rank() || updates.dims() != [tuples, &data.dims()[width..]].concat() {
        return Err(mismatch());
    }
    let slices = tuple_offsets(args, 1, &data.dims()[..width], count(tuples).unwrap_or(0))?;
    scatter(args, data, updates, &Targets { slices, run: count(&data.dims()[width..]).unwrap_or(0) })
}

fn scatter(args: &Args<'_>, data: &Tensor, updates: &Tensor, targets: &Targets) -> Result<Folded, Unable> {
    if updates.dtype() != data.dtype() {
        return Err(Unable::malformed(format!("{updates} into {data}")));
    }
    if updates.len() == 0 {
        return Ok(data.clone().into());
    }
    args.room_for(data.dtype(), data.dims())?;
    let reduction = args.text(Key::new("reduction", "none"));
    if reduction == "none" {
        return per_lane!(data.dtype(), T => replaced::<T>(args, data, updates, targets)).map(Folded::from);
    }
    let is_sum = matches!(reduction.as_ref(), "add" | "mul");
    let tensor = per_number!(data.dtype(), T => {
        let combine = match reduction.as_ref() {
            "add" => T::add,
            "mul" => T::mul,
            "max" => T::larger,
            "min" => T::smaller,
            other => return Err(Unable::malformed(format!("reduction {other}"))),
        };
        combined::<T>(args, data, updates, targets, combine)
    }, else => Err(Unable::NoKernel))?;
    let exactness = if is_sum && data.dtype().is_float() { Exactness::Rounding } else { Exactness::Bitwise };
    Ok(Folded { results: vec![tensor], exactness })
}

fn replaced<T: Lane>(args: &Args<'_>, data: &Tensor, updates: &Tensor, targets: &Targets) -> Result<Tensor, Unable> {
    let run = targets.run;
    let mut out = T::read(args, data)?.into_owned();
    let updates = T::read(args, updates)?;
    let mut written = FixedBitSet::with_capacity(out.len().checked_div(run).unwrap_or(0));
    for (slice, update) in targets.slices.iter().zip(updates.chunks_exact(run)) {
        let target = &mut out[slice * run..(slice + 1) * run];
        if written.put(*slice) && target != update {
            return Err(Unable::Undefined("two updates of one element"));
        }
        target.clone_from_slice(update);
    }
    T::write(data.dtype(), data.dims(), out)
}

fn combined<T: Number>(
    args: &Args<'_>,
    data: &Tensor,
    updates: &Tensor,
    targets: &Targets,
    combine: fn(T, T) -> T,
) -> Result<Tensor, Unable> {
    let run = targets.run;
    let mut out: Vec<T> = numbers(args, data)?;
    let updates: Vec<T> = numbers(args, updates)?;
    for (slice, update) in targets.slices.iter().zip(updates.chunks_exact(run)) {
        for (x, u) in out[slice * run..(slice + 1) * run].iter_mut().zip(update) {
            *x = combine(*x, *u);
        }
    }
    tensor(data.dims(), &out)
}

/// `TensorScatter`: writes a stretch of a cache, per batch element from another position on.
pub(super) fn tensor_scatter(args: &Args<'_>) -> Result<Folded, Unable> {
    const AXIS: Key<i64> = Key::new("axis", -2);
    let (cache, update) = (args.tensor(0)?, args.tensor(1)?);
    let mismatch = || Unable::malformed(format!("{update} into {cache}"));
    let along = normalize_axis(AXIS.of(args.node()), cache.rank()).filter(|a| *a > 0).ok_or_else(mismatch)?;
    let fits = cache.dtype() == update.dtype()
        && cache.rank() == update.rank()
        && (0..cache.rank()).all(|a| a == along || cache.dims()[a] == update.dims()[a])
        && update.dims()[along] <= cache.dims()[along];
    if !fits {
        return Err(mismatch());
    }
    let (size, length, batches) = (cache.dims()[along], update.dims()[along], cache.dims()[0]);
    let starts = match args.optional_ints(2)? {
        Some(starts) if starts.len() == batches => args.dims(&starts)?.to_vec(),
        Some(_) => return Err(Unable::malformed("there has to be one start per batch element")),
        None => {
            args.room(DType::I64, batches)?;
            vec![0; batches]
        }
    };
    let is_circular = match args.text(Key::new("mode", "linear")).as_ref() {
        "linear" => false,
        "circular" => true,
        other => return Err(Unable::malformed(format!("mode {other}"))),
    };
    if !is_circular && starts.iter().any(|s| s.checked_add(length).is_none_or(|end| end > size)) {
        return Err(Unable::malformed("an update ends beyond the cache"));
    }
    if update.len() == 0 {
        return Ok(cache.clone().into());
    }
    args.room_for(cache.dtype(), cache.dims())?;
    let rows = count(&cache.dims()[..along]).unwrap_or(0);
    let rows_per_batch = rows.checked_div(batches).unwrap_or(1).max(1);
    let mut slices = Vec::with_capacity(rows.saturating_mul(length));
    for row in 0..rows {
        let start = starts[row / rows_per_batch] % size;
        slices.extend((0..length).map(|i| row * size + (start + i) % size));
    }
    let targets = Targets { slices, run: count(&cache.dims()[along + 1..]).unwrap_or(0) };
    per_lane!(cache.dtype(), T => replaced::<T>(args, cache, update, &targets)).map(Folded::from)
}
