//! Parts that were stacked along an axis of their own, moved before the others by a `Transpose` and gathered there one by
//! one, are parts of the axis behind: `[b, s, 3, h, d] → [3, b, h, s, d] → 3 · [b, h, s, d]` is
//! `[b, s, 3·h, d] → [b, 3·h, s, d] → 3 · [b, h, s, d]`, and one `Split` parts them.
//!
//! So queries, keys and values of one product are parted. Declines where the stack is also read by others than these.

use crate::ir::OpKind::{Gather, Reshape, Split, Transpose};
use crate::ir::{Attr, Tensor, User, ValueId};
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Exactness, Replacement, Rule, Skip, any_of, applies, call};
use crate::rules::support::axes::{permutation, spelled};
use crate::rules::support::parts;
use crate::rules::support::readers::{MOST_READERS, only_read_by};
use crate::rules::support::views::{VIEWS, is_view, target};

pub fn rule() -> Rule {
    let (view, transpose, gather) = (call("view"), call("transpose"), call("gather"));
    let pattern = Gather.any().on(Transpose.any().on(any_of(VIEWS).bind(view)).bind(transpose)).bind(gather);
    let name = "merge-gathers-into-split";
    let rule = Rule::new(name, Exactness::Bitwise, pattern, move |m| -> Result<Replacement, Skip> {
        let (graph, view, transpose, gather) = (m.graph(), m.call(view), m.call(transpose), m.call(gather));
        applies(is_view(&view))?;
        let perm = permutation(&transpose).ok_or(Skip::NotThis)?;
        let along = parts::axis(&gather).ok_or(Skip::NotThis)?;
        let stack = *perm.get(along).ok_or(Skip::NotThis)?;
        let dims = transpose.dims(0).ok_or(Skip::NotThis)?;
        applies(perm.len() == dims.len() && stack + 1 < dims.len())?;
        let (count, heads) = (dims[stack].known().ok_or(Skip::NotThis)?, dims[stack + 1].known().ok_or(Skip::NotThis)?);
        let count = usize::try_from(count).ok().filter(|&n| n > 1 && n <= MOST_READERS).ok_or(Skip::NotThis)?;
        let stacked = gather.operand(0).ok_or(Skip::NotThis)?;
        let users = graph.value(stacked).users();
        applies(users.len() > 1 && users.len() <= MOST_READERS)?;
        let picked: Option<Vec<(ValueId, usize)>> =
            users.iter().map(|user| part(graph, *user, &gather, along, count)).collect();
        let viewed = transpose.operand(0).is_some_and(|v| only_read_by(graph, v, transpose.id()));
        let picked = picked.filter(|_| viewed).ok_or(Skip::InnerResultShared)?;
        // The stacked axis and the one behind it as one, in the order of the others.
        let mut joined = dims.to_vec();
        joined[stack + 1] = dims[stack].checked_mul(&dims[stack + 1]).ok_or(Skip::NotThis)?;
        joined.remove(stack);
        let perm: Vec<usize> =
            perm.into_iter().filter(|&axis| axis != stack).map(|axis| axis - usize::from(axis > stack)).collect();
        let place = perm.iter().position(|&axis| axis == stack).ok_or(Skip::NotThis)?;
        let shape = target(view.dims(0), &joined).ok_or(Skip::NotThis)?;
        let parted = Reshape.emit([view.operand(0).into(), shape.into()]).named_like(view);
        let turned = Transpose.emit([parted]).named_like(transpose).with("perm", spelled(&perm));
        let sizes = Tensor::vector(&vec![heads; count]);
        let place = i64::try_from(place).map_err(|_| Skip::NotThis)?;
        let parts = Split.emit([turned, sizes.into()]).with("axis", Attr::Int(place)).results(count);
        Ok(Replacement::of_values(picked.into_iter().map(|(value, index)| (value, parts[index].clone()))))
    });
    rule.even_if_shared()
}

/// What `user` picks from the stack, and where, when it picks one part as `like` does.
fn part(graph: &crate::ir::Graph, user: User, like: &CallView<'_>, axis: usize, count: usize) -> Option<(ValueId, usize)> {
    let User::Node(node, 0) = user else { return None };
    let call = CallView::new(graph, node);
    let alike = call.node().op == Gather && call.node().scope() == like.node().scope();
    let single = call.rank(1) == Some(0) && parts::axis(&call) == Some(axis);
    let index = call.known_ints(1).filter(|_| alike && single)?;
    Some((graph.result(node, 0)?, normalize_axis(*index.first()?, count)?))
}
