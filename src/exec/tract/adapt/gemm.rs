//! `Gemm` of float64 as a product and a sum: tract takes its factors for float32.

use super::parts::Parts;
use crate::ir::OpKind::{Add, MatMul, Mul, Transpose};
use crate::ir::{Attr, DType, Graph, NodeId, Tensor, ValueId};
use crate::ops::matmul::{ALPHA, BETA, TRANS_A, TRANS_B};

/// Part a call of float64.
pub(super) fn part(graph: &mut Graph, node: NodeId) {
    let wide = graph.operand(node, 0).and_then(|v| graph.value(v).ty.dtype()) == Some(DType::F64);
    let Some(result) = graph.result(node, 0).filter(|_| wide) else { return };
    let call = graph.node(node);
    let factors = [ALPHA.of(call), BETA.of(call)];
    let turned = [TRANS_A.of(call), TRANS_B.of(call)];
    let mut parts = Parts::of(graph, node);
    if let Some(y) = spelled(&mut parts, node, factors, turned) {
        graph.replace(result, y);
        graph.remove_node(node);
    }
}

fn spelled(parts: &mut Parts<'_>, node: NodeId, factors: [f32; 2], turned: [bool; 2]) -> Option<ValueId> {
    let [a, b, c] = [0, 1, 2].map(|slot| parts.graph.operand(node, slot));
    let mut turn = |x: ValueId, is_turned: bool| match is_turned {
        true => parts.call(Transpose, &[x], &[("perm", Attr::Ints([1, 0].into()))]),
        false => Some(x),
    };
    let (a, b) = (turn(a?, turned[0])?, turn(b?, turned[1])?);
    let product = parts.call(MatMul, &[a, b], &[])?;
    let product = times(parts, product, factors[0])?;
    let Some(c) = c else { return Some(product) };
    let added = times(parts, c, factors[1])?;
    parts.call(Add, &[product, added], &[])
}

fn times(parts: &mut Parts<'_>, x: ValueId, factor: f32) -> Option<ValueId> {
    if factor == 1.0 {
        return Some(x);
    }
    let factor = parts.constant(Tensor::rounded(DType::F64, &[], &[factor.into()]).ok()?);
    parts.call(Mul, &[x, factor], &[])
}
