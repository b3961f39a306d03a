//! `Softmax(scale·Q·Kᵀ + mask)·V` is `Attention`, from opset 23 on.
//!
//! Queries, keys and values have axes batch, heads, length and size; without the heads, the one head is said so. The
//! scale may stand on the scores, the queries or the keys. Scores may be capped by `c·tanh(s/c)`. The mask may be
//! added, or chosen by a `Where` with a number far below all scores; one for all queries or keys is expanded.
//! Probabilities that are not numbers, where a mask leaves a query no key, may be replaced by 0, as `Attention` itself
//! does.
//!
//! Declines where batch, heads and lengths are not known to fit without broadcasting, where the mask may have more
//! queries or keys than there are, where scale or cap are not positive, and where scores or probabilities are also
//! read elsewhere.

use crate::ir::OpKind::{Attention, IsNaN, MatMul, Softmax, Where};
use crate::ir::{Int, Key};
use crate::ops::normalize_axis;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, call, exactly, require, var};
use crate::rules::support::attention::{Scores, full_mask};
use crate::rules::support::numbers::is_foldable_float;

const AXIS: Key<i64> = Key::new("axis", -1);

pub fn rule() -> Rule {
    let (softmax, values) = (call("softmax"), var("values"));
    let shares = || Softmax.any().bind(softmax);
    let guarded = Where.of((IsNaN.of(shares()), exactly(0.0), shares()));
    let pattern = MatMul.of((shares(), values)).or(MatMul.of((guarded, values)));
    Rule::new("fuse-attention", Exactness::Rounding, pattern, move |m| {
        let (graph, softmax) = (m.graph(), m.call(softmax));
        let rank = softmax.rank(0).ok_or(Skip::NotThis)?;
        applies((3..=4).contains(&rank) && normalize_axis(AXIS.of(softmax.node()), rank) == Some(rank - 1))?;
        applies(softmax.dtype(0).is_some_and(is_foldable_float))?;
        let scores = Scores::of(graph, softmax.operand(0).ok_or(Skip::NotThis)?, &softmax)?;
        let scale = scores.scale as f32;
        require(scale.is_normal() && scale > 0.0, "the scale is not positive")?;
        let fits = scores.dims(graph).zip(m.shape(values).dims()).filter(|((queries, keys), values)| {
            let lead = rank - 2;
            let rank_fits = queries.len() == rank && keys.len() == rank && values.len() == rank;
            // The product with the values is as long as they are, or there is none.
            rank_fits && queries[..lead] == keys[..lead] && keys[..lead] == values[..lead]
        });
        let ((queries, keys), _) = fits.ok_or(Skip::Unsuitable("queries, keys and values are not known to fit"))?;
        // A zero of more axes would have widened the probabilities.
        applies(m.root().rank(0) == Some(rank))?;
        let mut mask = Expr::Absent;
        if let Some(found) = &scores.mask {
            // Wider than the keys it would have to be as wide as the values are long.
            let (length, values_length) = (&keys[rank - 2], m.shape(values).dims().map(|d| &d[rank - 2]));
            let why = "the mask may have more keys than there are";
            require(!scores.may_widen || values_length == Some(length), why)?;
            mask = full_mask(graph, found, [scores.queries, m[values]], [&queries[rank - 2], length])?;
            // Of three axes the first is the batch; of the mask that Attention takes it is the heads.
            let dims = graph.value(found.value()).ty.shape().dims();
            let one_for_all = dims.is_some_and(|m| rank == 4 || m.len() < rank || m[0] == Int::from(1));
            require(one_for_all, "the mask differs along the batch, and there are no heads")?;
        }
        let operands = [scores.queries.into(), scores.keys(graph, rank), m[values].into(), mask];
        let mut fused = Attention.emit(operands).named_like(m.root()).with("scale", scale);
        if let Some(cap) = scores.cap.map(|cap| cap as f32) {
            require(cap.is_normal() && cap > 0.0, "the cap is not positive")?;
            fused = fused.with("softcap", cap);
        }
        Ok(if rank == 4 { fused } else { fused.with("q_num_heads", 1).with("kv_num_heads", 1) })
    })
}
