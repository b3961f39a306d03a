//! Data movement that a strided view can say: transpose, slice, split, broadcast, tile, space and depth.

use std::borrow::Cow;

use crate::exec::exact::args::{Args, axis};
use crate::exec::exact::layout::{View, broadcast_dims, pull};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{Dims, Key, Tensor};
use crate::ops::slice::AXIS;

/// `Transpose`
pub(super) fn transpose(args: &Args<'_>) -> Result<Folded, Unable> {
    const PERM: Key<&[i64]> = Key::new("perm", &[]);
    let data = args.tensor(0)?;
    let rank = data.rank();
    let perm: Vec<usize> = match PERM.get(args.node()) {
        None => (0..rank).rev().collect(),
        Some(perm) => perm.iter().map(|&a| axis(a, rank)).collect::<Result<_, _>>()?,
    };
    let mut seen = vec![false; rank];
    perm.iter().for_each(|&a| seen[a] = true);
    if perm.len() != rank || seen.contains(&false) {
        return Err(Unable::malformed(format!("{perm:?} is no permutation of {rank} axes")));
    }
    viewed(args, data, &View::of(data.dims()).permuted(&perm))
}

fn viewed(args: &Args<'_>, data: &Tensor, view: &View) -> Result<Folded, Unable> {
    pull(args, data, view, view.dims()).map(Folded::from)
}

/// `Slice`
pub(super) fn slice(args: &Args<'_>) -> Result<Folded, Unable> {
    let data = args.tensor(0)?;
    let (starts, ends) = (args.ints(1)?, args.ints(2)?);
    let axes = match args.optional_ints(3)? {
        Some(axes) => axes.iter().map(|&a| axis(a, data.rank())).collect::<Result<_, _>>()?,
        None => (0..starts.len()).collect::<Vec<_>>(),
    };
    let steps = args.optional_ints(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err(Unable::malformed("starts, ends, axes and steps differ in length"));
    }
    let mut view = View::of(data.dims());
    let mut seen = vec![false; data.rank()];
    for (i, &a) in axes.iter().enumerate() {
        let size = *data.dims().get(a).ok_or_else(|| Unable::malformed(format!("there is no axis {a}")))?;
        if std::mem::replace(&mut seen[a], true) {
            return Err(Unable::Undefined("an axis is sliced twice"));
        }
        let (first, count) = span(starts[i], ends[i], steps[i], size)?;
        // A step longer than the axis takes at most one element; its length no longer matters.
        let by = isize::try_from(steps[i]).unwrap_or(0);
        view = view.stepped(a, first, if count > 1 { by } else { 1 }, count);
    }
    viewed(args, data, &view)
}

/// The first position and the number of positions that `start`, `end` and `step` take from `size`.
fn span(start: i64, end: i64, step: i64, size: usize) -> Result<(usize, usize), Unable> {
    let n = i128::try_from(size).map_err(|_| Unable::malformed("the axis is too large"))?;
    let from_front = |i: i64| if i < 0 { i128::from(i) + n } else { i128::from(i) };
    let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (start, end) = (from_front(start), from_front(end).clamp(low, high.max(low)));
    let start = start.clamp(0, high.max(0));
    let step = i128::from(step);
    let count = match step {
        0 => return Err(Unable::malformed("the step is 0")),
        1.. => (end - start + step - 1).div_euclid(step),
        _ => (start - end - step - 1).div_euclid(-step),
    };
    let count = if n == 0 { 0 } else { count.max(0) };
    let whole = |i: i128| usize::try_from(i).map_err(|_| Unable::malformed("the axis is too large"));
    Ok((if count == 0 { 0 } else { whole(start)? }, whole(count)?))
}

/// `Split`
pub(super) fn split(args: &Args<'_>) -> Result<Folded, Unable> {
    const NUM_OUTPUTS: Key<i64> = Key::new("num_outputs", 0);
    let data = args.tensor(0)?;
    let at = args.axis(AXIS, data.rank())?;
    let size = data.dims()[at];
    let sizes: Vec<usize> = match args.optional_ints(1)? {
        Some(sizes) => args.dims(&sizes)?.to_vec(),
        None => {
            let n = NUM_OUTPUTS.get(args.node()).map_or(Ok(args.results()), usize::try_from).unwrap_or(0);
            if n == 0 || n != args.results() {
                return Err(Unable::malformed(format!("{n} parts for {} results", args.results())));
            }
            let part = size.div_ceil(n);
            (0..n).map(|i| part.min(size.saturating_sub(part.saturating_mul(i)))).collect()
        }
    };
    if sizes.iter().try_fold(0usize, |sum, s| sum.checked_add(*s)) != Some(size) || sizes.len() < args.results() {
        return Err(Unable::malformed(format!("parts of {sizes:?} where the axis has {size}")));
    }
    let mut first = 0;
    let mut parts = Vec::with_capacity(sizes.len());
    for size in sizes {
        let view = View::of(data.dims()).stepped(at, first, 1, size);
        parts.push(pull(args, data, &view, view.dims())?);
        first += size;
    }
    Ok(Folded::bitwise(parts))
}

/// `Expand`
pub(super) fn expand(args: &Args<'_>) -> Result<Folded, Unable> {
    let data = args.tensor(0)?;
    let shape = args.dims(&args.ints(1)?)?;
    expanded(args, data, &broadcast_dims(&[data.dims(), &shape])?).map(Folded::from)
}

/// `data` broadcast to `dims`.
pub(super) fn expanded(args: &Args<'_>, data: &Tensor, dims: &[usize]) -> Result<Tensor, Unable> {
    let view = View::of(data.dims()).broadcast(dims);
    let view = view.ok_or_else(|| Unable::malformed(format!("{data} does not broadcast to {dims:?}")))?;
    pull(args, data, &view, dims)
}

/// `Tile`
pub(super) fn tile(args: &Args<'_>) -> Result<Folded, Unable> {
    let data = args.tensor(0)?;
    let repeats = args.dims(&args.ints(1)?)?;
    if repeats.len() != data.rank() {
        return Err(Unable::malformed(format!("{} repeats of a tensor of rank {}", repeats.len(), data.rank())));
    }
    let mut view = View::of(data.dims());
    let mut dims = Dims::new();
    for (a, (&size, &times)) in data.dims().iter().zip(&repeats).enumerate() {
        view = view.repeated(2 * a, times);
        dims.push(size.checked_mul(times).ok_or_else(|| Unable::malformed("the dimensions are too large"))?);
    }
    pull(args, data, &view, &dims).map(Folded::from)
}

const BLOCK_SIZE: Key<i64> = Key::new("blocksize", 0);

fn block_size(args: &Args<'_>) -> Result<usize, Unable> {
    let size = usize::try_from(BLOCK_SIZE.of(args.node())).unwrap_or(0);
    if size == 0 { Err(Unable::malformed("the block size has to be positive")) } else { Ok(size) }
}

fn images<'a>(args: &Args<'a>) -> Result<(&'a Tensor, [usize; 4]), Unable> {
    let data = args.tensor(0)?;
    match *data.dims() {
        [n, c, h, w] => Ok((data, [n, c, h, w])),
        _ => Err(Unable::malformed(format!("{data} where [N, C, H, W] is needed"))),
    }
}

fn mode<'a>(args: &Args<'a>) -> Cow<'a, str> {
    args.text(Key::new("mode", "DCR"))
}

/// `DepthToSpace`: blocks of channels become blocks of space.
pub(super) fn depth_to_space(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, [n, c, h, w]) = images(args)?;
    let b = block_size(args)?;
    let area = b.checked_mul(b).filter(|a| c.is_multiple_of(*a));
    let depth = c / area.ok_or_else(|| Unable::malformed(format!("{c} channels in blocks of {b}×{b}")))?;
    let view = match mode(args).as_ref() {
        "DCR" => View::of(&[n, b, b, depth, h, w]).permuted(&[0, 3, 4, 1, 5, 2]),
        "CRD" => View::of(&[n, depth, b, b, h, w]).permuted(&[0, 1, 4, 2, 5, 3]),
        other => return Err(Unable::malformed(format!("mode {other}"))),
    };
    let side = |s: usize| s.checked_mul(b).ok_or_else(|| Unable::malformed("the dimensions are too large"));
    pull(args, data, &view, &[n, depth, side(h)?, side(w)?]).map(Folded::from)
}

/// `SpaceToDepth`: the inverse.
pub(super) fn space_to_depth(args: &Args<'_>) -> Result<Folded, Unable> {
    let (data, [n, c, h, w]) = images(args)?;
    let b = block_size(args)?;
    if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
        return Err(Unable::malformed(format!("{h}×{w} in blocks of {b}×{b}")));
    }
    let parted = View::of(&[n, c, h / b, b, w / b, b]);
    let view = match mode(args).as_ref() {
        "DCR" => parted.permuted(&[0, 3, 5, 1, 2, 4]),
        "CRD" => parted.permuted(&[0, 1, 3, 5, 2, 4]),
        other => return Err(Unable::malformed(format!("mode {other}"))),
    };
    let depth = b.checked_mul(b).and_then(|area| area.checked_mul(c));
    let depth = depth.ok_or_else(|| Unable::malformed("the dimensions are too large"))?;
    pull(args, data, &view, &[n, depth, h / b, w / b]).map(Folded::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_follow_numpy() {
        assert_eq!(span(0, i64::MAX, 1, 5), Ok((0, 5)));
        assert_eq!(span(-3, -1, 1, 5), Ok((2, 2)));
        assert_eq!(span(-1, i64::MIN, -1, 5), Ok((4, 5)));
        assert_eq!(span(10, 0, -2, 5), Ok((4, 2)));
        assert_eq!(span(3, 1, 1, 5), Ok((0, 0)));
        assert_eq!(span(0, 5, i64::MAX, 5), Ok((0, 1)));
        assert_eq!(span(4, i64::MIN, i64::MIN, 5), Ok((4, 1)));
        assert_eq!(span(0, 1, -1, 0), Ok((0, 0)));
        assert!(span(0, 1, 0, 3).is_err());
    }
}
