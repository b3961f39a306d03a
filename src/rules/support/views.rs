//! Views: calls that give the same elements, in the same order, another shape.

use crate::ir::{Graph, Int, OpKind, Tensor, User, ValueId};
use crate::ops::CallView;
use crate::ops::target::target_of;
use crate::rules::support::axes::permutation;
use crate::rules::support::readers::MOST_READERS;

/// The operators that may be views: ask [`is_view`].
pub const VIEWS: &[OpKind] = &[OpKind::Flatten, OpKind::Reshape, OpKind::Squeeze, OpKind::Transpose, OpKind::Unsqueeze];

/// Whether a call of one of [`VIEWS`] is a view. A `Transpose` is one when it moves only axes of size 1.
pub fn is_view(call: &CallView<'_>) -> bool {
    match call.node().op {
        OpKind::Flatten | OpKind::Reshape | OpKind::Squeeze | OpKind::Unsqueeze => true,
        OpKind::Transpose => {
            let (Some(perm), Some(dims)) = (permutation(call), call.dims(0)) else { return false };
            perm.iter().filter(|&&axis| dims[axis].known() != Some(1)).is_sorted()
        }
        _ => false,
    }
}

/// The view that makes `value`, if one does.
pub fn view_of(graph: &Graph, value: ValueId) -> Option<CallView<'_>> {
    let (node, _) = graph.producer(value)?;
    Some(CallView::new(graph, node)).filter(is_view)
}

/// Whether nobody but views reads `value`.
pub fn only_viewed(graph: &Graph, value: ValueId) -> bool {
    let users = graph.value(value).users();
    users.len() <= MOST_READERS
        && users.iter().all(|user| match *user {
            User::Node(node, slot) => slot == 0 && is_view(&CallView::new(graph, node)),
            User::Output(..) => false,
        })
}

/// The second operand of a `Reshape` from `from` to `to`; `None` where more than one size depends on the run.
pub fn target(from: Option<&[Int]>, to: &[Int]) -> Option<Tensor> {
    target_of(from, to).map(|target| Tensor::vector(&target))
}
