//! `Attention` as the products, the sum and the softmax that it is, which tract knows.

use super::parts::Parts;
use crate::ir::OpKind::{
    Add, And, Cast, Concat, Expand, Gather, Greater, IsNaN, MatMul, Mul, Not, Range, Reshape, Shape,
};
use crate::ir::OpKind::{Softmax, Tanh, Transpose, Unsqueeze, Where};
use crate::ir::{Atom, Attr, DType, Graph, Int, Key, NodeId, Tensor, ValueId};
use crate::ops::call::content;

const Q_HEADS: Key<i64> = Key::new("q_num_heads", 0);
const KV_HEADS: Key<i64> = Key::new("kv_num_heads", 0);
const SCALE: Key<f32> = Key::new("scale", 0.0);
const SOFTCAP: Key<f32> = Key::new("softcap", 0.0);
const CAUSAL: Key<bool> = Key::new("is_causal", false);
const PRECISION: Key<i64> = Key::new("softmax_precision", 0);

/// What else an `Attention` may do is left alone. The mode is of scores, which nobody reads here.
const PLAIN: &[&str] =
    &["q_num_heads", "kv_num_heads", "scale", "softcap", "is_causal", "softmax_precision", "qk_matmul_output_mode"];

/// Heads of queries and of keys, the scale and the cap.
struct Plan {
    heads: [i64; 2],
    packed: bool,
    dtype: DType,
    scale: Tensor,
    cap: Option<f64>,
    causal: bool,
    /// The type of the softmax, where it is another.
    precise: Option<DType>,
}

/// Part a call where its types are known well enough.
pub(super) fn part(graph: &mut Graph, node: NodeId) {
    let Some(plan) = plan(graph, node) else { return };
    let results: Vec<Option<ValueId>> = graph.results(node).to_vec();
    let mut parts = Parts::of(graph, node);
    let Some(made) = spelled(&mut parts, node, &plan) else { return };
    for (old, new) in results.into_iter().zip(made) {
        if let Some(old) = old {
            graph.replace(old, new);
        }
    }
    graph.remove_node(node);
}

fn plan(graph: &Graph, node: NodeId) -> Option<Plan> {
    let call = graph.node(node);
    let plain = call.attrs().iter().all(|(name, _)| PLAIN.contains(&name.as_ref()));
    let has = |slot: usize| graph.operand(node, slot).is_some();
    let read = |slot: usize| graph.result(node, slot).is_some_and(|v| !graph.value(v).users().is_empty());
    let cached = has(4) && has(5);
    let others = has(4) != has(5) || (6..graph.operand_count(node)).any(has);
    if !plain || others || (1..graph.results(node).len()).any(|slot| read(slot) && (slot > 2 || !cached)) {
        return None;
    }
    let ty = |slot: usize| Some(&graph.value(graph.operand(node, slot)?).ty);
    let (q, k) = (ty(0)?.shape().dims()?, ty(1)?.shape().dims()?);
    let known = |dims: &[Int], axis: usize| dims.get(axis).and_then(Int::known);
    let packed = q.len() == 3;
    let heads = match packed {
        true => [Q_HEADS.of(call), KV_HEADS.of(call)],
        false if q.len() == 4 && k.len() == 4 && q[1] == k[1] => [1, 1],
        false if q.len() == 4 => [known(q, 1)?, known(k, 1)?],
        false => return None,
    };
    if heads.iter().any(|&h| h <= 0) || heads[0].checked_rem(heads[1])? != 0 || heads[0] > 1 << 16 {
        return None;
    }
    if has(3) {
        let mask = ty(3)?;
        let length = &k[k.len() - 2];
        let total = match cached {
            true => ty(4)?.shape().dims()?.get(2)?.checked_add(length)?,
            false => length.clone(),
        };
        // One that is shorter than the keys would be padded: surely one of another number of keys.
        let columns = mask.shape().dims()?.last()?;
        if *columns != total && !is_cut(columns, &total) && !is_expanded(graph, graph.operand(node, 3)?, &total) {
            return None;
        }
    }
    let scale = match call.attr("scale") {
        Some(_) => SCALE.of(call).into(),
        None => {
            let size = known(q, q.len() - 1)?.checked_div(if packed { heads[0] } else { 1 })?;
            (size as f64).sqrt().recip()
        }
    };
    let dtype: DType = ty(0)?.dtype()?;
    let cap = Some(f64::from(SOFTCAP.of(call))).filter(|&cap| cap != 0.0);
    let precise = i32::try_from(PRECISION.of(call)).ok().and_then(DType::from_code).filter(|&d| d != dtype);
    let scale = Tensor::rounded(dtype, &[], &[scale]).ok()?;
    Some(Plan { heads, packed, dtype, scale, cap, causal: CAUSAL.of(call), precise })
}

/// Whether `size` is the smaller of `whole` and a number: the mask is cut to the keys there are.
fn is_cut(size: &Int, whole: &Int) -> bool {
    matches!(size.as_atom(), Some(Atom::Min(pair)) if pair.0 == *whole || pair.1 == *whole)
}

/// Whether `mask` is expanded along its last axis to `whole`.
fn is_expanded(graph: &Graph, mask: ValueId, whole: &Int) -> bool {
    let maker = graph.producer(mask).map(|(node, _)| node).filter(|&node| graph.node(node).op == Expand);
    let target = maker.and_then(|node| content(graph, graph.operand(node, 1)?));
    target.is_some_and(|target| target.last() == Some(whole))
}

/// What stands for the results.
fn spelled(parts: &mut Parts<'_>, node: NodeId, plan: &Plan) -> Option<Vec<ValueId>> {
    let [q, k, v, mask, past_keys, past_values] = [0, 1, 2, 3, 4, 5].map(|slot| parts.graph.operand(node, slot));
    let [queries, keys] = plan.heads;
    let (mut q, mut k, mut v) = (q?, k?, v?);
    if plan.packed {
        q = unpacked(parts, q, queries)?;
        k = unpacked(parts, k, keys)?;
        v = unpacked(parts, v, keys)?;
    }
    if let (Some(past_keys), Some(past_values)) = (past_keys, past_values) {
        k = parts.call(Concat, &[past_keys, k], &[("axis", Attr::Int(2))])?;
        v = parts.call(Concat, &[past_values, v], &[("axis", Attr::Int(2))])?;
    }
    let (present_keys, present_values) = (k, v);
    if queries != keys {
        let times = queries / keys;
        let indices: Vec<i64> = (0..queries).map(|head| head / times).collect();
        let indices = parts.constant(Tensor::vector(&indices));
        k = parts.call(Gather, &[k, indices], &[("axis", Attr::Int(1))])?;
        v = parts.call(Gather, &[v, indices], &[("axis", Attr::Int(1))])?;
    }
    let scale = parts.constant(plan.scale.clone());
    q = parts.call(Mul, &[q, scale], &[])?;
    k = parts.call(Transpose, &[k], &[("perm", Attr::Ints([0, 1, 3, 2].into()))])?;
    let mut scores = parts.call(MatMul, &[q, k], &[])?;
    if let Some(cap) = plan.cap {
        let [cap, inverse] = [cap, cap.recip()].map(|n| Tensor::rounded(plan.dtype, &[], &[n]));
        let (cap, inverse) = (parts.constant(cap.ok()?), parts.constant(inverse.ok()?));
        scores = parts.call(Mul, &[scores, inverse], &[])?;
        scores = parts.call(Tanh, &[scores], &[])?;
        scores = parts.call(Mul, &[scores, cap], &[])?;
    }
    let mut allowed = None;
    if let Some(mask) = mask {
        if parts.graph.value(mask).ty.dtype() == Some(DType::Bool) {
            allowed = Some(mask);
        } else {
            scores = parts.call(Add, &[scores, mask], &[])?;
        }
    }
    if plan.causal {
        let below = below(parts, q, present_keys, past_keys)?;
        allowed = Some(match allowed {
            Some(mask) => parts.call(And, &[mask, below], &[])?,
            None => below,
        });
    }
    if let Some(allowed) = allowed {
        let gone = parts.constant(Tensor::rounded(plan.dtype, &[], &[f64::NEG_INFINITY]).ok()?);
        scores = parts.call(Where, &[allowed, scores, gone], &[])?;
    }
    if let Some(dtype) = plan.precise {
        scores = cast(parts, scores, dtype)?;
    }
    let mut shares = parts.call(Softmax, &[scores], &[("axis", Attr::Int(-1))])?;
    if plan.precise.is_some() {
        shares = cast(parts, shares, plan.dtype)?;
    }
    if allowed.is_some() {
        // A query that is left no key gets nothing.
        let none = parts.call(IsNaN, &[shares], &[])?;
        let zero = parts.constant(Tensor::rounded(plan.dtype, &[], &[0.0]).ok()?);
        shares = parts.call(Where, &[none, zero, shares], &[])?;
    }
    let mut y = parts.call(MatMul, &[shares, v], &[])?;
    if plan.packed {
        y = parts.call(Transpose, &[y], &[("perm", Attr::Ints([0, 2, 1, 3].into()))])?;
        let joined = parts.constant(Tensor::vector(&[0, 0, -1]));
        y = parts.call(Reshape, &[y, joined], &[])?;
    }
    Some(vec![y, present_keys, present_values])
}

fn cast(parts: &mut Parts<'_>, x: ValueId, dtype: DType) -> Option<ValueId> {
    parts.call(Cast, &[x], &[("to", Attr::Int(dtype.code().into()))])
}

/// Which keys a causal query may see: none behind its own place, which comes after all that were kept.
fn below(parts: &mut Parts<'_>, q: ValueId, keys: ValueId, kept: Option<ValueId>) -> Option<ValueId> {
    let [zero, one] = [0i64, 1].map(|n| parts.constant(Tensor::scalar(n)));
    let (length, total) = (length(parts, q)?, self::length(parts, keys)?);
    let mut places = parts.call(Range, &[zero, length, one], &[])?;
    if let Some(kept) = kept {
        let before = self::length(parts, kept)?;
        places = parts.call(Add, &[places, before], &[])?;
    }
    let axis = parts.constant(Tensor::vector(&[1]));
    let places = parts.call(Unsqueeze, &[places, axis], &[])?;
    let keys = parts.call(Range, &[zero, total, one], &[])?;
    let behind = parts.call(Greater, &[keys, places], &[])?;
    parts.call(Not, &[behind], &[])
}

/// The size of the third axis, as a scalar.
fn length(parts: &mut Parts<'_>, x: ValueId) -> Option<ValueId> {
    let (shape, axis) = (parts.call(Shape, &[x], &[])?, parts.constant(Tensor::scalar(2)));
    parts.call(Gather, &[shape, axis], &[])
}

/// The heads of `x`, before its length.
fn unpacked(parts: &mut Parts<'_>, x: ValueId, heads: i64) -> Option<ValueId> {
    let shape = parts.constant(Tensor::vector(&[0, 0, heads, -1]));
    let apart = parts.call(Reshape, &[x, shape], &[])?;
    parts.call(Transpose, &[apart], &[("perm", Attr::Ints([0, 2, 1, 3].into()))])
}
