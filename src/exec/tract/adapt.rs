//! Calls that tract lacks or misreads, said in other words that mean the same.

mod attention;

use crate::ir::{Attr, Graph, NodeId, OpKind, Tensor};
use crate::ops::schema::NEWEST_OPSET;
use crate::rewrite::{Fuel, Growth, Settings, apply};
use crate::rules::expand;

/// Rewrite what tract would refuse or take for something else.
pub(super) fn adapt(graph: &mut Graph) {
    if graph.nodes().any(|n| graph.node(n).op == OpKind::Custom) {
        expand(graph);
    }
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

/// What only ONNX Runtime has, in ONNX's own words.
fn expand(graph: &mut Graph) {
    let (rules, fuel, growth) = (expand::all(), Fuel::unlimited(), Growth::of(usize::MAX / 2));
    growth.measure(graph);
    let settings = Settings { opset: NEWEST_OPSET.into(), avoids: &[], contrib: &[], fuel: &fuel, growth: &growth };
    // What does not settle is refused as it stands.
    let _ = apply(graph, &rules.iter().collect::<Vec<_>>(), settings);
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
