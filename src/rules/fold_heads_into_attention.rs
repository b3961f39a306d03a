//! `Attention` of heads that were parted from one axis, and whose results are put back after one another, works on that
//! axis itself: it needs no `Transpose`.
//!
//! Its operands are `Transpose` `[0, 2, 1, 3]` of batch, length, heads and size, or parts of one that is split along
//! the heads. Declines where one of them is not.

use crate::ir::OpKind::{Attention, Reshape, Split, Transpose};
use crate::ir::{Attr, Graph, Int, Key, NodeId, Tensor, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies, call, require};
use crate::rules::support::attention::SWAPPED;
use crate::rules::support::axes::permutation;
use crate::rules::support::parts;
use crate::rules::support::readers::only_read_by;
use crate::rules::support::views::{target, view_of};

const HEADS: Key<i64> = Key::new("q_num_heads", 0);

pub fn rule() -> Rule {
    let attention = call("attention");
    let pattern = Transpose.any().on(Attention.any().bind(attention));
    let name = "fold-heads-into-attention";
    Rule::new(name, Exactness::Rounding, pattern, move |m| -> Result<Replacement, Skip> {
        let (graph, attention) = (m.graph(), m.call(attention));
        applies(permutation(&m.root()).is_some_and(|p| p == SWAPPED) && HEADS.of(attention.node()) == 0)?;
        let turned = m.root().operand(0).ok_or(Skip::NotThis)?;
        if !only_read_by(graph, turned, m.root().id()) {
            return Err(Skip::InnerResultShared);
        }
        // Keys and values that are handed on to a cache keep their heads apart; others would not.
        let results = graph.results(attention.id());
        let read = |slot: usize| results.get(slot).copied().flatten().filter(|&v| !graph.value(v).users().is_empty());
        let cached = attention.has(4) && attention.has(5);
        applies(read(3).is_none() && (cached || read(1).is_none() && read(2).is_none()))?;
        let heads = |slot: usize| attention.dims(slot).and_then(|d| d.get(1)?.known());
        let (Some(queries), Some(keys)) = (heads(0), heads(1)) else { return Err(Skip::NotThis) };
        let joined: Option<Vec<Expr>> =
            (0..3).map(|slot| joined(graph, attention.operand(slot)?, attention.id())).collect();
        require(joined.is_some(), "an operand's heads are not apart from its length")?;
        let operands =
            joined.into_iter().flatten().chain((3..attention.operand_count()).map(|s| attention.operand(s).into()));
        let fused = Attention.emit(operands).like(attention).with("q_num_heads", queries).with("kv_num_heads", keys);
        let restored = target(None, m.root_shape().dims().ok_or(Skip::NotThis)?);
        let restored = restored.or_else(|| copied(m.root_shape().dims()?)).ok_or(Skip::NotThis)?;
        let mut made = fused.results(results.len().max(1)).into_iter();
        let joined = Reshape.emit([made.next().ok_or(Skip::NotThis)?, restored.into()]);
        let mut pairs = vec![(graph.result(m.root().id(), 0).ok_or(Skip::NotThis)?, joined)];
        pairs.extend((1..).zip(made).filter_map(|(slot, new)| Some((read(slot)?, new))));
        Ok(Replacement::of_values(pairs))
    })
    .even_if_shared()
}

/// Batch and length as they are, heads and size as they are known.
fn copied(dims: &[Int]) -> Option<Tensor> {
    let [_, _, heads, size] = dims else { return None };
    Some(Tensor::vector(&[0, 0, heads.known()?, size.known()?]))
}

/// What `value` is with its heads after one another, when it is a `Transpose` of that, or part of one.
fn joined(graph: &Graph, value: ValueId, attention: NodeId) -> Option<Expr> {
    let (node, slot) = graph.producer(value)?;
    let call = CallView::new(graph, node);
    let gone = |value: ValueId| only_read_by(graph, value, attention);
    if call.node().op == Split {
        // With a reader elsewhere it would have to stay.
        let parts = graph.results(node);
        let all = parts.iter().flatten().all(|&v| gone(v)) && parts::axis(&call)? == 1;
        let (turned, size) = (producer(graph, call.operand(0)?)?, call.dims(0)?.last()?.known()?);
        let heads = |slot: usize| call.result_dims(slot)?.get(1)?.known()?.checked_mul(size);
        let sizes: Vec<i64> = (0..parts.len()).map(heads).collect::<Option<_>>()?;
        let Joined::View(x) = before(&turned)? else { return None };
        let split = Split.emit([x.into(), Tensor::vector(&sizes).into()]).with("axis", Attr::Int(2));
        return split.results(parts.len()).into_iter().nth(slot).filter(|_| all);
    }
    match before(&call)? {
        Joined::View(x) => Some(x.into()),
        // A `Reshape` in the place of the `Transpose`, unless that has to stay.
        Joined::Apart(x, width) => gone(value).then(|| Reshape.emit([x.into(), Tensor::vector(&[0, 0, width]).into()])),
    }
}

fn producer(graph: &Graph, value: ValueId) -> Option<CallView<'_>> {
    let (node, slot) = graph.producer(value)?;
    (slot == 0).then(|| CallView::new(graph, node))
}

/// What is turned into heads before length.
enum Joined {
    /// A view of this value, which has the heads after one another.
    View(ValueId),
    /// This value, which has them on an axis of their own, so wide together.
    Apart(ValueId, i64),
}

fn before(transpose: &CallView<'_>) -> Option<Joined> {
    let parted = transpose.operand(0)?;
    if transpose.node().op != Transpose || permutation(transpose)? != SWAPPED {
        return None;
    }
    let [batch, length, heads, size] = transpose.dims(0)? else { return None };
    let width = heads.checked_mul(size)?;
    let view = view_of(transpose.graph(), parted);
    let dims = [batch.clone(), length.clone(), width.clone()];
    match view.filter(|view| view.dims(0) == Some(&dims[..])) {
        Some(view) => Some(Joined::View(view.operand(0)?)),
        None => Some(Joined::Apart(parted, width.known()?)),
    }
}
