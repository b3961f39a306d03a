//! `Concat` and `Split` as parts that stand one after another along an axis.

use crate::ir::{Int, OpKind, ValueId};
use crate::ops::slice::AXIS;
use crate::ops::{CallView, normalize_axis};

/// The axis of a `Concat` or `Split`, from the front; `None` where it counts from the back of an unknown rank.
pub fn axis(call: &CallView<'_>) -> Option<usize> {
    let axis = AXIS.of(call.node());
    match call.rank(0) {
        Some(rank) => normalize_axis(axis, rank),
        None => usize::try_from(axis).ok(),
    }
}

/// Whether two calls name the same axis of values of one rank.
pub fn same_axis(a: &CallView<'_>, b: &CallView<'_>) -> bool {
    AXIS.of(a.node()) == AXIS.of(b.node()) || axis(a).is_some_and(|x| axis(b) == Some(x))
}

/// The operands of a `Concat`.
pub fn operands(concat: &CallView<'_>) -> Option<Vec<ValueId>> {
    (0..concat.operand_count()).map(|slot| concat.operand(slot)).collect()
}

/// The size of `value` along `axis`.
pub fn size<'g>(call: &CallView<'g>, value: ValueId, axis: usize) -> Option<&'g Int> {
    call.graph().value(value).ty.shape().dims()?.get(axis)
}

/// The operator `op` that makes `value` as its first result.
pub fn made_by<'g>(near: &CallView<'g>, value: ValueId, op: OpKind) -> Option<CallView<'g>> {
    let (node, slot) = near.graph().producer(value)?;
    (slot == 0 && near.graph().node(node).op == op).then(|| CallView::new(near.graph(), node))
}
