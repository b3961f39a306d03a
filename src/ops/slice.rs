//! Ops that take tensors apart, put them together, and order elements by where they are.

use crate::ir::{Attr, Int, Key};
use crate::ops::call::MAX_CONTENT;
use crate::ops::dims::{clearest, known_slice, product, slice_len, sum};
use crate::ops::{CallView, Channels, End, Infer, OpDef, Outcome, Quant, Tie, Ties, normalize_axis, ties};

/// The axis of `Concat`, `Split`, `Gather`, `GatherElements`, `ScatterElements`.
pub const AXIS: Key<i64> = Key::new("axis", 0);
/// `Split`: how many parts, where sizes are not given.
pub const NUM_OUTPUTS: Key<i64> = Key::new("num_outputs", 0);
/// `Pad`: how what is added is filled.
pub const MODE: Key<&'static str> = Key::new("mode", "constant");
/// `Transpose`: the operand axis of each result axis; absent for the reverse order.
pub const PERM: Key<&'static [i64]> = Key::new("perm", &[]);

/// A row of something that moves whole elements of operand 0.
pub(super) const MOVES: OpDef = OpDef { quant: |_| Quant::SharesScale, ..OpDef::PURE };

/// `Slice`.
pub static SLICE: OpDef = OpDef { infer: Some(slice), channels: cut, ties: sliced, ..MOVES };
/// `Split`.
pub static SPLIT: OpDef = OpDef { infer: Some(split), channels: parted, ..MOVES };
/// `Concat`.
pub static CONCAT: OpDef = OpDef { infer: Some(concat), channels: joined, ..MOVES };
/// `Tile`.
pub static TILE: OpDef = OpDef { infer: Some(tile), channels: repeated, ..MOVES };
/// `Pad`.
pub static PAD: OpDef = OpDef { infer: Some(pad), channels: padded, ..MOVES };
/// `Transpose`.
pub static TRANSPOSE: OpDef = OpDef { infer: Some(transpose), channels: permuted, ..MOVES };
/// `Trilu`.
pub static TRILU: OpDef = OpDef { infer: Some(like_first), ..MOVES };
/// `ReverseSequence`.
pub static REVERSE_SEQUENCE: OpDef = OpDef { infer: Some(like_first), ..MOVES };
/// `CenterCropPad`.
pub static CENTER_CROP_PAD: OpDef = OpDef { infer: Some(center_crop_pad), ..MOVES };
/// `TensorScatter`.
pub static TENSOR_SCATTER: OpDef = OpDef { infer: Some(like_first), ..MOVES };

pub(super) fn like_first(call: &mut Infer<'_>) -> Outcome {
    let ty = call.ty(0)?.clone();
    call.set_type(0, ty);
    Some(())
}

/// Start with what holds of every op here: the result has operand 0's element type and, often, its rank.
pub(super) fn same_rank(call: &mut Infer<'_>) -> Option<Vec<Int>> {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let dims = call.dims(0)?.to_vec();
    call.set_rank(0, dtype, dims.len());
    Some(dims)
}

/// One axis of a `Slice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The axis.
    pub axis: usize,
    /// The first index, as the file gives it: negative from the back.
    pub start: Int,
    /// The index before which to end.
    pub end: Int,
    /// The distance between picked indices; not 0.
    pub step: i64,
}

/// The axes that a `Slice` cuts. `None` where axes or steps are not known, or the call is malformed.
pub fn cuts(call: &CallView<'_>) -> Option<Vec<Cut>> {
    let rank = call.rank(0)?;
    let (starts, ends) = (call.elements(1)?, call.elements(2)?);
    let axes: Vec<usize> = match call.has(3) {
        true => call.known_ints(3)?.into_iter().map(|a| normalize_axis(a, rank)).collect::<Option<_>>()?,
        false => (0..starts.len()).collect(),
    };
    let steps = if call.has(4) { call.known_ints(4)? } else { vec![1; starts.len()] };
    let sound = [ends.len(), axes.len(), steps.len()].iter().all(|&n| n == starts.len())
        && axes.iter().enumerate().all(|(i, axis)| *axis < rank && !axes[..i].contains(axis))
        && !steps.contains(&0);
    let cut = |(((axis, start), end), step)| Cut { axis, start, end, step };
    sound.then(|| axes.into_iter().zip(starts).zip(ends).zip(steps).map(cut).collect())
}

fn slice(call: &mut Infer<'_>) -> Outcome {
    let mut dims = same_rank(call)?;
    let Some(cuts) = cuts(call) else {
        // Axes that are surely not cut keep their size.
        let axes = call.known_ints(3)?;
        let axes: Vec<usize> = axes.into_iter().map(|a| normalize_axis(a, dims.len())).collect::<Option<_>>()?;
        for axis in axes {
            *dims.get_mut(axis)? = call.fresh(0, axis);
        }
        let dtype = call.dtype(0);
        call.set(0, dtype, dims);
        return Some(());
    };
    for Cut { axis, start, end, step } in &cuts {
        let len = slice_len(&dims[*axis], start, end, *step);
        dims[*axis] = len.unwrap_or_else(|| call.fresh(0, *axis));
    }
    let dtype = call.dtype(0);
    call.set(0, dtype, dims);
    let content = call.elements(0)?;
    let [cut] = &cuts[..] else {
        // Nothing is cut from a vector whose list of axes is empty.
        call.set_content(0, if cuts.is_empty() { content } else { return None });
        return Some(());
    };
    let (start, len) = known_slice(i64::try_from(content.len()).ok()?, cut.start.known()?, cut.end.known()?, cut.step)?;
    let picked = (0..len).map(|i| start.checked_add(i.checked_mul(cut.step)?));
    let picked: Option<Vec<Int>> = picked.map(|i| content.get(usize::try_from(i?).ok()?).cloned()).collect();
    call.set_content(0, picked);
    Some(())
}

/// The axes of operand 0 that a call leaves as they are: all but those of which `changes` holds.
pub(super) fn kept(rank: usize, changes: impl Fn(usize) -> bool) -> Channels {
    Channels::Moved((0..rank).map(|axis| (!changes(axis)).then_some(axis)).collect())
}

fn cut(call: &CallView<'_>) -> Channels {
    match (cuts(call), call.rank(0)) {
        (Some(cuts), Some(rank)) => kept(rank, |axis| cuts.iter().any(|c| c.axis == axis)),
        _ => Channels::Barrier,
    }
}

/// A cut axis keeps the indices that are cut out.
fn sliced(call: &CallView<'_>) -> Ties {
    let mut ties = ties::of_channels(call);
    for cut in cuts(call).unwrap_or_default() {
        let indices = || {
            let size = i64::try_from(ties::size(call, End::operand(0, cut.axis))?).ok()?;
            let (start, len) = known_slice(size, cut.start.known()?, cut.end.known()?, cut.step)?;
            let index = |i: i64| usize::try_from(start.checked_add(i.checked_mul(cut.step)?)?).ok();
            (0..len).map(index).collect::<Option<Vec<_>>>()
        };
        if let Some(indices) = indices() {
            ties.push(Tie::Picked { from: End::operand(0, cut.axis), to: End::result(0, cut.axis), indices });
        }
    }
    ties
}

/// The axis attribute, brought into `0..rank`.
pub(super) fn axis_of(call: &CallView<'_>, rank: usize) -> Option<usize> {
    normalize_axis(AXIS.of(call.node()), rank)
}

/// The sizes of the parts that `Split` makes of its axis, as many as it has results. `None` where they are not known.
pub fn part_sizes(call: &CallView<'_>) -> Option<Vec<Int>> {
    let count = call.graph().results(call.id()).len();
    if call.has(1) {
        let sizes = call.elements(1)?;
        let sound = sizes.len() == count && sizes.iter().all(|s| s.known().is_none_or(|n| n >= 0));
        return sound.then_some(sizes);
    }
    let dim = &call.dims(0)?[axis_of(call, call.rank(0)?)?];
    let parts = match NUM_OUTPUTS.get(call.node()) {
        Some(n) => usize::try_from(n).ok()?,
        None => count,
    };
    if parts < count || parts == 0 {
        return None;
    }
    // Every part but the last is the quotient rounded up.
    let chunk = dim.ceil_div(&Int::from(parts))?;
    let last = dim.checked_sub(&chunk.checked_mul(&Int::from(parts - 1))?)?;
    if last.known().is_some_and(|n| n < 0) {
        return None;
    }
    Some((0..count).map(|i| if i + 1 == parts { last.clone() } else { chunk.clone() }).collect())
}

fn split(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    let count = call.result_count();
    (0..count).for_each(|slot| call.set_dtype(slot, dtype));
    let dims = call.dims(0)?.to_vec();
    let axis = axis_of(call, dims.len())?;
    let sizes = part_sizes(call);
    let content = call.elements(0);
    let mut start = Some(0usize);
    for slot in 0..count {
        let mut part = dims.clone();
        part[axis] = sizes.as_ref().map_or_else(|| call.fresh(slot, axis), |sizes| sizes[slot].clone());
        let size = part[axis].known().and_then(|n| usize::try_from(n).ok());
        call.set(slot, dtype, part);
        let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
        if let (Some(content), Some(start), Some(end)) = (&content, start, end)
            && let Some(content) = content.get(start..end)
        {
            call.set_content(slot, content.to_vec());
        }
        start = end;
    }
    Some(())
}

fn parted(call: &CallView<'_>) -> Channels {
    let axis = call.rank(0).and_then(|rank| axis_of(call, rank));
    axis.map_or(Channels::Barrier, |axis| Channels::Parted { axis })
}

fn concat(call: &mut Infer<'_>) -> Outcome {
    let count = call.operand_count();
    let dtype = (0..count).find_map(|slot| call.dtype(slot));
    call.set_dtype(0, dtype);
    let rank = (0..count).find_map(|slot| call.rank(slot))?;
    call.set_rank(0, dtype, rank);
    let axis = axis_of(call, rank)?;
    let known: Vec<&[Int]> = (0..count).filter_map(|slot| call.dims(slot)).collect();
    if known.iter().any(|dims| dims.len() != rank) {
        return None;
    }
    let sizes = (0..rank).map(|at| match at == axis {
        true if known.len() == count => sum(known.iter().map(|dims| &dims[at])),
        true => None,
        false => clearest(known.iter().map(|dims| &dims[at])).cloned(),
    });
    let sizes: Vec<Int> = sizes.enumerate().map(|(at, size)| size.unwrap_or_else(|| call.fresh(0, at))).collect();
    let content = joined_content(call);
    call.set(0, dtype, sizes);
    call.set_content(0, content);
    Some(())
}

fn joined_content(call: &CallView<'_>) -> Option<Vec<Int>> {
    let mut content = Vec::new();
    for slot in 0..call.operand_count() {
        content.extend(call.elements(slot)?);
        if content.len() > MAX_CONTENT {
            return None;
        }
    }
    Some(content)
}

fn joined(call: &CallView<'_>) -> Channels {
    let rank = (0..call.operand_count()).find_map(|slot| call.rank(slot));
    let axis = rank.and_then(|rank| axis_of(call, rank));
    axis.map_or(Channels::Barrier, |axis| Channels::Joined { axis })
}

fn tile(call: &mut Infer<'_>) -> Outcome {
    let dims = same_rank(call)?;
    let repeats = call.elements(1)?;
    if repeats.len() != dims.len() || repeats.iter().any(|r| r.known().is_some_and(|r| r < 0)) {
        return None;
    }
    let sizes = dims.iter().zip(&repeats).map(|(d, r)| product(&[d.clone(), r.clone()]));
    let sizes: Vec<Int> = sizes.enumerate().map(|(axis, s)| s.unwrap_or_else(|| call.fresh(0, axis))).collect();
    let content = tiled(call, &repeats);
    let dtype = call.dtype(0);
    call.set(0, dtype, sizes);
    call.set_content(0, content);
    Some(())
}

fn tiled(call: &CallView<'_>, repeats: &[Int]) -> Option<Vec<Int>> {
    let content = call.elements(0)?;
    let [times] = repeats else { return repeats.is_empty().then_some(content) };
    let times = usize::try_from(times.known()?).ok()?;
    let len = content.len().checked_mul(times)?;
    (len <= MAX_CONTENT).then(|| content.iter().cycle().take(len).cloned().collect())
}

fn repeated(call: &CallView<'_>) -> Channels {
    let one = Int::from(1);
    match (call.ints(1), call.rank(0)) {
        (Some(repeats), Some(rank)) if repeats.len() == rank => kept(rank, |axis| repeats[axis] != one),
        _ => Channels::Barrier,
    }
}

/// What `Pad` adds before and after each axis of its operand, in order; negative cuts away. `None` where that is not
/// known.
pub fn added(call: &CallView<'_>) -> Option<Vec<(Int, Int)>> {
    let rank = call.rank(0)?;
    let pads = call.elements(1)?;
    let axes: Vec<usize> = match call.has(3) {
        true => call.known_ints(3)?.into_iter().map(|a| normalize_axis(a, rank)).collect::<Option<_>>()?,
        false => (0..rank).collect(),
    };
    if pads.len() != axes.len().checked_mul(2)? {
        return None;
    }
    let mut added = vec![(Int::from(0), Int::from(0)); rank];
    let (before, after) = pads.split_at(axes.len());
    for (i, (axis, pads)) in axes.iter().zip(before.iter().zip(after)).enumerate() {
        if axes[..i].contains(axis) {
            return None;
        }
        added[*axis] = (pads.0.clone(), pads.1.clone());
    }
    Some(added)
}

fn pad(call: &mut Infer<'_>) -> Outcome {
    let dims = same_rank(call)?;
    let sizes = dims.iter().zip(added(call)?).map(|(dim, (before, after))| sum([dim, &before, &after]));
    let sizes: Vec<Int> = sizes.enumerate().map(|(axis, s)| s.unwrap_or_else(|| call.fresh(0, axis))).collect();
    if sizes.iter().any(|s| s.known().is_some_and(|s| s < 0)) {
        return None;
    }
    let dtype = call.dtype(0);
    call.set(0, dtype, sizes);
    Some(())
}

fn padded(call: &CallView<'_>) -> Channels {
    let zero = Int::from(0);
    match added(call) {
        Some(added) => kept(added.len(), |axis| added[axis].0 != zero || added[axis].1 != zero),
        None => Channels::Barrier,
    }
}

/// The operand axis of each result axis of a `Transpose`. `None` where the rank is not known or `perm` is malformed.
pub fn permutation(call: &CallView<'_>) -> Option<Vec<usize>> {
    let Some(perm) = PERM.get(call.node()) else { return Some((0..call.rank(0)?).rev().collect()) };
    let axes: Vec<usize> = perm.iter().map(|&a| usize::try_from(a).ok()).collect::<Option<_>>()?;
    let mut seen = vec![false; axes.len()];
    let once = |&axis: &usize| seen.get_mut(axis).is_some_and(|seen| !std::mem::replace(seen, true));
    let sound = axes.iter().all(once) && call.rank(0).is_none_or(|rank| rank == axes.len());
    sound.then_some(axes)
}

fn transpose(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let axes = permutation(call)?;
    call.set_rank(0, dtype, axes.len());
    let dims = call.dims(0)?;
    let sizes: Vec<Int> = axes.iter().map(|&axis| dims[axis].clone()).collect();
    call.set(0, dtype, sizes);
    let content = call.elements(0)?;
    call.set_content(0, content);
    Some(())
}

fn permuted(call: &CallView<'_>) -> Channels {
    permutation(call).map_or(Channels::Barrier, |axes| Channels::Moved(axes.into_iter().map(Some).collect()))
}

fn center_crop_pad(call: &mut Infer<'_>) -> Outcome {
    let mut dims = same_rank(call)?;
    let axes: Vec<usize> = match call.node().attr("axes") {
        Some(Attr::Ints(axes)) => axes.iter().map(|&a| normalize_axis(a, dims.len())).collect::<Option<_>>()?,
        Some(_) => return None,
        None => (0..dims.len()).collect(),
    };
    let sizes = call.elements(1);
    if sizes.as_ref().is_some_and(|s| s.len() != axes.len() || s.iter().any(|s| s.known().is_some_and(|n| n < 0))) {
        return None;
    }
    for (i, axis) in axes.into_iter().enumerate() {
        dims[axis] = sizes.as_ref().map_or_else(|| call.fresh(0, axis), |sizes| sizes[i].clone());
    }
    let dtype = call.dtype(0);
    call.set(0, dtype, dims);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::{OpKind, OpKind::*};
    use crate::ops::testing::{Case, infer, infer_all};
    use crate::ops::{Channels, def};

    fn channels(op: OpKind, operands: &str, axis: i64) -> Channels {
        (def(op).channels)(&Case::new(op, operands, &[("axis", axis.into())], 1).view())
    }

    fn moved(axes: &[Option<usize>]) -> Channels {
        Channels::Moved(axes.iter().copied().collect())
    }

    #[test]
    fn slices_cut_axes() {
        let slice = |by: &str| infer(Slice, &format!("float[b,10,8] {by}"), &[]);
        assert_eq!(slice("int64=[1] int64=[9223372036854775807] int64=[1]"), "float[b,9,8]");
        assert_eq!(slice("int64=[0,0] int64:[b,-3] int64=[0,-1]"), "float[b,10,5]");
        assert_eq!(slice("int64=[7] int64=[-100] int64=[2] int64=[-2]"), "float[b,10,4]");
        assert_eq!(slice("int64=[0] int64:[e]"), "float[min(b, e),10,8]");
        assert_eq!(slice("int64=[0] int64[1] int64=[1]"), "float[b,?,8]");
        assert_eq!(slice("? ? int64=[1]"), "float[b,?,8]");
        assert_eq!(slice("int64=[0] int64=[1] int64=[5]"), "float[?,?,?]", "no such axis");
        assert_eq!(slice("int64=[0] int64=[1,1]"), "float[?,?,?]", "lists of two lengths");
        assert_eq!(slice("int64=[0] int64=[1] int64=[0] int64=[0]"), "float[?,?,?]".replace("?,?,?", "?,10,8"));
        assert_eq!(infer(Slice, "int64:[b,s,256] int64=[0] int64=[-1]", &[]), "int64:[b,s]");
        let reverse = "int64:[b,s,256] int64=[-1] int64=[-100] int64=[0] int64=[-1]";
        assert_eq!(infer(Slice, reverse, &[]), "int64:[256,s,b]");
        assert_eq!(channels(Slice, "float[b,10,8] int64=[1] int64=[3] int64=[1]", 0), moved(&[Some(0), None, Some(2)]));
    }

    #[test]
    fn splits_part_an_axis() {
        let split = |operands: &str, results| infer_all(Split, operands, &[("axis", (-1).into())], results);
        assert_eq!(split("float[b,7] int64=[2,5]", 2), "float[b,2]  float[b,5]");
        assert_eq!(split("float[b,7]", 3), "float[b,3]  float[b,3]  float[b,1]");
        assert_eq!(split("float[2,n]", 1), "float[2,n]");
        assert_eq!(split("float[2,5]", 4), "float[2,?]  float[2,?]  float[2,?]  float[2,?]");
        assert_eq!(split("float[b,7] int64=[2,5,1]", 2), "float[b,?]  float[b,?]");
        assert_eq!(split("int64:[a,b,c] int64=[1,2]", 2), "int64:[a]  int64:[b,c]");
        assert_eq!(channels(Split, "float[b,7]", 1), Channels::Parted { axis: 1 });
    }

    #[test]
    fn concatenation_adds_sizes() {
        let concat = |operands: &str, axis: i64| infer(Concat, operands, &[("axis", axis.into())]);
        assert_eq!(concat("float[b,3,h] float[b,n,8]", 1), "float[b,3 + n,8]");
        assert_eq!(concat("float[b,3,h] float[b,n]", 1), "float[?,?,?]");
        assert_eq!(concat("float[b,3] ?", 1), "float[b,?]");
        assert_eq!(concat("int64:[b] int64=[-1] int64:[n]", 0), "int64:[b,-1,n]");
        assert_eq!(concat("int64:[b] int64=[-1] int64[1]", 0), "int64:[b,-1,?]");
        assert_eq!(channels(Concat, "float[b,3] ?", -1), Channels::Joined { axis: 1 });
    }

    #[test]
    fn tiles_and_pads() {
        assert_eq!(infer(Tile, "float[b,3] int64:[2,r]", &[]), "float[2*b,3*r]");
        assert_eq!(infer(Tile, "float[b,3] int64=[2]", &[]), "float[?,?]");
        assert_eq!(infer(Tile, "int64:[b,3] int64=[2]", &[]), "int64:[b,3,b,3]");
        assert_eq!(infer(Pad, "float[b,3,8,8] int64:[0,0,1,1,0,0,-2,w]", &[]), "float[b,3,7,9 + w]");
        let spatial = channels(Pad, "float[b,3,8,8] int64=[0,0,1,1,0,0,1,1]", 0);
        assert_eq!(spatial, moved(&[Some(0), Some(1), None, None]));
        assert_eq!(infer(Pad, "float[b,3,8] int64=[1,2] - int64=[-1]", &[]), "float[b,3,11]");
        assert_eq!(infer(Pad, "float[3] int64=[-2,-2]", &[]), "float[?]");
    }

    #[test]
    fn transposes_permute() {
        let turn = |perm: Vec<i64>| infer(Transpose, "float[a,b,c]", &[("perm", perm.into())]);
        assert_eq!(infer(Transpose, "float[a,b,c]", &[]), "float[c,b,a]");
        assert_eq!(turn(vec![1, 2, 0]), "float[b,c,a]");
        assert_eq!(turn(vec![1, 1, 0]), "float[..]");
        assert_eq!(turn(vec![1, 0]), "float[..]");
        assert_eq!(channels(Transpose, "float[a,b,c]", 0), moved(&[Some(2), Some(1), Some(0)]));
    }

    #[test]
    fn centers_are_cropped_and_padded() {
        assert_eq!(infer(CenterCropPad, "float[b,3,h] int64=[8]", &[("axes", vec![-1].into())]), "float[b,3,8]");
    }
}
