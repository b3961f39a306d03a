//! `Attention` of heads that were parted from one axis, and whose results are put back after one another, works on that
//! axis itself: it needs no `Transpose`.
//!
//! Its operands are `Transpose` `[0, 2, 1, 3]` of batch, length, heads and size, or parts of one that is split along
//! the heads. Declines where one of them is not.

use crate::ir::OpKind::{Attention, Transpose};
use crate::ir::{Key, ValueId};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies, call, require};
use crate::rules::support::axes::permutation;
use crate::rules::support::heads::{SWAPPED, joined, parted};
use crate::rules::support::readers::only_read_by;

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
        let gone = |value: ValueId| only_read_by(graph, value, attention.id());
        let joined: Option<Vec<Expr>> = (0..3).map(|slot| joined(graph, attention.operand(slot)?, &gone)).collect();
        require(joined.is_some(), "an operand's heads are not apart from its length")?;
        let operands =
            joined.into_iter().flatten().chain((3..attention.operand_count()).map(|s| attention.operand(s).into()));
        let fused = Attention.emit(operands).like(attention).with("q_num_heads", queries).with("kv_num_heads", keys);
        let mut made = fused.results(results.len().max(1)).into_iter();
        let joined = parted(made.next().ok_or(Skip::NotThis)?, m.root_shape())?;
        let mut pairs = vec![(graph.result(m.root().id(), 0).ok_or(Skip::NotThis)?, joined)];
        pairs.extend((1..).zip(made).filter_map(|(slot, new)| Some((read(slot)?, new))));
        Ok(Replacement::of_values(pairs))
    })
    .even_if_shared()
}
