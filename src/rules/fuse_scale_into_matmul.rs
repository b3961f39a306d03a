//! A `MatMul` and a number that it is multiplied by or divided by is one `FusedMatMul`, for targets that have that.
//!
//! Of single precision, as there is a kernel for no other. Declines where the product is also read elsewhere.

use crate::ir::OpKind::{Custom, Div, MatMul, Mul};
use crate::ir::{DType, Key};
use crate::ops::CallView;
use crate::rewrite::{CONTRIB, Exactness, Rule, Skip, any_of, applies, contrib};
use crate::rules::support::attention::scaled;
use crate::rules::support::readers::only_read_by;

const ALPHA: Key<f32> = Key::new("alpha", 1.0);

pub fn rule() -> Rule {
    Rule::new("fuse-scale-into-matmul", Exactness::Rounding, any_of(&[Mul, Div]), |m| {
        let (graph, root) = (m.graph(), m.root());
        let (value, scale) = scaled(&root).ok_or(Skip::NotThis)?;
        let (node, _) = graph.producer(value).filter(|(_, slot)| *slot == 0).ok_or(Skip::NotThis)?;
        let product = CallView::new(graph, node);
        applies(is_product(&product) && product.dtype(0) == Some(DType::F32))?;
        if !only_read_by(graph, value, root.id()) {
            return Err(Skip::InnerResultShared);
        }
        let scale = (scale * f64::from(ALPHA.of(product.node()))) as f32;
        applies(scale.is_normal())?;
        let operands = [0, 1].map(|slot| product.operand(slot).into());
        Ok(contrib("FusedMatMul", operands).like(product).with("alpha", scale))
    })
    .for_contrib("FusedMatMul")
}

fn is_product(call: &CallView<'_>) -> bool {
    let node = call.node();
    node.op == MatMul || node.op == Custom && (node.domain(), node.op_name()) == (CONTRIB, "FusedMatMul")
}
