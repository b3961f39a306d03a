//! `Attention` as the products, the sum and the softmax that it is, which tract knows.

use crate::ir::OpKind::{self, Add, Gather, MatMul, Mul, Reshape, Softmax, Transpose};
use crate::ir::{Attr, DType, Graph, Int, Key, NodeId, ScopeId, Tensor, ValueId};

const Q_HEADS: Key<i64> = Key::new("q_num_heads", 0);
const KV_HEADS: Key<i64> = Key::new("kv_num_heads", 0);
const SCALE: Key<f32> = Key::new("scale", 0.0);

/// What else an `Attention` may do is left alone.
const PLAIN: &[&str] = &["q_num_heads", "kv_num_heads", "scale"];

/// Heads of queries and of keys, and the scale.
struct Plan {
    heads: [i64; 2],
    packed: bool,
    scale: Tensor,
}

/// Part a call that has no cache and no mask of its own, where its types are known well enough.
pub(super) fn part(graph: &mut Graph, node: NodeId) {
    let Some(plan) = plan(graph, node) else { return };
    let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
    let mut parts = Parts { graph, scope, order };
    if let Some(new) = parts.spelled(node, &plan)
        && let Some(result) = graph.result(node, 0)
    {
        graph.replace(result, new);
        graph.remove_node(node);
    }
}

fn plan(graph: &Graph, node: NodeId) -> Option<Plan> {
    let call = graph.node(node);
    let plain = call.attrs().iter().all(|(name, _)| PLAIN.contains(&name.as_ref()));
    let cached = (4..graph.operand_count(node)).any(|slot| graph.operand(node, slot).is_some());
    let more = graph.results(node).iter().skip(1).flatten().any(|&v| !graph.value(v).users().is_empty());
    if !plain || cached || more {
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
    if let Some(mask) = graph.operand(node, 3) {
        let mask = &graph.value(mask).ty;
        // One that is shorter than the keys would be padded; one of booleans may leave nothing.
        let full = mask.shape().dims()?.last() == k.get(k.len() - 2);
        if !full || !mask.dtype()?.is_float() {
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
    Some(Plan { heads, packed, scale: Tensor::rounded(dtype, &[], &[scale]).ok()? })
}

/// Makes nodes in the place of one.
struct Parts<'g> {
    graph: &'g mut Graph,
    scope: ScopeId,
    order: u32,
}

impl Parts<'_> {
    fn spelled(&mut self, node: NodeId, plan: &Plan) -> Option<ValueId> {
        let operand = |graph: &Graph, slot| graph.operand(node, slot);
        let [q, k, v] = [0, 1, 2].map(|slot| operand(self.graph, slot));
        let mask = operand(self.graph, 3);
        let [queries, keys] = plan.heads;
        let (mut q, mut k, mut v) = (q?, k?, v?);
        if plan.packed {
            q = self.unpacked(q, queries)?;
            k = self.unpacked(k, keys)?;
            v = self.unpacked(v, keys)?;
        }
        if queries != keys {
            let times = queries / keys;
            let indices: Vec<i64> = (0..queries).map(|head| head / times).collect();
            let indices = self.constant(Tensor::vector(&indices));
            k = self.call(Gather, &[k, indices], &[("axis", Attr::Int(1))])?;
            v = self.call(Gather, &[v, indices], &[("axis", Attr::Int(1))])?;
        }
        let scale = self.constant(plan.scale.clone());
        q = self.call(Mul, &[q, scale], &[])?;
        k = self.call(Transpose, &[k], &[("perm", Attr::Ints([0, 1, 3, 2].into()))])?;
        let mut scores = self.call(MatMul, &[q, k], &[])?;
        if let Some(mask) = mask {
            scores = self.call(Add, &[scores, mask], &[])?;
        }
        let shares = self.call(Softmax, &[scores], &[("axis", Attr::Int(-1))])?;
        let mut y = self.call(MatMul, &[shares, v], &[])?;
        if plan.packed {
            y = self.call(Transpose, &[y], &[("perm", Attr::Ints([0, 2, 1, 3].into()))])?;
            let joined = self.constant(Tensor::vector(&[0, 0, -1]));
            y = self.call(Reshape, &[y, joined], &[])?;
        }
        Some(y)
    }

    /// The heads of `x`, before its length.
    fn unpacked(&mut self, x: ValueId, heads: i64) -> Option<ValueId> {
        let shape = self.constant(Tensor::vector(&[0, 0, heads, -1]));
        let apart = self.call(Reshape, &[x, shape], &[])?;
        self.call(Transpose, &[apart], &[("perm", Attr::Ints([0, 2, 1, 3].into()))])
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant(self.scope, "", tensor)
    }

    fn call(&mut self, op: OpKind, operands: &[ValueId], attrs: &[(&'static str, Attr)]) -> Option<ValueId> {
        let operands: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
        let node = self.graph.add_node(self.scope, op, &operands, 1, self.order);
        for (name, attr) in attrs {
            self.graph.set_attr(node, *name, attr.clone());
        }
        self.graph.result(node, 0)
    }
}
