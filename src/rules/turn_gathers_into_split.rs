//! `Gather`s that take each index of an axis once are one `Split`, where nothing of its parts' axis is left to squeeze:
//! where all that they give is reshaped anyway, or the axis was stacked and moved by a `Transpose`
//! (`merge-split-into-heads` then parts the axis behind it).
//!
//! So queries, keys and values are taken apart by index.

use crate::ops::slice::AXIS;
use crate::ir::OpKind::{Gather, Split, Squeeze, Transpose};
use crate::ir::{Graph, Int, Tensor, User, ValueId};
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies};
use crate::rules::support::axes::permutation;
use crate::rules::support::parts;
use crate::rules::support::readers::MOST_READERS;
use crate::rules::support::views::{only_viewed, view_of};


pub fn rule() -> Rule {
    let name = "turn-gathers-into-split";
    Rule::new(name, Exactness::Bitwise, Gather.any(), |m| -> Result<Replacement, Skip> {
        let (graph, root) = (m.graph(), m.root());
        let (axis, _) = taken(&root).ok_or(Skip::NotThis)?;
        let x = root.operand(0).ok_or(Skip::NotThis)?;
        let size = root.dims(0).and_then(|d| usize::try_from(d.get(axis)?.known()?).ok()).ok_or(Skip::NotThis)?;
        applies((2..=MOST_PARTS).contains(&size) && graph.value(x).users().len() <= MOST_READERS)?;
        let mut found: Vec<Option<ValueId>> = vec![None; size];
        for user in graph.value(x).users() {
            let &User::Node(node, 0) = user else { continue };
            let near = CallView::new(graph, node);
            if near.node().op != Gather || near.node().scope() != root.node().scope() {
                continue;
            }
            let Some((_, index)) = taken(&near).filter(|t| t.0 == axis) else { continue };
            applies(found[index].is_none())?;
            found[index] = graph.result(node, 0);
        }
        let results: Vec<ValueId> = found.into_iter().collect::<Option<_>>().ok_or(Skip::NotThis)?;
        applies(results.iter().all(|&v| only_viewed(graph, v)) || is_stacked(&root, x, axis))?;
        let along = i64::try_from(axis).map_err(|_| Skip::NotThis)?;
        let sizes = Tensor::vector(&vec![1; size]);
        let split = Split.emit([x.into(), sizes.into()]).with("axis", along).named_like(root).results(size);
        let squeezed =
            |part: Expr| Squeeze.emit([part, Tensor::vector(&[along]).into()]);
        Ok(Replacement::of_values(results.into_iter().zip(split.into_iter().map(squeezed))))
    })
    .even_if_shared()
}

/// Axes are taken apart into at most this many.
const MOST_PARTS: usize = 16;

/// The axis and the one index that a `Gather` takes, where both are known and the axis is not kept.
fn taken(gather: &CallView<'_>) -> Option<(usize, usize)> {
    let axis = normalize_axis(AXIS.of(gather.node()), gather.rank(0)?)?;
    let index = gather.constant(1).filter(|t| t.rank() == 0)?.integer()?;
    let size = usize::try_from(gather.dims(0)?.get(axis)?.known()?).ok()?;
    Some((axis, normalize_axis(index, size)?))
}

/// Whether `x` is a `Transpose` that moves a stacked axis of known size, with one of known size behind it, to `axis`.
fn is_stacked(root: &CallView<'_>, x: ValueId, axis: usize) -> bool {
    let stacked = |graph: &Graph| {
        let transpose = parts::made_by(root, x, Transpose)?;
        let view = view_of(graph, transpose.operand(0)?)?;
        let stack = *permutation(&transpose)?.get(axis)?;
        let dims = view.result_dims(0)?;
        dims.get(stack + 1).and_then(Int::known).map(|_| ())
    };
    stacked(root.graph()).is_some()
}
