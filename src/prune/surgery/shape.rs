//! Operands that are shapes: of `Reshape`, `Expand`, `ConstantOfShape`, and of `Resize` by sizes.
//!
//! Only what is wrong after the cut changes: a 0 that copies, a −1 that is what the others leave, and sizes that a run
//! computes for other axes stay.

use super::edit::{Edit, integers};
use crate::ir::{Attr, Tensor};
use crate::ops::shape::{ALLOWZERO, squeezed_axes};
use crate::ops::{End, Port, normalize_axis};
use crate::prune::Refused;
use crate::prune::call::Call;

pub(super) fn reshape(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    let copies = |axis: usize| {
        let from = (axis < call.rank(Port::Operand(0))).then(|| call.size_after(End::operand(0, axis))).flatten();
        from.is_some() && from == call.size_after(End::result(0, axis))
    };
    let allow_zero = ALLOWZERO.of(call.view.node());
    // An axis that is copied from one that is cut and is not cut itself has to be spelled out too.
    let axes = 0..call.rank(Port::Result(0));
    target(call, 1, axes.map(Some), |axis, old| match old {
        Some(-1) => Keep::Right,
        Some(0) if !allow_zero => {
            let is_cut =
                [Port::Operand(0), Port::Result(0)].iter().any(|&port| call.kept(End { port, axis }).is_some());
            if !is_cut || copies(axis) { Keep::Right } else { Keep::Wrong }
        }
        _ => Keep::IfWhole,
    })
}

pub(super) fn expand(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    let Some(length) = length(call, 1) else { return Ok(Vec::new()) };
    let rank = call.rank(Port::Result(0));
    // The shape is aligned with the result from the last axis on, and a 1 leaves what is there.
    let axes = (0..length).map(|at| (rank + at).checked_sub(length));
    target(call, 1, axes, |_, old| if old == Some(1) { Keep::Right } else { Keep::IfWhole })
}

pub(super) fn constant_of_shape(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    target(call, 0, (0..call.rank(Port::Result(0))).map(Some), |_, _| Keep::IfWhole)
}

pub(super) fn resize(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    if !call.view.has(3) {
        return Ok(Vec::new());
    }
    let rank = call.rank(Port::Result(0));
    let axes: Vec<Option<usize>> = match call.view.node().attr("axes") {
        Some(Attr::Ints(axes)) => axes.iter().map(|&axis| normalize_axis(axis, rank)).collect(),
        _ => (0..rank).map(Some).collect(),
    };
    target(call, 3, axes.into_iter(), |_, _| Keep::IfWhole)
}

/// A `Squeeze` without axes takes every axis of size 1 away, also those that become so: it gets those of before.
pub(super) fn squeeze(call: &Call<'_>) -> Vec<Edit> {
    let rank = call.rank(Port::Operand(0));
    let becomes_one = |axis: usize| call.kept(End::operand(0, axis)).is_some_and(|kept| kept.len() == 1);
    if call.view.has(1) || !(0..rank).any(becomes_one) {
        return Vec::new();
    }
    let axes = squeezed_axes(&call.view).unwrap_or_default();
    let axes: Vec<i64> = axes.into_iter().filter_map(|axis| i64::try_from(axis).ok()).collect();
    vec![Edit::Operand(call.view.id(), 1, Tensor::vector(&axes))]
}

/// Whether an element of a shape is right after the cut.
enum Keep {
    Right,
    Wrong,
    /// It is when its axis loses nothing.
    IfWhole,
}

/// The length of operand `slot`, a vector.
fn length(call: &Call<'_>, slot: usize) -> Option<usize> {
    call.size(End::operand(slot, 0))
}

/// The sizes that operand `slot` gives, one for each of `axes` of the result.
fn target(
    call: &Call<'_>,
    slot: usize,
    axes: impl Iterator<Item = Option<usize>>,
    keep: impl Fn(usize, Option<i64>) -> Keep,
) -> Result<Vec<Edit>, Refused> {
    let old = call.view.elements(slot);
    let mut new = Vec::new();
    for (at, axis) in axes.enumerate() {
        let Some(axis) = axis else { continue };
        let end = End::result(0, axis);
        let is_wrong = match keep(axis, old.as_ref().and_then(|old| old.get(at)?.known())) {
            Keep::Right => false,
            Keep::Wrong => true,
            Keep::IfWhole => call.kept(end).is_some(),
        };
        if is_wrong {
            let size = call.size_after(end).and_then(|size| i64::try_from(size).ok());
            let why = || format!("the size of axis {axis} of its result is not known");
            new.push((at, size.ok_or_else(|| call.refuse(why(), "fix the sizes of the model's inputs"))?));
        }
    }
    changed(call, slot, new)
}

/// Operand `slot`, a vector, with some other elements.
pub(super) fn changed(call: &Call<'_>, slot: usize, new: Vec<(usize, i64)>) -> Result<Vec<Edit>, Refused> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let id = call.view.id();
    if call.view.constant(slot).is_none() {
        return match length(call, slot) {
            Some(_) => Ok(vec![Edit::Elements(id, slot, new)]),
            None => Err(call.refuse(format!("the length of operand {slot} is not known"), "protect its input")),
        };
    }
    let tensor = call.view.constant(slot).and_then(|old| {
        let mut elements = old.integers()?;
        for (at, element) in new {
            *elements.get_mut(at)? = element;
        }
        integers(old.dtype(), &elements)
    });
    match tensor {
        Some(tensor) => Ok(vec![Edit::Operand(id, slot, tensor)]),
        None => Err(call.refuse(format!("operand {slot} does not say its sizes"), "protect its input from pruning")),
    }
}
