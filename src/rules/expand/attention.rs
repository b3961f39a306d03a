//! `Attention(x, weight, bias, mask, , added)` of com.microsoft is ONNX's `Attention` of the parts of `x · weight +
//! bias`, which are queries, keys and values. A mask is one number for each key, or for each query and key, 0 where it
//! must not be seen; or the count of keys that may be seen, from the first on. What is added to the scores comes on top.
//!
//! Neither a cache nor rotary positions nor a mask of other sizes.

use super::{any, called, is_unread, number, operand};
use crate::ir::OpKind::{
    Add, Attention, Concat, Expand, Less, MatMul, Range, Shape, Split, Squeeze, Unsqueeze, Where,
};
use crate::ir::{Attr, DType, Key, Tensor};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::spelled_out::{cast, ints};

const HEADS: Key<i64> = Key::new("num_heads", 0);
const SCALE: Key<f32> = Key::new("scale", 0.0);
const CAUSAL: Key<bool> = Key::new("unidirectional", false);
const ROTARY: Key<bool> = Key::new("do_rotary", false);
const FILTER: Key<f32> = Key::new("mask_filter_value", -10_000.0);

pub(super) fn rule() -> Rule {
    Rule::new("expand-attention", Exactness::Rounding, any(), |m| {
        let call = called(m, "Attention")?;
        let heads = HEADS.of(call.node());
        applies(heads > 0 && !call.has(4) && !call.has(6) && !ROTARY.of(call.node()) && is_unread(&call, 1))?;
        let widths = widths(&call)?;
        let mut packed = MatMul.emit([operand(&call, 0)?, operand(&call, 1)?]);
        if let Some(bias) = call.operand(2) {
            packed = Add.emit([packed, bias.into()]);
        }
        let mut operands = Split.emit([packed, ints(&widths)]).with("axis", 2).results(3);
        operands.push(added(&call)?);
        let attention = Attention.emit(operands).named_like(call).with("q_num_heads", heads);
        let attention = attention.with("kv_num_heads", heads);
        let attention = if CAUSAL.of(call.node()) { attention.with("is_causal", 1) } else { attention };
        let scale = SCALE.of(call.node());
        Ok(if scale == 0.0 { attention } else { attention.with("scale", scale) })
    })
}

/// How wide queries, keys and values are.
fn widths(call: &CallView<'_>) -> Result<[i64; 3], Skip> {
    if let Some(Attr::Ints(sizes)) = call.node().attr("qkv_hidden_sizes") {
        return sizes[..].try_into().map_err(|_| Skip::NotThis);
    }
    let all = call.dims(1).and_then(|d| d.get(1)?.known()).ok_or(Skip::NotThis)?;
    applies(all % 3 == 0)?;
    Ok([all / 3; 3])
}

/// What is added to the scores.
fn added(call: &CallView<'_>) -> Result<Expr, Skip> {
    let more = call.operand(5);
    if !call.has(3) {
        return Ok(more.into());
    }
    let length = || Ok(Shape.emit([operand(call, 0)?]).with("start", 1).with("end", 2));
    let seen = match call.rank(3) {
        Some(1) => {
            // Other lengths than one for each of the batch mean other things.
            applies(call.dims(3).and_then(<[_]>::first) == call.dims(0).and_then(<[_]>::first))?;
            let scalar = || Ok::<Expr, Skip>(Squeeze.emit([length()?, ints(&[0])]));
            let of = |n: i64| Expr::from(Tensor::scalar(n));
            let keys = cast(Range.emit([of(0), scalar()?, of(1)]), DType::I32);
            Less.emit([keys, Unsqueeze.emit([operand(call, 3)?, ints(&[1, 2, 3])])])
        }
        Some(rank @ 2..=3) => {
            let axes: &[i64] = if rank == 2 { &[1, 2] } else { &[1] };
            Unsqueeze.emit([cast(operand(call, 3)?, DType::Bool), ints(axes)])
        }
        _ => return Err(Skip::NotThis),
    };
    let filtered = Where.emit([seen, number(call, 0, 0.0)?, number(call, 0, FILTER.of(call.node()).into())?]);
    // Sure to be as long as there are keys.
    let mask = Expand.emit([filtered, Concat.emit([ints(&[1, 1, 1]), length()?]).with("axis", 0)]);
    Ok(match more {
        Some(more) => Add.emit([mask, more.into()]),
        None => mask,
    })
}
