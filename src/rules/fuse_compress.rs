//! `Gather` of what `NonZero` finds in a vector of booleans is `Compress`: the elements along an axis where the condition
//! holds.
//!
//! What `NonZero` gives may be squeezed, reshaped or transposed to a vector on the way. Declines where the positions are
//! read by others than such gathers.

use crate::ops::slice::AXIS;
use crate::ir::OpKind::{Compress, Gather, NonZero};
use crate::ir::{DType, Graph, User, ValueId};
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Exactness, Rule, Skip, require};
use crate::rules::support::parts;
use crate::rules::support::readers::MOST_READERS;
use crate::rules::support::views::view_of;


/// How many views are followed.
const LONGEST: usize = 4;

pub fn rule() -> Rule {
    Rule::new("fuse-compress", Exactness::Bitwise, Gather.any(), |m| {
        let gather = m.root();
        let (condition, axis) = read(m.graph(), &gather).ok_or(Skip::NotThis)?;
        require(only_gathered(m.graph(), gather.operand(1).ok_or(Skip::NotThis)?), "the positions are also read by others than gathers")?;
        let axis = i64::try_from(axis).map_err(|_| Skip::NotThis)?;
        let x = gather.operand(0).into();
        Ok(Compress.emit([x, condition.into()]).with("axis", axis).named_like(gather))
    })
    .even_if_shared()
}

/// The condition and the axis of a `Gather` that takes what `NonZero` finds in it.
fn read(graph: &Graph, gather: &CallView<'_>) -> Option<(ValueId, usize)> {
    let mut at = gather.operand(1)?;
    // One axis, or the indices would keep the shape of what NonZero gives.
    if graph.value(at).ty.shape().rank()? != 1 {
        return None;
    }
    for _ in 0..LONGEST {
        match view_of(graph, at) {
            Some(view) => at = view.operand(0)?,
            None => break,
        }
    }
    let found = parts::made_by(gather, at, NonZero)?;
    let condition = found.operand(0)?;
    let axis = normalize_axis(AXIS.of(gather.node()), gather.rank(0)?)?;
    let vector = found.dtype(0)? == DType::Bool && found.rank(0)? == 1;
    // A longer one would be an error only where it finds something there.
    let same = found.dims(0)?.first()? == gather.dims(0)?.get(axis)?;
    (vector && same).then_some((condition, axis))
}

/// Whether whoever reads `positions`, through views or not, gathers at them.
fn only_gathered(graph: &Graph, positions: ValueId) -> bool {
    let readers = graph.value(positions).users();
    let gathers = |user: &User| match *user {
        User::Node(node, 1) => graph.node(node).op == Gather && read(graph, &CallView::new(graph, node)).is_some(),
        User::Node(..) | User::Output(..) => false,
    };
    readers.len() <= MOST_READERS && readers.iter().all(gathers)
}
