//! Calls that tract lacks or misreads, said in other words that mean the same.

mod attention;

use crate::exec::expand::expand;
use crate::ir::{Attr, Graph, NodeId, OpKind, Tensor};

/// Rewrite what tract would refuse or take for something else.
pub(super) fn adapt(graph: &mut Graph) {
    expand(graph);
    let nodes: Vec<NodeId> = graph.nodes().collect();
    for node in nodes {
        match graph.node(node).op {
            OpKind::Attention => attention::part(graph, node),
            OpKind::ConstantOfShape => spell_default_value(graph, node),
            OpKind::Swish => part_swish(graph, node),
            _ => {}
        }
    }
}

/// tract takes the missing value for a float64; ONNX means a float32.
fn spell_default_value(graph: &mut Graph, node: NodeId) {
    if graph.node(node).attr("value").is_none()
        && let Ok(zero) = Tensor::f32s(&[1], &[0.0])
    {
        graph.set_attr(node, "value", zero.into());
    }
}

/// `Swish(x)` is `x · Sigmoid(α · x)`; tract forgets α.
fn part_swish(graph: &mut Graph, node: NodeId) {
    let call = graph.node(node);
    let Some(Attr::Float(alpha)) = call.attr("alpha") else { return };
    let (scope, order, alpha) = (call.scope(), call.order(), f64::from(*alpha));
    let (Some(x), Some(result)) = (graph.operand(node, 0), graph.result(node, 0)) else { return };
    let Some(dtype) = graph.value(x).ty.dtype() else { return };
    let Ok(alpha) = Tensor::rounded(dtype, &[], &[alpha]) else { return };
    let alpha = graph.add_constant(scope, "", alpha);
    let scaled = graph.add_node(scope, OpKind::Mul, &[Some(x), Some(alpha)], 1, order);
    let gate = graph.add_node(scope, OpKind::Sigmoid, &[graph.result(scaled, 0)], 1, order);
    let product = graph.add_node(scope, OpKind::Mul, &[Some(x), graph.result(gate, 0)], 1, order);
    if let Some(new) = graph.result(product, 0) {
        graph.replace(result, new);
        graph.remove_node(node);
    }
}
