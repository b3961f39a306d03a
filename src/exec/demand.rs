//! What a run will take, told from shapes before anything runs: engines find out by asking for the memory.

use crate::ir::{Graph, Int, NodeId, ScopeId, Shape, Tensor, Type};
use crate::model::Model;
use crate::ops::infer_node;

/// Copies of the weights that an engine may hold: as they came, and as it packs them.
const COPIES: u128 = 2;

/// Bytes that running `model` on `inputs` takes at the least: its weights, and what the largest call reads and makes.
///
/// Sizes that only a run tells count nothing, nor does what bodies do.
pub(super) fn memory(model: &Model, inputs: &[(String, Tensor)]) -> u128 {
    let graph = run_of(model, inputs);
    let largest = graph.nodes().map(|n| of_call(&graph, n)).max().unwrap_or(0);
    weights(&graph) + largest
}

/// Bytes that an engine takes for the constants of `graph`.
pub(crate) fn weights(graph: &Graph) -> u128 {
    // Engines spell splats out.
    let bytes = |t: &Tensor| t.dtype().byte_len(t.len()).unwrap_or(0) as u128;
    COPIES * graph.values().filter_map(|v| graph.constant(v)).map(bytes).sum::<u128>()
}

/// The graph of `model` with the shapes that its tensors have in a run on `inputs`, as far as shapes tell.
pub(crate) fn run_of(model: &Model, inputs: &[(String, Tensor)]) -> Graph {
    let mut graph = model.graph.clone();
    for input in graph.scope(ScopeId::MAIN).inputs().to_vec() {
        let value = graph.value_mut(input);
        if let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == *value.name) {
            value.ty = Type::tensor(tensor.dtype(), Shape::known(tensor.dims()));
        }
    }
    for node in graph.schedule(ScopeId::MAIN) {
        infer_node(&mut graph, node);
    }
    graph
}

/// Bytes of the operands and results of one call.
pub(super) fn of_call(graph: &Graph, node: NodeId) -> u128 {
    let values = graph.operands(node).chain(graph.results(node).iter().copied()).flatten();
    values.map(|v| of_type(&graph.value(v).ty).unwrap_or(0)).fold(0, u128::saturating_add)
}

/// Bytes of a tensor of this type, where its sizes are numbers.
pub(crate) fn of_type(ty: &Type) -> Option<u128> {
    let bits = ty.dtype()?.bits() as u128;
    let sizes = ty.shape().dims()?.iter().map(Int::known);
    let elements = sizes.map(|d| u128::try_from(d?).ok()).try_fold(1u128, |n, d| Some(n.saturating_mul(d?)))?;
    Some(elements.saturating_mul(bits) / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn weights_and_the_largest_call_count() {
        let model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n,4] x) => (float[n,8] y) <float[4,8] w>
            { z = MatMul(x, w)
              y = Relu(z) }"#,
        )
        .unwrap();
        let x = [("x".to_string(), Tensor::f32s(&[100, 4], &[0.0; 400]).unwrap())];
        // Twice the weight; x, w and z of the MatMul, then z and y of the Relu.
        assert_eq!(memory(&model, &x), 2 * 128 + 2 * 3200);
    }

    #[test]
    fn sizes_beyond_any_machine_are_told() {
        let model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n] x) => (float[m] y) <int64[4] wide = {4611686018427387904, 4, 4, 1}>
            { y = Expand(x, wide) }"#,
        )
        .unwrap();
        assert!(memory(&model, &[("x".to_string(), Tensor::f32s(&[1], &[0.0]).unwrap())]) > 1 << 64);
    }
}
