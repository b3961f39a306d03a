//! Parts of one value's last axis that are each parted into heads of one size and turned are parted and turned
//! together, and then split along the heads: `[b, s, 3·h·d] → 3 · [b, s, h·d] → 3 · [b, s, h, d] → 3 · [b, h, s, d]`
//! is `[b, s, 3·h·d] → [b, s, 3·h, d] → [b, 3·h, s, d] → 3 · [b, h, s, d]`.
//!
//! So queries, keys and values of one product are parted. A part that is turned another way is turned again behind the
//! split. Declines where a part is read by others than the reshape and transposes.

use crate::ir::OpKind::{Reshape, Split, Transpose};
use crate::ir::{Attr, Int, NodeId, Tensor, User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies, call};
use crate::rules::support::axes::{composed, permutation, spelled};
use crate::rules::support::parts;
use crate::rules::support::readers::MOST_READERS;
use crate::rules::support::views::{target, view_of};

pub fn rule() -> Rule {
    let split = call("split");
    let name = "merge-heads-of-parts";
    Rule::new(name, Exactness::Bitwise, Split.any().bind(split), move |m| -> Result<Replacement, Skip> {
        let (graph, split) = (m.graph(), m.call(split));
        let dims = split.dims(0).ok_or(Skip::NotThis)?;
        let last = dims.len().checked_sub(1).ok_or(Skip::NotThis)?;
        applies(parts::axis(&split) == Some(last))?;
        let values: Vec<ValueId> =
            graph.results(split.id()).iter().copied().collect::<Option<_>>().ok_or(Skip::NotThis)?;
        let found: Vec<Part> = values.iter().map(|&v| Part::of(&split, v)).collect::<Result<_, _>>()?;
        applies(found.len() > 1 && found.iter().all(|p| p.size == found[0].size))?;
        // The most common order is everybody's; where it moves heads tells where they are split.
        let common = |perm: &Vec<usize>| found.iter().filter(|p| p.perm == *perm).count();
        let perm = found.iter().map(|p| &p.perm).max_by_key(|perm| common(perm)).ok_or(Skip::NotThis)?;
        let place = perm.iter().position(|&axis| axis == last).ok_or(Skip::NotThis)?;
        let heads: Vec<i64> = found.iter().map(|p| p.heads).collect();
        let all = heads.iter().try_fold(0i64, |sum, h| sum.checked_add(*h)).ok_or(Skip::NotThis)?;
        let apart: Vec<Int> = dims[..last].iter().cloned().chain([all.into(), found[0].size.into()]).collect();
        let shape = target(Some(dims), &apart).ok_or(Skip::NotThis)?;
        let parted = Reshape.emit([split.operand(0).into(), shape.into()]);
        let turned = Transpose.emit([parted]).with("perm", spelled(perm));
        let axis = i64::try_from(place).map_err(|_| Skip::NotThis)?;
        let again = Split.emit([turned, Tensor::vector(&heads).into()]).named_like(split).with("axis", Attr::Int(axis));
        let mut pairs: Vec<(ValueId, Expr)> = Vec::new();
        for (part, new) in found.iter().zip(again.results(found.len())) {
            let new = if part.perm == *perm {
                new
            } else {
                let mut back = vec![0; perm.len()];
                perm.iter().enumerate().for_each(|(to, &from)| back[from] = to);
                let rest = composed(&back, &part.perm).ok_or(Skip::NotThis)?;
                let like = CallView::new(graph, part.turned[0].0);
                Transpose.emit([new]).named_like(like).with("perm", spelled(&rest))
            };
            pairs.extend(part.turned.iter().map(|&(_, result)| (result, new.clone())));
        }
        Ok(Replacement::of_values(pairs))
    })
    .even_if_shared()
}

/// A part of the last axis, its heads apart and in another order.
struct Part {
    heads: i64,
    size: i64,
    perm: Vec<usize>,
    /// Transposes alike, and their results.
    turned: Vec<(NodeId, ValueId)>,
}

impl Part {
    fn of(split: &CallView<'_>, value: ValueId) -> Result<Part, Skip> {
        let graph = split.graph();
        let here = |node: NodeId| graph.node(node).scope() == split.node().scope();
        let users = graph.value(value).users();
        let view = users.iter().find_map(|user| match *user {
            User::Node(node, 0) if here(node) => view_of(graph, graph.result(node, 0)?),
            _ => None,
        });
        let view = view.filter(|view| view.node().op != Transpose).ok_or(Skip::NotThis)?;
        let (dims, apart) = (view.dims(0).ok_or(Skip::NotThis)?, view.result_dims(0).ok_or(Skip::NotThis)?);
        let lead = dims.len() - 1;
        applies(apart.len() == dims.len() + 1 && apart[..lead] == dims[..lead])?;
        let (Some(heads), Some(size)) = (apart[lead].known(), apart[lead + 1].known()) else {
            return Err(Skip::NotThis);
        };
        let parted = graph.result(view.id(), 0).ok_or(Skip::NotThis)?;
        let mut turned = Vec::new();
        let mut perms = Vec::new();
        let mut others = users.len() > 1;
        applies(graph.value(parted).users().len() <= MOST_READERS)?;
        for user in graph.value(parted).users() {
            match *user {
                User::Node(node, 0) if here(node) && graph.node(node).op == Transpose => {
                    let transpose = CallView::new(graph, node);
                    perms.push(permutation(&transpose).ok_or(Skip::NotThis)?);
                    turned.push((node, graph.result(node, 0).ok_or(Skip::NotThis)?));
                }
                _ => others = true,
            }
        }
        let perm = perms.first().cloned().ok_or(Skip::NotThis)?;
        // The place where the heads go is to be the same for all.
        applies(perms.iter().all(|p| *p == perm) && heads > 0 && size > 0)?;
        if others {
            return Err(Skip::Unsuitable("a part is also read by others than a reshape and transposes"));
        }
        Ok(Part { heads, size, perm, turned })
    }
}
