//! `Softmax` and `LogSoftmax` along any axis.

use crate::ir::{Graph, OpKind, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Expr, Match, Skip, applies};
use crate::rules::support::numbers::is_foldable_float;
use crate::rules::support::reductions::kept_axis;

/// What `value` is `x - max(x)` of along `axis`, which no softmax sees; else `value`.
pub fn unshifted(graph: &Graph, value: ValueId, axis: usize) -> ValueId {
    let made_by = |value: ValueId, op: OpKind| {
        let (node, slot) = graph.producer(value)?;
        (slot == 0 && graph.node(node).op == op).then(|| CallView::new(graph, node))
    };
    let shifted = || {
        let sub = made_by(value, OpKind::Sub)?;
        let max = made_by(sub.operand(1)?, OpKind::ReduceMax)?;
        let x = sub.operand(0)?;
        (max.operand(0) == Some(x) && kept_axis(&max) == Some(axis)).then_some(x)
    };
    shifted().unwrap_or(value)
}

/// `op`, one of the two, of `x` along `axis`.
///
/// # Errors
/// Before opset 13 it takes all axes from `axis` on together, so there may be none behind but those of size 1.
pub fn along(m: &Match<'_>, op: OpKind, x: ValueId, axis: usize) -> Result<Expr, Skip> {
    let ty = &m.graph().value(x).ty;
    applies(ty.dtype().is_some_and(is_foldable_float))?;
    let behind = ty.shape().dims().and_then(|dims| dims.get(axis + 1..)).ok_or(Skip::NotThis)?;
    if m.opset() < 13 && behind.iter().any(|d| d.known() != Some(1)) {
        return Err(Skip::NeedsOpset(13));
    }
    // The last axis is what the newest opset takes without being told.
    let axis = if behind.is_empty() { -1 } else { i64::try_from(axis).map_err(|_| Skip::NotThis)? };
    Ok(op.emit([x.into()]).with("axis", axis).named_like(m.root()))
}
