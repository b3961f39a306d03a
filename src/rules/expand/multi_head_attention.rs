//! `MultiHeadAttention(q, k, v, bias, , mask)` of as many heads for queries as for keys, with neither packed operands
//! nor a cache nor a padding mask, is `Attention`. The bias holds what is added to queries, keys and values, one after
//! the other.

use super::{any, called, operand};
use crate::ir::OpKind::{Add, Attention, Slice};
use crate::ir::{Key, Tensor};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};

const HEADS: Key<i64> = Key::new("num_heads", 0);
const SCALE: Key<f32> = Key::new("scale", 0.0);

pub(super) fn rule() -> Rule {
    Rule::new("expand-multi-head-attention", Exactness::Rounding, any(), |m| {
        let call = called(m, "MultiHeadAttention")?;
        let heads = HEADS.of(call.node());
        let more = call.has(4) || (6..call.operand_count()).any(|slot| call.has(slot));
        let causal = Key::new("unidirectional", false).of(call.node());
        let apart = (0..3).all(|slot| call.rank(slot) == Some(3));
        applies(heads > 0 && !more && !causal && apart)?;
        let mut at = 0i64;
        let mut operands = Vec::new();
        for slot in 0..3 {
            let mut x = operand(&call, slot)?;
            if let Some(bias) = call.operand(3) {
                let width = call.dims(slot).and_then(|d| d.get(2)?.known()).ok_or(Skip::NotThis)?;
                let end = at.checked_add(width).ok_or(Skip::NotThis)?;
                let part = [Tensor::vector(&[at]), Tensor::vector(&[end]), Tensor::vector(&[0])].map(Expr::from);
                x = Add.emit([x, Slice.emit([bias.into()].into_iter().chain(part))]);
                at = end;
            }
            operands.push(x);
        }
        operands.push(call.operand(5).into());
        let attention = Attention.emit(operands).named_like(call).with("q_num_heads", heads);
        let attention = attention.with("kv_num_heads", heads);
        let scale = SCALE.of(call.node());
        Ok(if scale == 0.0 { attention } else { attention.with("scale", scale) })
    })
}
