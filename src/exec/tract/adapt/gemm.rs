//! `Gemm` of float64 or float16 as a product and a sum: tract takes its factors for float32.

use super::parts::Parts;
use crate::ir::OpKind::{Add, MatMul, Mul, Transpose};
use crate::ir::{Attr, DType, Graph, NodeId, Tensor, ValueId};
use crate::ops::matmul::{ALPHA, BETA, TRANS_A, TRANS_B};

/// Part a call of another type than float32.
pub(super) fn part(graph: &mut Graph, node: NodeId) {
    let dtype = graph.operand(node, 0).and_then(|v| graph.value(v).ty.dtype());
    let Some(dtype) = dtype.filter(|d| matches!(d, DType::F64 | DType::F16)) else { return };
    let Some(result) = graph.result(node, 0) else { return };
    let call = graph.node(node);
    let factors = [ALPHA.of(call), BETA.of(call)];
    let turned = [TRANS_A.of(call), TRANS_B.of(call)];
    let mut parts = Parts::of(graph, node);
    if let Some(y) = spelled(&mut parts, node, dtype, factors, turned) {
        graph.replace(result, y);
        graph.remove_node(node);
    }
}

fn spelled(parts: &mut Parts<'_>, node: NodeId, dtype: DType, factors: [f32; 2], turned: [bool; 2]) -> Option<ValueId> {
    let [a, b, c] = [0, 1, 2].map(|slot| parts.graph.operand(node, slot));
    let mut turn = |x: ValueId, is_turned: bool| match is_turned {
        true => parts.call(Transpose, &[x], &[("perm", Attr::Ints([1, 0].into()))]),
        false => Some(x),
    };
    let (a, b) = (turn(a?, turned[0])?, turn(b?, turned[1])?);
    let product = parts.call(MatMul, &[a, b], &[])?;
    let product = times(parts, product, dtype, factors[0])?;
    let Some(c) = c else { return Some(product) };
    let added = times(parts, c, dtype, factors[1])?;
    parts.call(Add, &[product, added], &[])
}

fn times(parts: &mut Parts<'_>, x: ValueId, dtype: DType, factor: f32) -> Option<ValueId> {
    if factor == 1.0 {
        return Some(x);
    }
    let factor = parts.constant(Tensor::rounded(dtype, &[], &[factor.into()]).ok()?);
    parts.call(Mul, &[x, factor], &[])
}
