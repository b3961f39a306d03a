//! `RotaryEmbedding` of the first part of the last axis, with the rest put behind it again, is `RotaryEmbedding` with
//! that `rotary_embedding_dim`.

use crate::ir::OpKind::{Concat, RotaryEmbedding, Split};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Rule, Skip, applies, call, var};
use crate::rules::support::parts;

pub fn rule() -> Rule {
    let (concat, rotary, rest) = (call("concat"), call("rotary"), var("rest"));
    let pattern = Concat.of((RotaryEmbedding.any().bind(rotary), rest)).bind(concat);
    Rule::new("fold-rest-into-rotary", Exactness::Rounding, pattern, move |m| {
        let (graph, concat, rotary) = (m.graph(), m.call(concat), m.call(rotary));
        let attrs = ["num_heads", "rotary_embedding_dim"];
        applies(attrs.iter().all(|name| rotary.node().attr(name).is_none()) && rotary.rank(0) == Some(4))?;
        let turned = rotary.operand(0).and_then(|v| graph.producer(v)).ok_or(Skip::NotThis)?;
        applies(turned.1 == 0 && graph.producer(m[rest]) == Some((turned.0, 1)))?;
        let split = CallView::new(graph, turned.0);
        applies(split.node().op == Split && graph.results(split.id()).len() == 2)?;
        applies(parts::axis(&split) == Some(3) && parts::axis(&concat) == Some(3))?;
        let size = rotary.dims(0).and_then(|d| d.get(3)?.known()).ok_or(Skip::NotThis)?;
        let tables = (1..rotary.operand_count()).map(|slot| rotary.operand(slot).into());
        let whole = RotaryEmbedding.emit(std::iter::once(split.operand(0).into()).chain(tables)).like(rotary);
        Ok(whole.with("rotary_embedding_dim", size))
    })
}
