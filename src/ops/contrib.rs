//! Operators of onnxruntime's own domain: how their channels hang together, and their shapes.
//!
//! Attention reads `[batch, length, heads · size]`, with queries, keys and values apart or one behind another. Heads
//! stand or fall as a whole, with the queries that share a head of keys. The size of a head stays: where `scale` is left
//! out, it follows from that.

use smallvec::SmallVec;

use crate::ir::{Attr, Int, Key, Shape, Type};
use crate::ops::quant::with_vectors;
use crate::ops::ties::{broadcast, convolution, product_of, same_axes, size};
use crate::ops::{CallView, End, Infer, Outcome, Tie, Ties, matmul};

/// Operators of com.microsoft whose tensors of real numbers are all of one type, which may be float32.
pub const OF_ONE_FLOAT: &[&str] = &[
    "Attention",
    "BiasAdd",
    "BiasGelu",
    "EmbedLayerNormalization",
    "FastGelu",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "GatherBlockQuantized",
    "Gelu",
    "GroupNorm",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuickGelu",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "TransposeMatMul",
];

fn count(call: &CallView<'_>, name: &'static str) -> Option<usize> {
    usize::try_from(Key::new(name, 0i64).of(call.node())).ok().filter(|&n| n >= 1)
}

/// How wide queries, keys and values of an `Attention` are that its weight makes in one; known to be whole heads.
fn widths(call: &CallView<'_>, weight: usize) -> Option<([usize; 3], usize)> {
    let heads = count(call, "num_heads")?;
    let columns = size(call, End::operand(weight, 1))?;
    let widths = match call.node().attr("qkv_hidden_sizes") {
        Some(Attr::Ints(sizes)) if !sizes.is_empty() => {
            let sizes: Vec<usize> = sizes.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>()?;
            <[usize; 3]>::try_from(sizes).ok()?
        }
        _ => [columns / 3; 3],
    };
    let [q, k, v] = widths;
    let all = q.checked_add(k)?.checked_add(v)?;
    let whole = widths.iter().all(|&width| width > 0 && width % heads == 0);
    (all == columns && q == k && whole).then_some((widths, heads))
}

/// Of each column of queries, keys and values one behind another, a column of the result that is of the same head.
fn of_one_head(widths: [usize; 3], heads: [usize; 3]) -> Vec<usize> {
    let columns = |part: usize| {
        // As many queries share a head of keys as there are heads of the result for each.
        let (of_part, of_head) = (widths[part] / heads[part], widths[0] / heads[part]);
        let of_head = if heads[0] == heads[part] { widths[2] / heads[2] } else { of_head };
        (0..widths[part]).map(move |i| i / of_part * of_head + (i % of_part).min(of_head - 1))
    };
    (0..3).flat_map(columns).collect()
}

/// `[x, w, b, …, past, …]` with a weight that makes queries, keys and values: `Attention`.
pub fn attention_ties(call: &CallView<'_>) -> Ties {
    packed_weight(call, &[2], Some(4), Some(5))
}

/// As [`attention_ties`] with integers: `[x, w, b, scale of x, scale of w, mask, zero points of x and w, past]`.
pub fn quantized_attention_ties(call: &CallView<'_>) -> Ties {
    packed_weight(call, &with_vectors(call, &[2], &[4, 7]), Some(8), None)
}

fn packed_weight(call: &CallView<'_>, vectors: &[usize], past: Option<usize>, scores: Option<usize>) -> Ties {
    let Some((widths, heads)) = widths(call, 1) else { return Ties::new() };
    let mut ends: SmallVec<[End; 4]> = SmallVec::from_slice(&[End::result(0, 2), End::result(1, 2)]);
    ends.extend(past.map(|slot| End::operand(slot, 2)));
    ends.extend(scores.filter(|&slot| has_heads(call, slot)).map(|slot| End::operand(slot, 1)));
    let mut ties = batch_and_length();
    ties.push(Tie::Contracted(End::operand(0, 2), End::operand(1, 0)));
    ties.push(Tie::Runs { ends, count: heads });
    let indices = of_one_head(widths, [heads; 3]);
    let columns = [End::operand(1, 1)].into_iter().chain(vectors.iter().map(|&slot| End::operand(slot, 0)));
    ties.extend(columns.map(|to| Tie::Picked { from: End::result(0, 2), to, indices: indices.clone() }));
    ties
}

/// Whether a bias of scores `[batch, heads, length, length]` has one head for each.
fn has_heads(call: &CallView<'_>, slot: usize) -> bool {
    call.dims(slot).is_some_and(|dims| dims.len() == 4 && dims[1].known() != Some(1))
}

fn batch_and_length() -> Ties {
    (0..2).map(|axis| Tie::Same(End::operand(0, axis), End::result(0, axis))).collect()
}

/// Where operand `slot` counts its heads: `[batch, length, heads · size]`, `[batch, heads, length, size]`, or
/// `[batch, length, heads, 2 or 3, size]`.
fn heads_axis(call: &CallView<'_>, slot: usize) -> Option<End> {
    let axis = match call.rank(slot)? {
        3 | 5 => 2,
        4 => 1,
        _ => return None,
    };
    Some(End::operand(slot, axis))
}

/// `[queries, keys, values, bias, mask, bias of scores, past keys, past values, …]`: `MultiHeadAttention`.
pub fn multi_head_ties(call: &CallView<'_>) -> Ties {
    let Some(count) = count(call, "num_heads") else { return Ties::new() };
    let parts: SmallVec<[End; 4]> = (0..3).filter_map(|slot| heads_axis(call, slot)).collect();
    let mut ends: SmallVec<[End; 4]> = parts.clone();
    ends.push(End::result(0, 2));
    ends.extend([6, 7].map(|slot| End::operand(slot, 1)));
    ends.extend([1, 2, 3].map(|slot| End::result(slot, 1)));
    ends.extend(has_heads(call, 5).then_some(End::operand(5, 1)));
    let mut ties = batch_and_length();
    ties.push(Tie::Runs { ends, count });
    if call.has(3) {
        let whole = End::operand(3, 0);
        let (Some(columns), true) = (size(call, whole), parts.first().is_some_and(|_| call.rank(0) == Some(3))) else {
            return Ties::new();
        };
        // Queries, keys and values have a bias each, one behind another; a head of values may be of another size.
        let (Some(queries), Some(values)) = (size(call, End::operand(0, 2)), size(call, End::result(0, 2))) else {
            return Ties::new();
        };
        let widths = [queries, queries, values];
        if queries.checked_mul(2).and_then(|n| n.checked_add(values)) != Some(columns)
            || widths.iter().any(|&width| width == 0 || width % count != 0)
        {
            return Ties::new();
        }
        let indices = of_one_head(widths, [count; 3]);
        ties.push(Tie::Picked { from: End::result(0, 2), to: whole, indices });
    }
    ties
}

/// `[queries, keys, values, past keys, past values, …]`, fewer heads of keys than of queries: `GroupQueryAttention`.
///
/// The queries may hold keys and values behind them.
pub fn group_query_ties(call: &CallView<'_>) -> Ties {
    let (Some(heads), Some(count)) = (count(call, "num_heads"), count(call, "kv_num_heads")) else {
        return Ties::new();
    };
    // What comes behind the slots below may count heads too.
    if !heads.is_multiple_of(count) || (12..call.operand_count()).any(|slot| call.has(slot)) {
        return Ties::new();
    }
    let mut ends: SmallVec<[End; 4]> = SmallVec::from_slice(&[End::result(0, 2), End::result(1, 1), End::result(2, 1)]);
    ends.extend([3, 4].map(|slot| End::operand(slot, 1)));
    ends.push(End::result(3, 1));
    ends.extend(has_heads(call, 10).then_some(End::operand(10, 1)));
    ends.push(End::operand(11, 0));
    let mut ties = batch_and_length();
    if call.has(1) {
        ends.extend((0..3).map(|slot| End::operand(slot, 2)));
        ties.push(Tie::Runs { ends, count });
        return ties;
    }
    let (Some(columns), Some(width)) = (size(call, End::operand(0, 2)), size(call, End::result(0, 2))) else {
        return Ties::new();
    };
    let of_keys = width / heads * count;
    if width == 0 || width % heads != 0 || of_keys.checked_mul(2).and_then(|n| n.checked_add(width)) != Some(columns) {
        return Ties::new();
    }
    ties.push(Tie::Runs { ends, count });
    let indices = of_one_head([width, of_keys, of_keys], [heads, count, count]);
    ties.push(Tie::Picked { from: End::result(0, 2), to: End::operand(0, 2), indices });
    ties
}

/// An `Attention` is as long as its input and as wide as its values.
pub fn attention(call: &mut Infer<'_>) -> Outcome {
    call.set_dtype(0, call.dtype(2).or(call.dtype(0)));
    let width = widths(call, 1).map(|([.., values], _)| Int::from(values));
    of_width(call, width)
}

/// Of batch and length of the queries, and as wide as the heads of all values.
pub fn multi_head(call: &mut Infer<'_>) -> Outcome {
    call.set_dtype(0, call.dtype(0));
    let width = match (call.dims(0)?, call.dims(2)) {
        ([_, _, heads, _, size], _) | (_, Some([_, heads, _, size])) => heads.checked_mul(size),
        (_, Some([_, _, width])) => Some(width.clone()),
        _ => None,
    };
    of_width(call, width)
}

/// As wide as the queries, behind which keys and values may stand.
pub fn group_query(call: &mut Infer<'_>) -> Outcome {
    call.set_dtype(0, call.dtype(0));
    let width = match call.dims(0)? {
        [_, _, width] if call.has(1) => Some(width.clone()),
        [_, _, width] => {
            let (heads, of_keys) = (count(call, "num_heads"), count(call, "kv_num_heads"));
            let all = heads.zip(of_keys).and_then(|(q, kv)| Some((q, kv.checked_mul(2)?.checked_add(q)?)));
            all.and_then(|(q, all)| width.exact_div(&Int::from(all))?.checked_mul(&Int::from(q)))
        }
        _ => None,
    };
    of_width(call, width)
}

fn of_width(call: &mut Infer<'_>, width: Option<Int>) -> Outcome {
    let dtype = call.dtype(2).filter(|dtype| dtype.is_float()).or(call.dtype(0));
    let [batch, length, ..] = call.dims(0)? else { return None };
    let dims = [batch.clone(), length.clone(), width.unwrap_or_else(|| call.fresh(0, 2))];
    call.set(0, dtype, dims);
    Some(())
}

/// A convolution that another tensor is added to before its activation: `[x, w, b, z]`.
pub fn fused_conv_ties(call: &CallView<'_>) -> Ties {
    let mut ties = convolution(call, 0, 1, 2);
    let rank = call.rank(0).unwrap_or(0);
    if call.has(3) {
        ties.extend((0..rank).map(|axis| Tie::Same(End::operand(3, axis), End::result(0, axis))));
    }
    ties
}

/// A product of operands that may be turned around; batches that are turned too are not followed.
pub fn fused_product_ties(call: &CallView<'_>) -> Ties {
    let is_set = |name: &'static str| Key::new(name, false).of(call.node());
    if is_set("transBatchA") || is_set("transBatchB") {
        return Ties::new();
    }
    product_of(call, (0, is_set("transA")), (1, is_set("transB")))
}

/// Every operand broadcasts to the result.
pub fn all_operands(call: &CallView<'_>) -> Ties {
    broadcast(call, 0..call.operand_count(), 0)
}

/// `[a, its scale and zero point, b, …]`: an addition or a product of integers.
pub fn quantized_binary_ties(call: &CallView<'_>) -> Ties {
    broadcast(call, [0, 3], 0)
}

/// Element by element.
pub fn elements(call: &CallView<'_>) -> Ties {
    same_axes(call, |_| true)
}

/// Images `[N, C, spatial…]` that are pooled or sampled.
pub fn pooled(call: &CallView<'_>) -> Ties {
    if is_channels_last(call) { Ties::new() } else { same_axes(call, |axis| axis < 2) }
}

/// Whether channels are the last axis.
pub fn is_channels_last(call: &CallView<'_>) -> bool {
    Key::new("channels_last", false).of(call.node())
}

/// Means of integers over all spatial axes.
pub fn global_pool(call: &mut Infer<'_>) -> Outcome {
    if is_channels_last(call) {
        return None;
    }
    call.set_dtype(0, call.dtype(0));
    let x = call.dims(0)?;
    x.len().checked_sub(2)?;
    let dims = x.iter().enumerate().map(|(axis, dim)| if axis < 2 { dim.clone() } else { Int::from(1) });
    let shape = Shape::of(dims);
    call.set_type(0, Type::Tensor { dtype: call.dtype(0), shape });
    Some(())
}

/// `[scale and zero point of the result, x, its scale and zero point, x, …]` one behind another.
pub fn concat_ties(call: &CallView<'_>) -> Ties {
    let Some((axis, rank)) = concat_axis(call) else { return Ties::new() };
    let slots = || (2..call.operand_count()).step_by(3);
    let others = slots().flat_map(|slot| (0..rank).filter(|&at| at != axis).map(move |at| (slot, at)));
    let mut ties: Ties = others.map(|(slot, at)| Tie::Same(End::operand(slot, at), End::result(0, at))).collect();
    let parts = slots().map(|slot| End::operand(slot, axis)).collect();
    ties.push(Tie::Joined { whole: End::result(0, axis), parts });
    ties
}

fn concat_axis(call: &CallView<'_>) -> Option<(usize, usize)> {
    let rank = call.rank(2)?;
    Some((crate::ops::normalize_axis(Key::new("axis", 0i64).get(call.node())?, rank)?, rank))
}

/// What [`concat_ties`] is of.
pub fn concat(call: &mut Infer<'_>) -> Outcome {
    call.set_dtype(0, call.dtype(2));
    let (axis, rank) = concat_axis(call)?;
    let mut dims: Vec<Int> = call.dims(2)?.to_vec();
    for slot in (5..call.operand_count()).step_by(3) {
        let other = call.dims(slot).filter(|dims| dims.len() == rank)?;
        dims[axis] = dims[axis].checked_add(&other[axis])?;
    }
    call.set(0, call.dtype(2), dims);
    Some(())
}

/// `[a, its scale and zero point, b, its, c, the result's]`: a `Gemm` of integers.
pub fn gemm_ties(call: &CallView<'_>) -> Ties {
    matmul::matrix_ties(call, (0, 3, 6), &with_vectors(call, &[], &[4, 5]))
}

/// What [`gemm_ties`] is of: floats where the result has no scale.
pub fn gemm(call: &mut Infer<'_>) -> Outcome {
    let dtype = if call.has(7) { call.dtype(8).or(call.dtype(0)) } else { call.dtype(1) };
    matmul::matrices(call, 0, 3, dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_one_head_are_told_in_each_part() {
        // Two heads of two queries, two keys and one value.
        assert_eq!(of_one_head([4, 4, 2], [2; 3]), [0, 0, 1, 1, 0, 0, 1, 1, 0, 1]);
        // Four queries of size 1 share two keys.
        assert_eq!(of_one_head([4, 2, 2], [4, 2, 2]), [0, 1, 2, 3, 0, 2, 0, 2]);
    }
}
