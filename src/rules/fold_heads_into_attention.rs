//! `Attention` of heads that were parted from one axis, and whose results are put back after one another, works on that
//! axis itself: it needs no `Transpose`.
//!
//! Its operands are `Transpose` `[0, 2, 1, 3]` of batch, length, heads and size. Declines where one of them is not.

use crate::ir::OpKind::{Attention, Reshape, Transpose};
use crate::ir::{Graph, Int, Key, NodeId, Tensor, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, call, require};
use crate::rules::support::axes::permutation;
use crate::rules::support::readers::{only_first_is_read, only_read_by};
use crate::rules::support::views::{target, view_of};

const HEADS: Key<i64> = Key::new("q_num_heads", 0);

pub fn rule() -> Rule {
    let attention = call("attention");
    let pattern = Transpose.any().on(Attention.any().bind(attention));
    Rule::new("fold-heads-into-attention", Exactness::Rounding, pattern, move |m| {
        let (graph, attention) = (m.graph(), m.call(attention));
        applies(permutation(&m.root()).is_some_and(|p| p == SWAPPED) && HEADS.of(attention.node()) == 0)?;
        // A cache keeps its heads apart.
        applies(!attention.has(4) && !attention.has(5) && only_first_is_read(m))?;
        let others = graph.results(attention.id()).iter().skip(1).flatten();
        applies(others.into_iter().all(|&v| graph.value(v).users().is_empty()))?;
        let heads = |slot: usize| attention.dims(slot).and_then(|d| d.get(1)?.known());
        let (Some(queries), Some(keys)) = (heads(0), heads(1)) else { return Err(Skip::NotThis) };
        let joined: Option<Vec<Expr>> = (0..3).map(|slot| joined(graph, attention.operand(slot)?, attention.id())).collect();
        require(joined.is_some(), "an operand's heads are not apart from its length")?;
        let operands = joined.into_iter().flatten().chain((3..attention.operand_count()).map(|s| attention.operand(s).into()));
        let fused = Attention.emit(operands).like(attention).with("q_num_heads", queries).with("kv_num_heads", keys);
        let restored = target(None, m.root_shape().dims().ok_or(Skip::NotThis)?);
        let restored = restored.or_else(|| copied(m.root_shape().dims()?)).ok_or(Skip::NotThis)?;
        Ok(Reshape.emit([fused, restored.into()]))
    })
}

const SWAPPED: [usize; 4] = [0, 2, 1, 3];

/// Batch and length as they are, heads and size as they are known.
fn copied(dims: &[Int]) -> Option<Tensor> {
    let [_, _, heads, size] = dims else { return None };
    Some(Tensor::vector(&[0, 0, heads.known()?, size.known()?]))
}

/// What `value` is with its heads after one another, when it is a `Transpose` of that.
fn joined(graph: &Graph, value: ValueId, attention: NodeId) -> Option<Expr> {
    let (node, _) = graph.producer(value)?;
    let call = CallView::new(graph, node);
    let parted = call.operand(0)?;
    if call.node().op != Transpose || permutation(&call)? != SWAPPED {
        return None;
    }
    let [batch, length, heads, size] = call.dims(0)? else { return None };
    let width = heads.checked_mul(size)?;
    let dims = [batch.clone(), length.clone(), width.clone()];
    if let Some(view) = view_of(graph, parted)
        && view.dims(0) == Some(&dims[..])
    {
        return Some(view.operand(0)?.into());
    }
    // A `Reshape` in the place of the `Transpose`, unless that has to stay.
    let gone = only_read_by(graph, value, attention);
    let target = Tensor::vector(&[0, 0, width.known()?]);
    gone.then(|| Reshape.emit([parted.into(), target.into()]))
}
