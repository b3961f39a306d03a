//! Several `MatMul` of one value by known matrices are one, by the matrices side by side, and a `Split`: so queries,
//! keys and values come of one product. What is added to each, a known vector, is added to all at once.
//!
//! Where that makes fewer nodes: from two products with additions on, and from three without. Declines where a weight is
//! also read elsewhere, as it would be stored twice, and where the weights are large: each product then has enough to do
//! by itself, and what is mapped from a file would have to be copied.

use crate::ir::OpKind::{Add, MatMul, Split};
use crate::ir::{Attr, NodeId, Tensor, User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies, call, require};
use crate::rules::support::layout::side_by_side;
use crate::rules::support::numbers::is_foldable_float;
use crate::rules::support::readers::{MOST_READERS, only_read_by};

/// Bytes of all weights together.
const LARGE: usize = 8 << 20;

pub fn rule() -> Rule {
    let matmul = call("matmul");
    let pattern = MatMul.any().bind(matmul);
    let name = "merge-parallel-matmuls";
    Rule::new(name, Exactness::Rounding, pattern, move |m| -> Result<Replacement, Skip> {
        let (graph, root) = (m.graph(), m.call(matmul));
        let x = root.operand(0).ok_or(Skip::NotThis)?;
        let first = Product::of(&root).ok_or(Skip::NotThis)?;
        let rank = root.rank(0).ok_or(Skip::NotThis)?;
        applies(rank >= 2 && graph.value(x).users().len() <= MOST_READERS)?;
        let mut products = Vec::new();
        for user in graph.value(x).users() {
            let &User::Node(node, 0) = user else { continue };
            let call = CallView::new(graph, node);
            if node != root.id() && (call.node().op != MatMul || call.node().scope() != root.node().scope()) {
                continue;
            }
            let Some(product) = Product::of(&call) else { continue };
            let alike = product.bias.is_some() == first.bias.is_some() && product.weight.dtype() == first.weight.dtype();
            if alike && product.weight.dims()[0] == first.weight.dims()[0] {
                products.push(product);
            }
        }
        products.sort_by_key(|p| graph.node(p.call).order());
        let least = if first.bias.is_some() { 2 } else { 3 };
        // The first of them stands for all.
        applies(products.len() >= least && products.first().is_some_and(|p| p.call == root.id()))?;
        let own = |p: &Product<'_>| graph.operand(p.call, 1).is_some_and(|w| only_read_by(graph, w, p.call));
        require(products.iter().all(own), "a weight is shared with another node")?;
        let bytes: usize = products.iter().map(|p| p.weight.stored_bytes()).sum();
        require(bytes <= LARGE, "the weights are larger than 8 MB")?;
        let weights: Vec<&Tensor> = products.iter().map(|p| p.weight).collect();
        let biases: Option<Vec<&Tensor>> = products.iter().map(|p| p.bias).collect();
        let weight = side_by_side(&weights).ok_or(Skip::NotThis)?;
        let mut all = MatMul.emit([x.into(), weight.into()]).named_like(root);
        if let Some(biases) = biases {
            all = Add.emit([all, side_by_side(&biases).ok_or(Skip::NotThis)?.into()]);
        }
        let sizes: Option<Vec<i64>> = weights.iter().map(|w| i64::try_from(w.dims()[1]).ok()).collect();
        let sizes = Tensor::vector(&sizes.ok_or(Skip::NotThis)?);
        let axis = i64::try_from(rank - 1).map_err(|_| Skip::NotThis)?;
        let parts = Split.emit([all, sizes.into()]).with("axis", Attr::Int(axis)).results(products.len());
        let pairs: Vec<(ValueId, Expr)> = products.iter().map(|p| p.result).zip(parts).collect();
        Ok(Replacement::of_values(pairs))
    })
    .even_if_shared()
}

/// A product by a known matrix and what is added to it.
struct Product<'g> {
    call: NodeId,
    weight: &'g Tensor,
    bias: Option<&'g Tensor>,
    result: ValueId,
}

impl<'g> Product<'g> {
    fn of(call: &CallView<'g>) -> Option<Product<'g>> {
        let graph = call.graph();
        let weight = call.constant(1).filter(|w| w.rank() == 2 && is_foldable_float(w.dtype()))?;
        let result = graph.result(call.id(), 0)?;
        let plain = Product { call: call.id(), weight, bias: None, result };
        let &[User::Node(reader, _)] = graph.value(result).users() else { return Some(plain) };
        let sum = CallView::new(graph, reader);
        let same_scope = sum.node().scope() == call.node().scope();
        let bias = (0..2).find_map(|slot| sum.constant(slot)).filter(|b| b.dims() == &weight.dims()[1..]);
        let (Add, true, Some(bias)) = (sum.node().op, same_scope, bias) else { return Some(plain) };
        Some(Product { bias: Some(bias), result: graph.result(reader, 0)?, ..plain })
    }
}
