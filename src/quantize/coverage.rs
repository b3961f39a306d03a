//! How much of a model is computed in integers.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ir::{Graph, Int, Node, NodeId, OpKind, ScopeId, ValueId};
use crate::model::Model;
use crate::ops::{CallView, row_of};

/// How much of a model is computed in integers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Coverage {
    /// Share of the multiply-accumulates that are made of integers, from 0 to 1. `None` where nothing multiplies.
    pub macs: Option<f64>,
    /// Operators that multiply and accumulate integers.
    pub integer: usize,
    /// Operators that multiply and accumulate.
    pub weighted: usize,
    /// Nodes that turn real numbers into integers.
    pub quantize: usize,
    /// Nodes that turn integers into real numbers.
    pub dequantize: usize,
    /// How many of those read each type of integers.
    pub dtypes: BTreeMap<&'static str, usize>,
}

impl Coverage {
    /// Whether the model has integers at all.
    pub fn is_some(&self) -> bool {
        self.integer + self.quantize + self.dequantize > 0
    }
}

/// What a size counts that only a run tells: shares hardly depend on it.
const NOMINAL: i64 = 64;

/// How much of `graph` is computed in integers, bodies included, each once. Shapes have been inferred.
///
/// A multiply-accumulate is one of integers where the operator takes integers, and where every operand that it
/// multiplies comes from a `DequantizeLinear`, with nothing but data movement between: a runtime of integers fuses these.
/// `DequantizeLinear` of a weight alone counts nothing: the product is one of real numbers.
pub fn coverage(graph: &Graph) -> Coverage {
    let mut found = Coverage::default();
    let (mut all, mut integers) = (0f64, 0f64);
    for node in graph.nodes() {
        match kind(graph.node(node)) {
            Some(Link::Quantize) => found.quantize += 1,
            Some(Link::Dequantize) => {
                found.dequantize += 1;
                if let Some(dtype) = CallView::new(graph, node).dtype(0) {
                    *found.dtypes.entry(dtype.name()).or_default() += 1;
                }
            }
            None => {}
        }
        let Some(macs) = macs(graph, node) else { continue };
        let is_integer = is_integer(graph, node);
        found.weighted += 1;
        all += macs;
        if is_integer {
            found.integer += 1;
            integers += macs;
        }
    }
    found.macs = (all > 0.0).then(|| integers / all);
    found
}

/// Multiply-accumulates of `node`, with [`NOMINAL`] for sizes that are open. `None` where it makes none; an operator of
/// integers of which nothing more is known makes 0.
fn macs(graph: &Graph, node: NodeId) -> Option<f64> {
    let n = graph.node(node);
    if n.bodies().next().is_some() {
        // What bodies do counts where it stands.
        return None;
    }
    let count = (row_of(n).macs)(&CallView::new(graph, node));
    let number = count.and_then(|c| c.substitute(&|_| Some(Int::from(NOMINAL)))).and_then(|c| c.known());
    match number {
        Some(0) => None,
        Some(number) => Some(number.max(0) as f64),
        None => (!multiplied(n).is_empty() || takes_integers(n)).then_some(0.0),
    }
}

/// Whether `node`, which multiplies and accumulates, does it with integers.
pub fn is_integer(graph: &Graph, node: NodeId) -> bool {
    let n = graph.node(node);
    let slots = multiplied(n);
    takes_integers(n)
        || !slots.is_empty()
            && slots.iter().all(|&slot| graph.operand(node, slot).is_some_and(|v| is_dequantized(graph, v)))
}

/// The operands that `node` multiplies with each other.
fn multiplied(node: &Node) -> &'static [usize] {
    match node.op {
        OpKind::Conv | OpKind::ConvTranspose | OpKind::Gemm | OpKind::MatMul | OpKind::DeformConv => &[0, 1],
        OpKind::LSTM | OpKind::GRU | OpKind::RNN => &[0, 1, 2],
        OpKind::Einsum => &[0, 1],
        _ => match &node.custom {
            Some(custom) if matches!(&*custom.1, "FusedConv" | "FusedGemm" | "FusedMatMul") => &[0, 1],
            _ => &[],
        },
    }
}

/// Whether `node` multiplies integers as they stand in its operands.
fn takes_integers(node: &Node) -> bool {
    match node.op {
        OpKind::QLinearConv | OpKind::ConvInteger | OpKind::QLinearMatMul | OpKind::MatMulInteger => true,
        _ => node.custom.as_ref().is_some_and(|custom| {
            let name = &*custom.1;
            matches!(name, "QGemm" | "MatMulIntegerToFloat" | "DynamicQuantizeMatMul" | "DynamicQuantizeLSTM")
                || matches!(name, "QLinearConv" | "QLinearConvTranspose" | "QAttention")
        }),
    }
}

/// What stands between real numbers and integers.
enum Link {
    Quantize,
    Dequantize,
}

fn kind(node: &Node) -> Option<Link> {
    let name = node.custom.as_ref().map(|custom| &*custom.1);
    match (node.op, name) {
        (OpKind::QuantizeLinear | OpKind::DynamicQuantizeLinear, _) | (_, Some("QuantizeLinear")) => {
            Some(Link::Quantize)
        }
        (OpKind::DequantizeLinear, _) | (_, Some("DequantizeLinear")) => Some(Link::Dequantize),
        _ => None,
    }
}

/// Values that are looked at, at most, to find where one comes from: nobody moves data about more often.
const MOVES: usize = 64;

/// Whether `value` comes from a `DequantizeLinear`, with nothing but data movement between.
fn is_dequantized(graph: &Graph, value: ValueId) -> bool {
    let mut open = vec![value];
    for _ in 0..MOVES {
        let Some(value) = open.pop() else { return true };
        let Some((node, _)) = graph.producer(value) else { return false };
        let n = graph.node(node);
        if matches!(kind(n), Some(Link::Dequantize)) {
            continue;
        }
        match n.op {
            OpKind::Concat => open.extend(graph.operands(node).flatten()),
            OpKind::Reshape
            | OpKind::Transpose
            | OpKind::Flatten
            | OpKind::Squeeze
            | OpKind::Unsqueeze
            | OpKind::Slice
            | OpKind::Split
            | OpKind::Expand
            | OpKind::Identity
            | OpKind::MaxPool
            | OpKind::Gather
            | OpKind::Tile
            | OpKind::DepthToSpace
            | OpKind::SpaceToDepth => match graph.operand(node, 0) {
                Some(operand) => open.push(operand),
                None => return false,
            },
            _ => return false,
        }
    }
    false
}

/// The nodes of the main graph that compute in integers, in order.
pub fn integer_nodes(model: &Model) -> Vec<NodeId> {
    let mut nodes = model.graph.schedule(ScopeId::MAIN);
    nodes.retain(|&node| is_integer(&model.graph, node));
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::infer_declared;
    use crate::text::parse;

    fn of(body: &str) -> Coverage {
        let text = format!(
            r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,4] x) => (float[n,8] y)
            <float[4,8] w, int8[4,8] q, float s = {{0.1}}, uint8 z = {{3}}, int8 zs = {{0}}> {{ {body} }}"#
        );
        let mut model = parse(&text).unwrap();
        infer_declared(&mut model.graph);
        coverage(&model.graph)
    }

    #[test]
    fn a_product_counts_where_all_its_operands_are_integers() {
        let pair = "i = QuantizeLinear(x, s, z) d = DequantizeLinear(i, s, z)";
        let weight = "dw = DequantizeLinear(q, s, zs)";
        let found = of(&format!("{pair} {weight} y = MatMul(d, dw)"));
        assert_eq!((found.macs, found.integer, found.weighted), (Some(1.0), 1, 1));
        assert_eq!((found.quantize, found.dequantize), (1, 2));
        assert_eq!(found.dtypes.into_iter().collect::<Vec<_>>(), [("int8", 1), ("uint8", 1)]);
        let found = of(&format!("{weight} y = MatMul(x, dw)"));
        assert_eq!((found.macs, found.integer, found.is_some()), (Some(0.0), 0, true));
        let found = of(&format!("{pair} y = MatMul(d, w)"));
        assert_eq!(found.macs, Some(0.0));
        let found = of("y = MatMul(x, w)");
        assert_eq!((found.macs, found.is_some()), (Some(0.0), false));
    }

    #[test]
    fn data_is_followed_where_it_only_moves() {
        let two = "i = QuantizeLinear(x, s, z) d = DequantizeLinear(i, s, z) dw = DequantizeLinear(q, s, zs)";
        let over = |between: &str| of(&format!("{two} {between} y = MatMul(m, dw)")).macs;
        assert_eq!(over("t = Transpose(d) m = Transpose(t)"), Some(1.0));
        assert_eq!(over("a, b = Split<axis = 1, num_outputs = 2>(d) m = Concat<axis = 1>(a, b)"), Some(1.0));
        assert_eq!(over("a, b = Split<axis = 1, num_outputs = 2>(d) e = Neg(b) m = Concat<axis = 1>(a, e)"), Some(0.0));
        assert_eq!(over("m = Sigmoid(d)"), Some(0.0));
    }

    #[test]
    fn operators_of_integers_count_by_themselves() {
        let found = of("i, si, zi = DynamicQuantizeLinear(x) p = MatMulInteger(i, q, zi, zs) y = Cast<to = 1>(p)");
        assert_eq!((found.macs, found.integer, found.quantize), (Some(1.0), 1, 1));
        // Half of the work is a product of real numbers.
        let found = of("i, si, zi = DynamicQuantizeLinear(x) p = MatMulInteger(i, q, zi, zs) f = Cast<to = 1>(p)
            r = MatMul(x, w) y = Add(f, r)");
        assert_eq!((found.macs, found.integer, found.weighted), (Some(0.5), 1, 2));
    }

    #[test]
    fn what_multiplies_nothing_has_no_share() {
        assert_eq!(of("r = Relu(x) y = Concat<axis = 1>(r, r)").macs, None);
    }
}
