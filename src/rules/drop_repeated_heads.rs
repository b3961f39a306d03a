//! `Attention` shares each head of keys and values among as many heads of queries as there are for it: keys and values
//! whose heads were each repeated that often go in as they were.
//!
//! Repeated by a `Gather` of each head so many times, or by `Unsqueeze`, `Expand` and `Reshape`. Declines where only
//! one of the two is repeated.

use crate::ops::slice::AXIS;
use crate::ir::OpKind::{Attention, Expand, Gather};
use crate::ir::{Graph, Int, Key, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, call};
use crate::rules::support::views::view_of;

const HEADS: Key<i64> = Key::new("q_num_heads", 0);

pub fn rule() -> Rule {
    let attention = call("attention");
    Rule::new("drop-repeated-heads", Exactness::Rounding, Attention.any().bind(attention), move |m| {
        let call = m.call(attention);
        // With a cache the heads are those of the cache, too.
        applies(HEADS.of(call.node()) == 0 && !call.has(4) && !call.has(5))?;
        let once = |slot: usize| once(m.graph(), call.operand(slot)?);
        let (Some(keys), Some(values)) = (once(1), once(2)) else { return Err(Skip::NotThis) };
        let heads = |v: ValueId| m.graph().value(v).ty.shape().dims().and_then(|d| d.get(1)?.known());
        applies(heads(keys).is_some() && heads(keys) == heads(values))?;
        let others = m.graph().results(call.id()).iter().skip(1).flatten();
        applies(others.into_iter().all(|&v| m.graph().value(v).users().is_empty()))?;
        let replaced = |slot: usize| -> Expr {
            match slot {
                1 => keys.into(),
                2 => values.into(),
                _ => call.operand(slot).into(),
            }
        };
        Ok(Attention.emit((0..call.operand_count()).map(replaced)).like(call))
    })
    .even_if_shared()
}

/// The value of which `value` repeats each of axis 1, more than once.
fn once(graph: &Graph, value: ValueId) -> Option<ValueId> {
    let (node, _) = graph.producer(value)?;
    if graph.node(node).op == Gather {
        return gathered(&CallView::new(graph, node));
    }
    let joins = view_of(graph, value)?;
    let (node, _) = graph.producer(joins.operand(0)?)?;
    let expand = CallView::new(graph, node);
    let parts = view_of(graph, expand.operand(0)?).filter(|_| expand.node().op == Expand)?;
    let ([batch, heads, length, size], apart) = (parts.dims(0)?, expand.dims(0)?) else { return None };
    let one = Int::from(1);
    let [_, _, times, _, _] = expand.result_dims(0)? else { return None };
    let before = [batch, heads, &one, length, size];
    let after = [batch, heads, times, length, size];
    let joined = [batch.clone(), heads.checked_mul(times)?, length.clone(), size.clone()];
    let fits = apart.iter().eq(before) && expand.result_dims(0)?.iter().eq(after);
    let repeats = times.known().is_some_and(|n| n > 1) && heads.known().is_some();
    let all = fits && repeats && graph.value(value).ty.shape().dims() == Some(&joined[..]);
    all.then(|| parts.operand(0)).flatten()
}

/// The value of which a `Gather` picks each of axis 1 as often as the others, one after another, more than once.
fn gathered(gather: &CallView<'_>) -> Option<ValueId> {
    let (heads, rank) = (gather.dims(0)?.get(1)?.known()?, gather.rank(0)?);
    let picked = gather.known_ints(1).filter(|_| gather.rank(1) == Some(1))?;
    let times = i64::try_from(picked.len()).ok()?.checked_div(heads).filter(|&times| times > 1)?;
    let each = picked.iter().zip(0..).all(|(&head, i)| head == i / times) && picked.len() as i64 == heads * times;
    (rank == 4 && AXIS.of(gather.node()) == 1 && each).then(|| gather.operand(0)).flatten()
}
