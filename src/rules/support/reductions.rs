//! Reductions: which operators they are and which axes they take together.

use crate::ir::{DType, Int, Key, OpKind, ValueId};
use crate::ops::slice::AXIS;
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Expr, Skip, applies};
use crate::rules::support::axes;
use crate::rules::support::numbers::is_foldable_float;

/// Reductions whose axes are an operand.
pub const REDUCTIONS: &[OpKind] = &[
    OpKind::ReduceL1,
    OpKind::ReduceL2,
    OpKind::ReduceLogSum,
    OpKind::ReduceLogSumExp,
    OpKind::ReduceMax,
    OpKind::ReduceMean,
    OpKind::ReduceMin,
    OpKind::ReduceProd,
    OpKind::ReduceSum,
    OpKind::ReduceSumSquare,
];

/// Whether a reduction keeps the axes that it takes together, with size 1.
pub const KEEPDIMS: Key<bool> = Key::new("keepdims", true);

const NOOP_WITH_EMPTY_AXES: Key<bool> = Key::new("noop_with_empty_axes", false);

/// The axes that a reduction, `ArgMax` or `ArgMin` takes together, sorted; `None` when they are not known.
pub fn reduced(call: &CallView<'_>) -> Option<Vec<usize>> {
    let rank = call.rank(0)?;
    if matches!(call.node().op, OpKind::ArgMax | OpKind::ArgMin) {
        return Some(vec![normalize_axis(AXIS.of(call.node()), rank)?]);
    }
    let axes = if call.has(1) { call.known_ints(1)? } else { Vec::new() };
    match axes.is_empty() {
        true if NOOP_WITH_EMPTY_AXES.of(call.node()) => Some(Vec::new()),
        true => Some((0..rank).collect()),
        false => axes::normalized(&axes, rank),
    }
}

/// The dimensions that the result would have if `keepdims` were what it is not.
pub fn dims_otherwise(call: &CallView<'_>) -> Option<Vec<Int>> {
    let reduced = reduced(call)?;
    let keeps = KEEPDIMS.of(call.node());
    let dims = call.dims(0)?.iter().enumerate();
    Some(match keeps {
        true => dims.filter(|(axis, _)| !reduced.contains(axis)).map(|(_, d)| d.clone()).collect(),
        false => dims.map(|(axis, d)| if reduced.contains(&axis) { Int::from(1) } else { d.clone() }).collect(),
    })
}

/// The reduction `op` of `x`, a float, over the axes that `like` takes together, kept as it keeps them.
///
/// # Errors
/// Where the axes are computed, which not every reduction takes in every opset, or are none.
pub fn retold(op: OpKind, x: ValueId, like: &CallView<'_>) -> Result<Expr, Skip> {
    let dtype: Option<DType> = like.graph().value(x).ty.dtype();
    applies(dtype.is_some_and(is_foldable_float))?;
    let axes = like.constant(1).map(|t| t.len());
    let computed = like.has(1) && axes.is_none();
    let none = axes.is_none_or(|n| n == 0) && NOOP_WITH_EMPTY_AXES.of(like.node());
    applies(!computed && !none)?;
    Ok(op.emit([x.into(), like.operand(1).into()]).like(*like))
}

/// The one axis that a reduction takes together and keeps; `None` where there are more, or it is not kept.
pub fn kept_axis(call: &CallView<'_>) -> Option<usize> {
    let axes = reduced(call).filter(|_| KEEPDIMS.of(call.node()))?;
    if let [axis] = axes[..] { Some(axis) } else { None }
}
