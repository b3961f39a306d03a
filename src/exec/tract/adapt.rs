//! Calls that tract lacks or misreads, said in other words that mean the same.

mod attention;
mod parts;
mod rotary;

use std::borrow::Cow;

use crate::ir::{Attr, Graph, NodeId, OpKind, Tensor, ValueId};

/// Rewrite what tract would refuse or take for something else.
pub(super) fn adapt(graph: &mut Graph) {
    let nodes: Vec<NodeId> = graph.nodes().collect();
    for node in nodes {
        match graph.node(node).op {
            OpKind::Attention => attention::part(graph, node),
            OpKind::RotaryEmbedding => rotary::part(graph, node),
            OpKind::ConstantOfShape => spell_default_value(graph, node),
            OpKind::Swish => part_swish(graph, node),
            OpKind::Custom
                if graph.node(node).domain() == "com.microsoft" && graph.node(node).op_name() == "FusedConv" =>
            {
                part_fused_conv(graph, node);
            }
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

/// `FusedConv(x, w, b, z)` is `activation(Conv(x, w, b) + z)`.
fn part_fused_conv(graph: &mut Graph, node: NodeId) {
    let call = graph.node(node);
    let Some(Attr::Str(activation)) = call.attr("activation") else { return };
    let parameters = match call.attr("activation_params") {
        Some(Attr::Floats(p)) => p.clone(),
        _ => Vec::new(),
    };
    let Some((op, attrs)) = activation_call(activation, &parameters) else { return };
    let (scope, order) = (call.scope(), call.order());
    let conv_attrs: Vec<(Cow<'static, str>, Attr)> =
        call.attrs().iter().filter(|(name, _)| !name.starts_with("activation")).cloned().collect();
    let operands: Vec<Option<ValueId>> = graph.operands(node).take(3).collect();
    let (Some(result), addend) = (graph.result(node, 0), graph.operand(node, 3)) else { return };
    let conv = graph.add_node(scope, OpKind::Conv, &operands, 1, order);
    for (name, attr) in conv_attrs {
        graph.set_attr(conv, name, attr);
    }
    let mut value = graph.result(conv, 0);
    if addend.is_some() {
        let sum = graph.add_node(scope, OpKind::Add, &[value, addend], 1, order);
        value = graph.result(sum, 0);
    }
    let mut operands = vec![value];
    if op == OpKind::Clip {
        for bound in &parameters {
            let Ok(bound) = Tensor::f32s(&[], &[*bound]) else { return };
            operands.push(Some(graph.add_constant(scope, "", bound)));
        }
    }
    let last = graph.add_node(scope, op, &operands, 1, order);
    for (name, value) in attrs {
        graph.set_attr(last, name, Attr::Float(value));
    }
    if let Some(new) = graph.result(last, 0) {
        graph.replace(result, new);
        graph.remove_node(node);
    }
}

type Call = (OpKind, Vec<(&'static str, f32)>);

/// The activation called so, with its parameters as attributes.
fn activation_call(name: &[u8], parameters: &[f32]) -> Option<Call> {
    Some(match (name, parameters) {
        (b"Relu", _) => (OpKind::Relu, vec![]),
        (b"Tanh", _) => (OpKind::Tanh, vec![]),
        (b"Sigmoid", _) => (OpKind::Sigmoid, vec![]),
        (b"LeakyRelu", [alpha]) => (OpKind::LeakyRelu, vec![("alpha", *alpha)]),
        (b"HardSigmoid", [alpha, beta]) => (OpKind::HardSigmoid, vec![("alpha", *alpha), ("beta", *beta)]),
        (b"Clip", [_, _]) => (OpKind::Clip, vec![]),
        _ => return None,
    })
}
