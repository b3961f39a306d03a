//! `Attention` puts new keys and values behind those of a cache by itself: `Concat` of both along the length, where the
//! result is given on as the next cache, too, becomes its operands and results for that.
//!
//! Where nobody else reads what the two are joined to.

use crate::ir::OpKind::{Attention, Concat};
use crate::ir::{Graph, Int, User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies, call, var};
use crate::rules::support::parts;

pub fn rule() -> Rule {
    let (attention, keys, values, queries) = (call("attention"), call("keys"), call("values"), var("queries"));
    let pattern = Attention.any().on((queries, Concat.any().bind(keys), Concat.any().bind(values))).bind(attention);
    let name = "fold-cache-into-attention";
    Rule::new(name, Exactness::Rounding, pattern, move |m| -> Result<Replacement, Skip> {
        let (graph, attention) = (m.graph(), m.call(attention));
        // With a cache the causal mask starts elsewhere.
        let plain =
            ["is_causal", "q_num_heads", "kv_num_heads"].iter().all(|name| attention.node().attr(name).is_none());
        applies(plain && attention.operand_count() <= 4)?;
        let results = graph.results(attention.id());
        applies(results.iter().skip(1).flatten().all(|&v| graph.value(v).users().is_empty()))?;
        let [keys, values] = [m.call(keys), m.call(values)].map(|joins| Cache::of(graph, &joins, &attention));
        let (Some(keys), Some(values)) = (keys, values) else { return Err(Skip::NotThis) };
        // Both are as long together, so they are each.
        applies(keys.length == values.length)?;
        let mask: Expr = attention.operand(3).into();
        let operands =
            [m[queries].into(), keys.new.into(), values.new.into(), mask, keys.past.into(), values.past.into()];
        let mut results = Attention.emit(operands).like(attention).results(3).into_iter();
        let replaced = [graph.result(attention.id(), 0), Some(keys.present), Some(values.present)];
        Ok(Replacement::of_values(replaced.into_iter().flatten().filter_map(|value| Some((value, results.next()?)))))
    })
    .even_if_shared()
}

/// Keys or values of the past, new ones, and both.
struct Cache<'g> {
    past: ValueId,
    new: ValueId,
    present: ValueId,
    length: &'g Int,
}

impl<'g> Cache<'g> {
    fn of(graph: &'g Graph, joins: &CallView<'g>, attention: &CallView<'_>) -> Option<Cache<'g>> {
        let present = graph.result(joins.id(), 0)?;
        let [past, new] = parts::operands(joins)?[..] else { return None };
        let ([batch, heads, _, size], [b, h, length, s]) = (joins.dims(0)?, joins.dims(1)?) else { return None };
        let fits = parts::axis(joins)? == 2 && [batch, heads, size] == [b, h, s];
        let users = graph.value(present).users();
        let own = users.iter().all(|user| match *user {
            User::Node(node, _) => node == attention.id(),
            User::Output(..) => true,
        });
        // A past goes with a present that is read.
        let kept = users.iter().any(|user| matches!(user, User::Output(..)));
        let here = joins.node().scope() == attention.node().scope();
        (fits && own && kept && here).then_some(Cache { past, new, present, length })
    }
}
