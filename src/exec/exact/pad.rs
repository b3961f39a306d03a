//! `Pad` and `CenterCropPad`: each axis of the result names a position of the operand, or none.

use crate::exec::exact::args::{Args, axis, count};
use crate::exec::exact::lanes::{Lane, per_lane};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Dims, Key, Tensor};

/// For every position along an axis of the result, the operand's; `None` where it is filled.
type Positions = Vec<Option<usize>>;

/// `Pad`
pub(super) fn pad(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, pads) = (args.tensor(0)?, args.ints(1)?);
    let axes = match args.optional_ints(3)? {
        Some(axes) => axes.iter().map(|&a| axis(a, data.rank())).collect::<Result<_, _>>()?,
        None => (0..data.rank()).collect::<Vec<_>>(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(Unable::malformed(format!("{} pads for {} axes", pads.len(), axes.len())));
    }
    let mode = args.text(Key::new("mode", "constant"));
    let fill = match args.optional(2) {
        Some(t) if t.dtype() != data.dtype() => return Err(Unable::malformed(format!("{data} padded with {t}"))),
        fill => fill,
    };
    let mut amounts = vec![(0i64, 0i64); data.rank()];
    let mut seen = vec![false; data.rank()];
    for (i, &a) in axes.iter().enumerate() {
        if std::mem::replace(&mut seen[a], true) {
            return Err(Unable::Undefined("an axis is padded twice"));
        }
        amounts[a] = (pads[i], pads[axes.len() + i]);
    }
    if amounts.iter().all(|a| *a == (0, 0)) {
        return Ok(data.clone().into());
    }
    // First the sizes, so that nothing is spelled out before it is clear that it fits.
    let dims: Dims =
        data.dims().iter().zip(&amounts).map(|(&size, &(b, e))| padded(size, b, e)).collect::<Result<_, _>>()?;
    let is_splat = super::lanes::common_splat(&match fill {
        Some(fill) if mode == "constant" => vec![data, fill],
        _ => vec![data],
    });
    if let Some(e) = is_splat
        && (mode != "constant" || fill.is_some() || e.iter().all(|b| *b == 0))
        && (mode == "constant" || data.len() > 0)
    {
        check_mode(&mode, data, &amounts)?;
        return Ok(args.splat(data.dtype(), &dims, &e)?.into());
    }
    check_mode(&mode, data, &amounts)?;
    if args.room_for(data.dtype(), &dims)? == 0 {
        return nothing(data.dtype(), &dims);
    }
    let positions: Vec<Positions> =
        (0..data.rank()).map(|a| positions(&mode, data.dims()[a], amounts[a].0, dims[a])).collect::<Result<_, _>>()?;
    placed(args, data, fill, &positions, &dims).map(Folded::from)
}

/// The tensor without elements: beside a size of 0 the others may be any number, so nothing is made per position.
fn nothing(dtype: DType, dims: &[usize]) -> Result<Folded, Unable> {
    per_lane!(dtype, T => T::write(dtype, dims, Vec::new())).map(Folded::from)
}

fn padded(size: usize, begin: i64, end: i64) -> Result<usize, Unable> {
    let total = i128::try_from(size).ok().map(|s| s + i128::from(begin) + i128::from(end));
    let total = total.and_then(|t| usize::try_from(t).ok());
    total.ok_or_else(|| Unable::malformed(format!("{begin} and {end} around {size} elements")))
}

/// Whether `mode` says what stands beyond the edges of `data`.
fn check_mode(mode: &str, data: &Tensor, amounts: &[(i64, i64)]) -> Result<(), Unable> {
    for (&size, &(begin, end)) in data.dims().iter().zip(amounts) {
        let most = usize::try_from(begin.max(end)).unwrap_or(0);
        match mode {
            "constant" => {}
            "reflect" | "edge" | "wrap" if begin.min(end) < 0 => {
                return Err(Unable::Undefined("elements are removed and others repeated"));
            }
            "reflect" if most >= size.max(1) => return Err(Unable::Undefined("a reflection is wider than the axis")),
            "edge" | "wrap" if most > 0 && size == 0 => return Err(Unable::malformed("an axis of size 0 has no edge")),
            "reflect" | "edge" | "wrap" => {}
            other => return Err(Unable::malformed(format!("mode {other}"))),
        }
    }
    Ok(())
}

fn positions(mode: &str, size: usize, begin: i64, total: usize) -> Result<Positions, Unable> {
    let too_large = |_| Unable::malformed("the axis is too large");
    // Sums of an i64 and a size stay far from the ends of i128.
    let (size, total) = (i128::try_from(size).map_err(too_large)?, i128::try_from(total).map_err(too_large)?);
    let place = |i: i128| match mode {
        _ if (0..size).contains(&i) => Some(i),
        "edge" => Some(i.clamp(0, size - 1)),
        "reflect" if i < 0 => Some(-i),
        "reflect" => Some(2 * (size - 1) - i),
        "wrap" => Some(i.rem_euclid(size)),
        _ => None,
    };
    let begin = i128::from(begin);
    Ok((-begin..total - begin).map(|i| place(i).and_then(|i| usize::try_from(i).ok())).collect())
}

/// The tensor whose element at an index is `data` at the positions that `positions` give, or the fill.
fn placed(
    args: &Args<'_>,
    data: &Tensor,
    fill: Option<&Tensor>,
    positions: &[Positions],
    dims: &[usize],
) -> Result<Tensor, Unable> {
    per_lane!(data.dtype(), T => {
        let fill = match fill {
            None => T::default(),
            Some(t) => match &T::read(args, t)?[..] {
                [one] => one.clone(),
                _ => return Err(Unable::malformed(format!("{t} where one element is needed"))),
            },
        };
        let lanes = T::read(args, data)?;
        T::write(data.dtype(), dims, place(&lanes, data.dims(), &fill, positions, dims))
    })
}

fn place<T: Lane>(lanes: &[T], from: &[usize], fill: &T, positions: &[Positions], dims: &[usize]) -> Vec<T> {
    let n = count(dims).unwrap_or(0);
    let mut out = Vec::with_capacity(n);
    if n == 0 {
        return out;
    }
    // Trailing axes that are as they were move as one run.
    let kept = (0..dims.len()).rev().take_while(|&a| is_whole(&positions[a], from[a])).count();
    let looped = dims.len() - kept;
    let run = count(&from[looped..]).unwrap_or(0);
    let Some(last) = looped.checked_sub(1) else { return lanes.to_vec() };
    let mut index = vec![0usize; last];
    loop {
        let base = index.iter().enumerate().try_fold(0, |base, (a, &i)| Some(base * from[a] + positions[a][i]?));
        for position in &positions[last] {
            match (base, position) {
                (Some(base), Some(p)) => {
                    let start = (base * from[last] + p) * run;
                    out.extend_from_slice(&lanes[start..start + run]);
                }
                _ => out.resize(out.len() + run, fill.clone()),
            }
        }
        let mut a = last;
        loop {
            let Some(next) = a.checked_sub(1) else { return out };
            a = next;
            index[a] += 1;
            if index[a] < dims[a] {
                break;
            }
            index[a] = 0;
        }
    }
}

fn is_whole(positions: &Positions, size: usize) -> bool {
    positions.len() == size && positions.iter().enumerate().all(|(i, p)| *p == Some(i))
}

/// `CenterCropPad`: crops and pads with zero, the odd element on the right.
pub(super) fn center_crop_pad(args: &Args<'_>) -> Result<Folded, Unable> {
    const AXES: Key<&[i64]> = Key::new("axes", &[]);
    let data = args.tensor(0)?;
    let shape = args.dims(&args.ints(1)?)?;
    let axes = match AXES.get(args.node()) {
        Some(axes) => axes.iter().map(|&a| axis(a, data.rank())).collect::<Result<Vec<_>, _>>()?,
        None => (0..data.rank()).collect(),
    };
    if axes.len() != shape.len() {
        return Err(Unable::malformed(format!("{} sizes for {} axes", shape.len(), axes.len())));
    }
    if data.dtype() == DType::String {
        return Err(Unable::Undefined("zero is no string"));
    }
    let mut dims = Dims::from(data.dims());
    for (&a, &size) in axes.iter().zip(&shape) {
        dims[a] = size;
    }
    if args.room_for(data.dtype(), &dims)? == 0 {
        return nothing(data.dtype(), &dims);
    }
    let positions: Vec<Positions> = dims
        .iter()
        .zip(data.dims())
        .map(|(&to, &from)| {
            let (crop, lead) = (from.saturating_sub(to) / 2, to.saturating_sub(from) / 2);
            (0..to).map(|i| i.checked_sub(lead).map(|i| i + crop).filter(|&i| i < from)).collect()
        })
        .collect();
    placed(args, data, None, &positions, &dims).map(Folded::from)
}
