//! What a model in halves computes, said in float32: the same calls on the same tensors, each rounded to a half where
//! it is one.
//!
//! Products in halves are summed up in float32 wherever they are fast, and rounded once. An engine that has no such
//! kernels sums in halves or not at all, and would tell of itself, so results are measured this way.

use crate::ir::{Attr, DType, Graph, NodeId, OpKind, Tensor, Type, User, ValueId};
use crate::precision::Fit;
use crate::precision::cells::Cells;

/// Attributes that are cast to the type of the operand, as the operators' definitions by other operators have it, and
/// what they are where they are not given. Rounded alike in every call, they err to one side together.
const CAST_LIKE: &[(OpKind, &[(&str, f32)])] = &[
    (OpKind::HardSigmoid, &[("alpha", 0.2), ("beta", 0.5)]),
    (OpKind::LeakyRelu, &[("alpha", 0.01)]),
    (OpKind::Elu, &[("alpha", 1.0)]),
    (OpKind::Celu, &[("alpha", 1.0)]),
    (OpKind::Selu, &[("alpha", 1.673_263_2), ("gamma", 1.050_701)]),
    (OpKind::ThresholdedRelu, &[("alpha", 1.0)]),
];

/// Round the attributes of `node` that are cast to its operand's type.
fn round_attributes(graph: &mut Graph, node: NodeId, half: DType) {
    let op = graph.node(node).op;
    let Some((_, names)) = CAST_LIKE.iter().find(|(known, _)| *known == op) else { return };
    for &(name, default) in *names {
        let number = match graph.node(node).attr(name) {
            Some(Attr::Float(number)) => *number,
            _ => default,
        };
        let rounded = Tensor::rounded(half, &[], &[number.into()]).ok().and_then(|tensor| tensor.item());
        if let Some(rounded) = rounded {
            graph.set_attr(node, name, Attr::Float(rounded as f32));
        }
    }
}

/// Round in `graph`, which stays float32, what has halves where `is_half` says so of a cell.
pub(super) fn rehearse(graph: &mut Graph, cells: &Cells, is_half: &[bool], fit: &Fit) {
    for (facts, _) in cells.facts.iter().zip(is_half).filter(|(_, is_half)| **is_half) {
        if let Some(node) = facts.node {
            round_attributes(graph, node, fit.half);
        }
    }
    let is_read = |user: &User| cells.reads.get(user).is_some_and(|&reader| is_half[reader]);
    let constants: Vec<ValueId> =
        graph.values().filter(|&v| graph.constant(v).is_some_and(|t| t.dtype() == DType::F32)).collect();
    for value in constants {
        for user in graph.value(value).users().to_vec() {
            let Some(tensor) = graph.constant(value).filter(|_| is_read(&user)) else { continue };
            let half = fit.halved(tensor, fit.role(graph, value, user));
            let Some(float) = half.and_then(|half| widened(&half)) else { continue };
            let (scope, name) = (graph.value(value).scope(), graph.value(value).name.to_string());
            let copy = graph.add_constant(scope, &name, float);
            graph.replace_use(user, copy);
        }
    }
    for (&value, &maker) in &cells.makes {
        let mut users = graph.value(value).users().to_vec();
        if !is_half[maker] {
            users.retain(is_read);
        }
        if !users.is_empty() {
            let rounded = rounded(graph, value, fit.half);
            for user in users {
                graph.replace_use(user, rounded);
            }
        }
    }
    graph.remove_dead();
}

pub(super) fn widened(half: &Tensor) -> Option<Tensor> {
    if let (true, Some(element)) = (half.is_repeated(), half.uniform_real()) {
        let one = Tensor::rounded(DType::F32, &[], &[element]).ok()?;
        return Tensor::splat(DType::F32, half.dims(), &one.element(0)?).ok();
    }
    Tensor::rounded(DType::F32, half.dims(), &half.reals()?).ok()
}

/// `value` rounded to a half.
pub(crate) fn rounded(graph: &mut Graph, value: ValueId, half: DType) -> ValueId {
    if half == DType::F16 {
        let narrow = like(graph, value, OpKind::Cast, &[value], DType::F16);
        return like(graph, value, OpKind::Cast, &[narrow], DType::F32);
    }
    // Few engines have bfloat16. With c = 2¹⁶ + 1, c·x − (c·x − x) is x to its first 8 digits (Veltkamp); what that
    // makes NaN of, infinity and numbers close to it, stays.
    let c = Tensor::rounded(DType::F32, &[], &[65537.0]).expect("float32 is a type that numbers round to");
    let c = graph.add_constant(graph.value(value).scope(), "", c);
    let mut float = |op: OpKind, operands: &[ValueId]| like(graph, value, op, operands, DType::F32);
    let scaled = float(OpKind::Mul, &[value, c]);
    let rest = float(OpKind::Sub, &[scaled, value]);
    let first = float(OpKind::Sub, &[scaled, rest]);
    let is_number = like(graph, value, OpKind::Equal, &[first, first], DType::Bool);
    like(graph, value, OpKind::Where, &[is_number, first, value], DType::F32)
}

/// A call whose result is `like` this value, but for its type.
fn like(graph: &mut Graph, value: ValueId, op: OpKind, operands: &[ValueId], dtype: DType) -> ValueId {
    let order = graph.producer(value).map_or(0, |(node, _)| graph.node(node).order());
    let operands: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
    let node = graph.add_node(graph.value(value).scope(), op, &operands, 1, order);
    if op == OpKind::Cast {
        graph.set_attr(node, "to", i64::from(dtype.code()).into());
    }
    let result = graph.result(node, 0).expect("a node that was made with a result has one");
    let shape = graph.value(value).ty.shape().clone();
    graph.value_mut(result).ty = Type::tensor(dtype, shape);
    result
}
