//! `RotaryEmbedding` of heads that were parted from one axis and turned before the length works on that axis itself,
//! and heads are parted and turned behind it, where `Attention` needs neither.
//!
//! Its operand is a `Transpose` `[0, 2, 1, 3]` of batch, length, heads and size, or a part of one that is split along
//! the heads. Where only `Attention` reads the result.

use crate::ir::OpKind::{Attention, Reshape, RotaryEmbedding, Split, Transpose};
use crate::ir::{Attr, Graph, Tensor, User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, call};
use crate::rules::support::heads::{SWAPPED, joined_view};
use crate::rules::support::axes::spelled;
use crate::rules::support::parts;

pub fn rule() -> Rule {
    let rotary = call("rotary");
    let pattern = RotaryEmbedding.any().bind(rotary);
    Rule::new("fold-heads-into-rotary", Exactness::Rounding, pattern, move |m| {
        let (graph, rotary) = (m.graph(), m.call(rotary));
        let result = graph.result(rotary.id(), 0).ok_or(Skip::NotThis)?;
        let attention = |user: &User| matches!(user, User::Node(n, _) if graph.node(*n).op == Attention);
        applies(rotary.node().attr("num_heads").is_none() && graph.value(result).users().iter().all(attention))?;
        let x = joined(graph, rotary.operand(0).ok_or(Skip::NotThis)?).ok_or(Skip::NotThis)?;
        let Some([_, heads, _, size]) = rotary.dims(0) else { return Err(Skip::NotThis) };
        let (Some(heads), Some(size)) = (heads.known(), size.known()) else { return Err(Skip::NotThis) };
        let tables = (1..rotary.operand_count()).map(|slot| rotary.operand(slot).into());
        let turned = RotaryEmbedding.emit(std::iter::once(x).chain(tables)).like(rotary).with("num_heads", heads);
        let parted = Reshape.emit([turned, Tensor::vector(&[0, 0, heads, size]).into()]);
        Ok(Transpose.emit([parted]).with("perm", spelled(&SWAPPED)))
    })
}

/// What `value` is with its heads after one another.
fn joined(graph: &Graph, value: ValueId) -> Option<Expr> {
    let (node, slot) = graph.producer(value)?;
    let call = CallView::new(graph, node);
    if call.node().op != Split {
        return joined_view(&call).map(Expr::Value);
    }
    let (turned, at) = graph.producer(call.operand(0)?)?;
    let size = call.dims(0)?.last()?.known()?;
    let parts = graph.results(node).len();
    let width = |slot: usize| call.result_dims(slot)?.get(1)?.known()?.checked_mul(size);
    let widths: Vec<i64> = (0..parts).map(width).collect::<Option<_>>()?;
    let x = joined_view(&CallView::new(graph, turned)).filter(|_| at == 0 && parts::axis(&call) == Some(1))?;
    let split = Split.emit([x.into(), Tensor::vector(&widths).into()]).with("axis", Attr::Int(2));
    split.results(parts).into_iter().nth(slot)
}
