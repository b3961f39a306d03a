//! `x · f(x / c)` is `c · (x / c) · f(x / c)`: x itself is not needed any more, and 1 / c becomes part of what makes
//! it.
//!
//! So the Gaussian error linear unit, `x · (1 + erf(x / √2))`, needs no division. Where x is the result of a linear
//! operator with a known weight that nobody else reads, f is 1 plus a function of one operand, and the factor c goes
//! into the known weight of the product that reads the result. Before opset 20, which has `Gelu`.

use crate::ir::OpKind::{Add, Conv, Div, Erf, Gelu, Gemm, MatMul, Mul};
use crate::ir::{Graph, NodeId, Tensor, User, ValueId};
use crate::ops::{CallView, schema};
use crate::rewrite::{Exactness, Rule, Skip, applies, call, constant, exactly, var};
use crate::rules::support::linear::Linear;
use crate::rules::support::readers::only_read_by;

pub fn rule() -> Rule {
    let (x, scaled, c) = (var("x"), call("scaled"), constant("c"));
    let argument = Div.of((x, c)).bind(scaled).or(Mul.of((x, c)).bind(scaled));
    let pattern = Mul.of((x, Add.of((Erf.of(argument), exactly(1.0)))));
    Rule::new("reuse-scaled", Exactness::Rounding, pattern, move |m| {
        let (graph, scaled, root) = (m.graph(), m.call(scaled), m.root());
        let opset = u32::try_from(m.opset()).unwrap_or(1);
        applies(schema::lookup("", Gelu.name(), opset).is_none())?;
        let factor = m[c].item().filter(|c| c.is_normal() && c.abs() > 1e-3 && c.abs() < 1e3).ok_or(Skip::NotThis)?;
        let factor = if scaled.node().op == Div { factor } else { factor.recip() };
        applies(m[c].rank() == 0 || m.shape(x).surely_equals(m.root_shape()))?;
        let divided = graph.result(scaled.id(), 0).ok_or(Skip::NotThis)?;
        let between = |user: &User| matches!(user, User::Node(n, _) if *n == root.id() || *n == scaled.id());
        applies(graph.value(m[x]).users().iter().all(between) && is_folded_into(graph, m[x]))?;
        let result = graph.result(root.id(), 0).ok_or(Skip::NotThis)?;
        applies(is_folded_forward(graph, result))?;
        let slot = usize::from(root.operand(0) == Some(m[x]));
        let product = Mul.emit([divided.into(), root.operand(slot).into()]).named_like(root);
        let factor = Tensor::rounded(m[c].dtype(), &[], &[factor]).map_err(|_| Skip::NotThis)?;
        Ok(Mul.emit([product, factor.into()]))
    })
    .even_if_shared()
}

/// Whether a factor of `value` goes into the weight that makes it.
fn is_folded_into(graph: &Graph, value: ValueId) -> bool {
    let Some((node, 0)) = graph.producer(value) else { return false };
    let call = CallView::new(graph, node);
    if call.node().op != Add {
        return is_own(&call);
    }
    let slot = usize::from(call.constant(0).is_some());
    let sum = call.constant(1 - slot).is_some();
    let product = call.operand(slot).and_then(|v| Some((v, graph.producer(v)?.0)));
    sum && product.is_some_and(|(v, product)| {
        graph.node(product).op == MatMul && only_read_by(graph, v, node) && is_own(&CallView::new(graph, product))
    })
}

/// Whether the one reader of `value` takes a factor up.
fn is_folded_forward(graph: &Graph, value: ValueId) -> bool {
    let &[User::Node(reader, 0)] = graph.value(value).users() else { return false };
    is_reader(graph, reader)
}

fn is_reader(graph: &Graph, reader: NodeId) -> bool {
    [MatMul, Gemm, Conv].contains(&graph.node(reader).op) && is_own(&CallView::new(graph, reader))
}

/// Whether a call is linear with a weight that nobody else reads.
fn is_own(call: &CallView<'_>) -> bool {
    let own = call.operand(1).is_some_and(|w| only_read_by(call.graph(), w, call.id()));
    own && Linear::read(*call).is_ok()
}
