//! Calls that tract lacks or misreads, said in other words that mean the same.

mod attention;
mod gemm;
mod parts;
mod rotary;

use crate::exec::expand::expand;
use crate::ir::{Attr, DType, Graph, Key, NodeId, OpKind, ScopeId, Tensor, User, ValueId};
use crate::ops::CallView;
use crate::ops::matmul::{Equation, Label};
use crate::ops::shape::TO;

/// Rewrite what tract would refuse or take for something else.
pub(super) fn adapt(graph: &mut Graph) {
    expand(graph);
    let nodes: Vec<NodeId> = graph.nodes().collect();
    for node in nodes {
        match graph.node(node).op {
            OpKind::Attention => attention::part(graph, node),
            OpKind::Gemm => gemm::part(graph, node),
            OpKind::RotaryEmbedding => rotary::part(graph, node),
            OpKind::Cast => drop_cast(graph, node),
            OpKind::ConstantOfShape => spell_default_value(graph, node),
            OpKind::Einsum => spell_ellipses(graph, node),
            OpKind::LSTM | OpKind::GRU | OpKind::RNN => run_forward(graph, node),
            OpKind::Swish => part_swish(graph, node),
            OpKind::Celu => part_celu(graph, node),
            OpKind::GlobalLpPool => spell_norm(graph, node),
            OpKind::Softmax | OpKind::LogSoftmax => stand_apart(graph, node),
            _ => {}
        }
    }
}

/// Behind a `Cast` of int64 to int64 tract takes the largest number, as the end of a `Slice`, for another.
fn drop_cast(graph: &mut Graph, node: NodeId) {
    let (Some(x), Some(y)) = (graph.operand(node, 0), graph.result(node, 0)) else { return };
    let to = i32::try_from(TO.of(graph.node(node))).ok().and_then(DType::from_code);
    let inner = graph.value(y).users().iter().all(|user| matches!(user, User::Node(..)));
    if to.is_some() && graph.value(x).ty.dtype() == to && inner {
        graph.replace(y, x);
        graph.remove_node(node);
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

/// tract runs a network forward that is to run in reverse: the sequence and what is made of it are turned around.
fn run_forward(graph: &mut Graph, node: NodeId) {
    const DIRECTION: Key<&str> = Key::new("direction", "forward");
    const LAYOUT: Key<i64> = Key::new("layout", 0);
    let call = graph.node(node);
    let lengths = graph.operand(node, 4).is_some();
    if DIRECTION.of(call) != "reverse" || LAYOUT.of(call) != 0 || lengths {
        return;
    }
    let (op, attrs, scope, order) = (call.op, call.attrs().to_vec(), call.scope(), call.order());
    let mut operands: Vec<Option<ValueId>> = graph.operands(node).collect();
    let results: Vec<Option<ValueId>> = graph.results(node).to_vec();
    let Some(Some(x)) = operands.first().copied() else { return };
    operands[0] = turned_around(graph, x, scope, order);
    let forward = graph.add_node(scope, op, &operands, results.len(), order);
    for (name, attr) in attrs {
        graph.set_attr(forward, name, attr);
    }
    graph.set_attr(forward, "direction", "forward".into());
    for (slot, old) in results.into_iter().enumerate() {
        let new = graph.result(forward, slot);
        // Only what is given of every step is in order.
        let new = if slot == 0 { new.and_then(|y| turned_around(graph, y, scope, order)) } else { new };
        if let (Some(old), Some(new)) = (old, new) {
            graph.replace(old, new);
        }
    }
    graph.remove_node(node);
}

/// `value` with the last along its first axis first.
fn turned_around(graph: &mut Graph, value: ValueId, scope: ScopeId, order: u32) -> Option<ValueId> {
    let bounds = [-1, i64::from(i32::MIN), 0, -1].map(|n| graph.add_constant(scope, "", Tensor::vector(&[n])));
    let operands: Vec<Option<ValueId>> = std::iter::once(value).chain(bounds).map(Some).collect();
    let slice = graph.add_node(scope, OpKind::Slice, &operands, 1, order);
    graph.result(slice, 0)
}

/// tract takes an ellipsis for one axis; letters say how many there are.
fn spell_ellipses(graph: &mut Graph, node: NodeId) {
    const EQUATION: Key<&str> = Key::new("equation", "");
    let given = EQUATION.of(graph.node(node));
    let Some(equation) = Equation::of(&CallView::new(graph, node)).filter(|_| given.contains("...")) else { return };
    let unused: Vec<char> = ('a'..='z').chain('A'..='Z').filter(|c| !given.contains(*c)).collect();
    let spelled = |labels: &Vec<Label>| -> Option<String> {
        let letter = |label: &Label| match *label {
            Label::Letter(byte) => Some(char::from(byte)),
            Label::Ellipsis(axis) => unused.get(axis).copied(),
        };
        labels.iter().map(letter).collect()
    };
    let terms: Option<Vec<String>> = equation.terms.iter().map(spelled).collect();
    if let (Some(terms), Some(result)) = (terms, spelled(&equation.result)) {
        let text = format!("{}->{result}", terms.join(","));
        graph.set_attr(node, "equation", text.as_str().into());
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

/// `Celu(x)` is `α · Elu(x / α)`; tract forgets the factor.
fn part_celu(graph: &mut Graph, node: NodeId) {
    let call = graph.node(node);
    let Some(Attr::Float(alpha)) = call.attr("alpha") else { return };
    let (scope, order, alpha) = (call.scope(), call.order(), f64::from(*alpha));
    let (Some(x), Some(result)) = (graph.operand(node, 0), graph.result(node, 0)) else { return };
    let Some(dtype) = graph.value(x).ty.dtype().filter(|_| alpha > 0.0) else { return };
    let Ok(alpha) = Tensor::rounded(dtype, &[], &[alpha]) else { return };
    let alpha = graph.add_constant(scope, "", alpha);
    let scaled = graph.add_node(scope, OpKind::Div, &[Some(x), Some(alpha)], 1, order);
    let bent = graph.add_node(scope, OpKind::Elu, &[graph.result(scaled, 0)], 1, order);
    let product = graph.add_node(scope, OpKind::Mul, &[graph.result(bent, 0), Some(alpha)], 1, order);
    if let Some(new) = graph.result(product, 0) {
        graph.replace(result, new);
        graph.remove_node(node);
    }
}

/// `GlobalLpPool` is a norm over the axes behind the channels; tract takes the mean of powers of signed numbers.
fn spell_norm(graph: &mut Graph, node: NodeId) {
    let norm = match graph.node(node).attr("p") {
        Some(Attr::Int(1)) => OpKind::ReduceL1,
        Some(Attr::Int(2)) | None => OpKind::ReduceL2,
        _ => return,
    };
    let (Some(x), Some(result)) = (graph.operand(node, 0), graph.result(node, 0)) else { return };
    let Some(rank) = graph.value(x).ty.shape().rank().and_then(|r| i64::try_from(r).ok()) else { return };
    let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
    let axes = graph.add_constant(scope, "", Tensor::vector(&(2..rank).collect::<Vec<_>>()));
    let reduced = graph.add_node(scope, norm, &[Some(x), Some(axes)], 1, order);
    if let Some(new) = graph.result(reduced, 0) {
        graph.replace(result, new);
        graph.remove_node(node);
    }
}

/// tract makes a table of 256 results of what stands between a `DequantizeLinear` and a `QuantizeLinear`, as if each
/// element were computed by itself. The largest of a result and itself, which has two ways to it, ends the table.
fn stand_apart(graph: &mut Graph, node: NodeId) {
    let Some(result) = graph.result(node, 0) else { return };
    let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
    let is_quantized = |user: &&User| match user {
        User::Node(reader, 0) => graph.node(*reader).op == OpKind::QuantizeLinear,
        _ => false,
    };
    let users: Vec<User> = graph.value(result).users().iter().filter(is_quantized).copied().collect();
    if users.is_empty() {
        return;
    }
    let same = graph.add_node(scope, OpKind::Max, &[Some(result), Some(result)], 1, order);
    if let Some(same) = graph.result(same, 0) {
        graph.value_mut(same).ty = graph.value(result).ty.clone();
        for user in users {
            graph.replace_use(user, same);
        }
    }
}
