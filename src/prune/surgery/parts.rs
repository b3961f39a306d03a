//! Calls that pick from an axis: by sizes, by bounds, by indices.

use super::edit::{Edit, integers};
use super::shape::changed;
use crate::ir::{DType, Tensor};
use crate::ops::slice::{self, AXIS, cuts, part_sizes};
use crate::ops::{End, Port, normalize_axis};
use crate::prune::Refused;
use crate::prune::call::Call;

/// A `Split` of an axis that loses something says how long each part is.
pub(super) fn split(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    let axis = normalize_axis(AXIS.of(call.view.node()), call.rank(Port::Operand(0)));
    let Some(kept) = axis.and_then(|axis| call.kept(End::operand(0, axis))) else { return Ok(Vec::new()) };
    let sizes: Option<Vec<usize>> =
        part_sizes(&call.view).and_then(|sizes| sizes.iter().map(|size| usize::try_from(size.known()?).ok()).collect());
    let Some(sizes) = sizes else {
        return Err(call.refuse("how long its parts are is not known", "protect its input from pruning"));
    };
    let mut start = 0;
    let mut left = Vec::new();
    for size in sizes {
        let end = start + size;
        let count = kept.iter().filter(|&&index| (start..end).contains(&index)).count();
        left.push(i64::try_from(count).unwrap_or(i64::MAX));
        start = end;
    }
    let id = call.view.id();
    let mut edits = vec![Edit::Operand(id, 1, Tensor::vector(&left))];
    if call.view.node().attr(slice::NUM_OUTPUTS.name).is_some() {
        edits.push(Edit::Unset(id, slice::NUM_OUTPUTS.name));
    }
    Ok(edits)
}

/// A `Slice` has the bounds of what it picks from what is left, where that is evenly spaced; else it is a `Gather`.
pub(super) fn slice(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    let Some(cuts) = cuts(&call.view) else {
        return Err(call.refuse("which axes it cuts is not known", "protect its input from pruning"));
    };
    let id = call.view.id();
    let mut bounds: [Vec<(usize, i64)>; 3] = Default::default();
    let mut edits = Vec::new();
    for (at, cut) in cuts.iter().enumerate() {
        let (from, to) = (End::operand(0, cut.axis), End::result(0, cut.axis));
        let Some(kept) = call.kept(from) else { continue };
        let places = picked(call, to).and_then(|indices| places(kept, &indices));
        let Some(places) = places else {
            return Err(call.refuse("what it picks is not known", "protect its input from pruning"));
        };
        if let Some((start, end, step)) = evenly_spaced(&places, kept.len()) {
            // A single element is picked by any step forwards.
            let step = if places.len() == 1 && cut.step > 0 { cut.step } else { step };
            bounds[0].push((at, start));
            bounds[1].push((at, end));
            if step != cut.step {
                bounds[2].push((at, step));
            }
            continue;
        }
        let indices = Tensor::vector(&places);
        if cuts.len() == 1 {
            return Ok(vec![Edit::IntoGather(id, cut.axis, indices)]);
        }
        edits.push(Edit::GatherBefore(id, cut.axis, indices));
        let all = i64::try_from(places.len()).unwrap_or(i64::MAX);
        bounds[0].push((at, 0));
        bounds[1].push((at, all));
        bounds[2].push((at, 1));
    }
    for (slot, new) in [1, 2, 4].into_iter().zip(bounds) {
        edits.extend(changed(call, slot, new)?);
    }
    Ok(edits)
}

/// The operand's indices that the result has at what is left of `to`.
fn picked(call: &Call<'_>, to: End) -> Option<Vec<usize>> {
    let tie = call.ties().into_iter().find_map(|tie| match tie {
        crate::ops::Tie::Picked { to: end, indices, .. } if end == to => Some(indices),
        _ => None,
    })?;
    match call.kept(to) {
        Some(kept) => kept.iter().map(|&at| tie.get(at).copied()).collect(),
        None => Some(tie),
    }
}

/// Where each of `indices` stands in `kept`.
fn places(kept: &[usize], indices: &[usize]) -> Option<Vec<i64>> {
    indices.iter().map(|index| i64::try_from(kept.binary_search(index).ok()?).ok()).collect()
}

/// Start, end and step of a `Slice` of an axis of this size that picks `places`.
fn evenly_spaced(places: &[i64], size: usize) -> Option<(i64, i64, i64)> {
    let (&first, &last) = (places.first()?, places.last()?);
    let step = places.get(1).map_or(1, |second| second - first);
    if step == 0 || places.windows(2).any(|pair| pair[1] - pair[0] != step) {
        return None;
    }
    // Before the first element there is no index: −1 is the last.
    let end = if step > 0 { last + 1 } else { last - 1 };
    let end = if end < 0 { -1 - i64::try_from(size).ok()? } else { end };
    Some((first, end, step))
}

/// A `Gather` along an axis that loses something picks the same from what is left.
pub(super) fn gather(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    let axis = normalize_axis(AXIS.of(call.view.node()), call.rank(Port::Operand(0)));
    let Some((axis, kept)) = axis.and_then(|axis| Some((axis, call.kept(End::operand(0, axis))?))) else {
        return Ok(Vec::new());
    };
    let indices = picked(call, End::result(0, axis)).and_then(|indices| places(kept, &indices));
    let dtype = call.view.dtype(1).unwrap_or(DType::I64);
    match indices.and_then(|indices| integers(dtype, &indices)) {
        Some(indices) => Ok(vec![Edit::Operand(call.view.id(), 1, indices)]),
        None => Err(call.refuse("what it picks is not known", "protect its input from pruning")),
    }
}
