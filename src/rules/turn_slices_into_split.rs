//! Slices that together take all of an axis, each element once, are one `Split`.
//!
//! Along an axis of known size, with constant bounds and steps of 1. A `Gather` of indices that follow each other is
//! such a slice.

use crate::ops::slice::AXIS;
use crate::ir::OpKind::{Gather, Slice, Split};
use crate::ir::{Attr, Tensor, User};
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call};
use crate::rules::support::parts;
use crate::rules::support::readers::MOST_READERS;
use crate::rules::support::slices::cuts;

pub fn rule() -> Rule {
    let slice = call("slice");
    Rule::new("turn-slices-into-split", Exactness::Bitwise, any_of(&[Slice, Gather]).bind(slice), move |m| {
        let (graph, slice) = (m.graph(), m.call(slice));
        let x = slice.operand(0).ok_or(Skip::NotThis)?;
        let (axis, start, end) = part(&slice).ok_or(Skip::NotThis)?;
        applies(start < end)?;
        applies(graph.value(x).users().len() <= MOST_READERS)?;
        let mut taken = Vec::new();
        for user in graph.value(x).users() {
            let &User::Node(node, 0) = user else { continue };
            let near = CallView::new(graph, node);
            if near.node().scope() != slice.node().scope() {
                continue;
            }
            // A sibling was here before: it left a Split that has this part, too.
            if let Some(slot) = slot_of(&near, axis, start, end) {
                return graph.result(node, slot).map(Expr::Value).ok_or(Skip::NotThis);
            }
            taken.extend(part(&near).filter(|p| p.0 == axis && p.1 < p.2).map(|p| (p.1, p.2)));
        }
        taken.sort_unstable();
        taken.dedup();
        let size = slice.dims(0).and_then(|d| d.get(axis)?.known()).ok_or(Skip::NotThis)?;
        let adjacent = taken.windows(2).all(|w| w[0].1 == w[1].0);
        let whole = taken.first().is_some_and(|p| p.0 == 0) && taken.last().is_some_and(|p| p.1 == size);
        applies(taken.len() > 1 && adjacent && whole)?;
        let place = taken.iter().position(|&p| p == (start, end)).ok_or(Skip::NotThis)?;
        let sizes: Vec<i64> = taken.iter().map(|p| p.1 - p.0).collect();
        let axis = i64::try_from(axis).map_err(|_| Skip::NotThis)?;
        let parts = Split.emit([x.into(), Tensor::vector(&sizes).into()]).with("axis", Attr::Int(axis));
        parts.results(taken.len()).into_iter().nth(place).ok_or(Skip::NotThis)
    })
}

/// The axis that a `Slice` or `Gather` takes a part of, and from where to where, when it is one axis of known size.
fn part(slice: &CallView<'_>) -> Option<(usize, i64, i64)> {
    let cuts = match slice.node().op {
        Slice => cuts(slice)?,
        Gather => return chosen(slice),
        _ => return None,
    };
    let &[cut] = &cuts[..] else { return None };
    let axis = usize::try_from(cut.axis).ok()?;
    let size = slice.dims(0)?.get(axis)?.known()?;
    let (start, count) = cut.within(size);
    (cut.step == 1).then_some((axis, start, start + count))
}

/// The axis of a `Gather`, and from where to where it takes indices that follow each other.
fn chosen(gather: &CallView<'_>) -> Option<(usize, i64, i64)> {
    let axis = normalize_axis(AXIS.of(gather.node()), gather.rank(0)?)?;
    let size = gather.dims(0)?.get(axis)?.known()?;
    let indices = gather.constant(1).filter(|t| t.rank() == 1 && t.len() <= MOST_INDICES)?.integers()?;
    let first = indices.first().map(|&i| if i < 0 { i.saturating_add(size) } else { i })?;
    let place = |i: i64| if i < 0 { i.saturating_add(size) } else { i };
    let end = first.checked_add(i64::try_from(indices.len()).ok()?)?;
    let in_a_row = (first..end).eq(indices.iter().map(|&i| place(i)));
    (in_a_row && first >= 0 && end <= size).then_some((axis, first, end))
}

/// How many indices of a `Gather` are looked at.
const MOST_INDICES: usize = 1 << 16;

/// The result of a `Split` that has the elements from `start` to `end` along `axis`.
fn slot_of(split: &CallView<'_>, axis: usize, start: i64, end: i64) -> Option<usize> {
    if split.node().op != Split || parts::axis(split)? != axis {
        return None;
    }
    let mut at = 0i64;
    for slot in 0..split.graph().results(split.id()).len() {
        let size = split.result_dims(slot)?.get(axis)?.known()?;
        let next = at.checked_add(size)?;
        if (at, next) == (start, end) {
            return Some(slot);
        }
        at = next;
    }
    None
}
