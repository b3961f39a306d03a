//! `Softmax(scale·Q·Kᵀ + mask)·V` of heads that were parted from one axis, and whose results are put back after one
//! another, is `MultiHeadAttention` before opset 23, for targets that have that. From there on it is `Attention`.
//!
//! Of single precision, as there is a kernel for no other. Declines where batch, heads and lengths are not known to fit
//! without broadcasting, where the heads are not parted from one axis, where the mask is not one of an element for each
//! query and key, with axes for batch and heads, where the scale is not positive, and where scores or probabilities are
//! also read elsewhere.

use crate::ir::OpKind::{MatMul, Softmax, Transpose};
use crate::ir::{DType, Graph, Int, Key, ValueId};
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, call, contrib, require, var};
use crate::rules::support::attention::{Mask, Scores};
use crate::rules::support::axes::permutation;
use crate::rules::support::heads::{SWAPPED, joined, joined_behind_length, parted};

const AXIS: Key<i64> = Key::new("axis", -1);

pub fn rule() -> Rule {
    let (softmax, values, product) = (call("softmax"), var("values"), call("product"));
    let pattern = Transpose.any().on(MatMul.of((Softmax.any().bind(softmax), values)).bind(product));
    Rule::new("fuse-multi-head-attention", Exactness::Rounding, pattern, move |m| {
        let (graph, softmax) = (m.graph(), m.call(softmax));
        applies(m.opset() < 23 && permutation(&m.root()).is_some_and(|p| p == SWAPPED))?;
        applies(softmax.rank(0) == Some(4) && normalize_axis(AXIS.of(softmax.node()), 4) == Some(3))?;
        applies(softmax.dtype(0) == Some(DType::F32))?;
        let scores = Scores::of(graph, softmax.operand(0).ok_or(Skip::NotThis)?, &softmax)?;
        let scale = scores.scale as f32;
        require(scale.is_normal() && scale > 0.0, "the scale is not positive")?;
        let fits = scores.dims(graph).zip(m.shape(values).dims()).filter(|((queries, keys), values)| {
            let same = queries.len() == 4 && keys.len() == 4 && values.len() == 4;
            same && queries[..2] == keys[..2] && keys[..3] == values[..3]
        });
        let ((queries, keys), _) = fits.ok_or(Skip::Unsuitable("queries, keys and values are not known to fit"))?;
        let heads = queries.get(1).and_then(Int::known).ok_or(Skip::NotThis)?;
        applies(scores.cap.is_none())?;
        let mask = match scores.mask {
            None => None,
            Some(Mask::Added(mask)) => {
                let dims = graph.value(mask).ty.shape().dims();
                let ends = [queries[2].clone(), keys[2].clone()];
                let full = dims.is_some_and(|d| d.ends_with(&ends));
                require(full, "the mask is not known to have one element per query and key")?;
                require(dims.is_some_and(|d| d.len() == 4), "the mask has no axes for batch and heads")?;
                Some(mask)
            }
            Some(Mask::Chosen { .. }) => return Err(Skip::NotThis),
        };
        let gone = |value: ValueId| graph.value(value).users().len() == 1;
        let joined = joined(graph, scores.queries, &gone)
            .zip(joined_keys(graph, scores.swapped_keys, &gone))
            .zip(joined(graph, m[values], &gone));
        let apart = Skip::Unsuitable("an operand's heads are not apart from its length");
        let ((queries, keys), values) = joined.ok_or(apart)?;
        let operands = [queries, keys, values, Expr::Absent, Expr::Absent, mask.into()];
        let fused = contrib("MultiHeadAttention", operands).named_like(m.call(product));
        parted(fused.with("num_heads", heads).with("scale", scale), m.root_shape())
    })
    .for_contrib("MultiHeadAttention")
}

/// What keys with their last two axes swapped are with their heads after one another.
fn joined_keys(graph: &Graph, swapped: ValueId, gone: &dyn Fn(ValueId) -> bool) -> Option<Expr> {
    let (node, _) = graph.producer(swapped).filter(|(n, _)| graph.node(*n).op == Transpose)?;
    let call = CallView::new(graph, node);
    let (perm, x) = (permutation(&call)?, call.operand(0)?);
    match perm[..] {
        [0, 1, 3, 2] => joined(graph, x, gone),
        [0, 2, 3, 1] => joined_behind_length(graph, x, gone(swapped)),
        _ => None,
    }
}
