//! Two of `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze` in a row are one: two of a kind one of that kind, others a
//! `Reshape`. A `Transpose` that moves only axes of size 1 counts as one of them.
//!
//! The first may also be read elsewhere, as long as only by others of the kind. A target shape can copy sizes of the operand (0) and leave one to be inferred (−1): the rule declines where more
//! than that depends on the run.

use crate::ir::OpKind::{Reshape, Squeeze, Transpose, Unsqueeze};
use crate::ir::{Int, Tensor};
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};
use crate::rules::support::axes;
use crate::rules::support::views::{VIEWS, is_view, only_viewed, target};

pub fn rule() -> Rule {
    let (outer, inner) = (call("outer"), call("inner"));
    let pattern = any_of(VIEWS).on(any_of(VIEWS).bind(inner)).bind(outer);
    Rule::new("merge-views", Exactness::Bitwise, pattern, move |m| {
        let (outer, inner) = (m.call(outer), m.call(inner));
        applies(is_view(&inner) && is_view(&outer))?;
        // Two of these are the business of merge-transposes.
        applies(inner.node().op != Transpose || outer.node().op != Transpose)?;
        let x = inner.operand(0).ok_or(Skip::NotThis)?;
        if !outer.operand(0).is_some_and(|between| only_viewed(m.graph(), between)) {
            return Err(Skip::InnerResultShared);
        }
        let (first, second) = (inner.node().op, outer.node().op);
        let axes = match (first, second) {
            (Unsqueeze, Unsqueeze) => both_unsqueezed(&inner, &outer),
            (Squeeze, Squeeze) => both_squeezed(&inner, &outer),
            _ => None,
        };
        if let Some(axes) = axes {
            return Ok(second.emit([x.into(), axes.into()]).named_like(outer));
        }
        let (from, to) = (inner.dims(0), m.root_shape().dims().ok_or(Skip::NotThis)?);
        let why = "more than one size of the result depends on the run";
        let target = target(from, to).ok_or(Skip::Unsuitable(why))?;
        Ok(Reshape.emit([x.into(), target.into()]).named_like(outer))
    })
    .even_if_shared()
}

/// The axes of the result that either of two `Unsqueeze` inserts.
fn both_unsqueezed(inner: &CallView<'_>, outer: &CallView<'_>) -> Option<Tensor> {
    let (first, second) = (inner.known_ints(1)?, outer.known_ints(1)?);
    let rank = inner.rank(0)?.checked_add(first.len())?.checked_add(second.len())?;
    let added = axes::normalized(&second, rank)?;
    let kept: Vec<usize> = (0..rank).filter(|a| !added.contains(a)).collect();
    let mut all = added;
    for axis in first {
        all.push(*kept.get(normalize_axis(axis, kept.len())?)?);
    }
    all.sort_unstable();
    Some(axes::operand(&all))
}

/// The axes of the operand that either of two `Squeeze` removes.
fn both_squeezed(inner: &CallView<'_>, outer: &CallView<'_>) -> Option<Tensor> {
    let rank = inner.rank(0)?;
    let removed = squeezed(inner, rank)?;
    let kept: Vec<usize> = (0..rank).filter(|a| !removed.contains(a)).collect();
    let mut all = removed;
    for axis in squeezed(outer, kept.len())? {
        all.push(*kept.get(axis)?);
    }
    all.sort_unstable();
    Some(axes::operand(&all))
}

/// The axes that a `Squeeze` names. Without names it removes what the run finds to be 1.
fn squeezed(call: &CallView<'_>, rank: usize) -> Option<Vec<usize>> {
    match call.has(1) {
        true => axes::normalized(&call.known_ints(1)?, rank),
        false => {
            let dims: Option<Vec<i64>> = call.dims(0)?.iter().map(Int::known).collect();
            Some((0..rank).zip(dims?).filter(|(_, d)| *d == 1).map(|(axis, _)| axis).collect())
        }
    }
}
