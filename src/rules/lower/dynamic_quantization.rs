//! A `MatMulInteger` or `ConvInteger` of what `DynamicQuantizeLinear` made, cast and multiplied by the scales, is a
//! `MatMul` or `Conv` of what was quantized.
//!
//! The activations are not rounded any more, so that results come closer to those of the model before it was quantized.
//!
//! Declines where the integers are read by anything but this cast and product, where the weight, its scale or its zero
//! point are computed, and where a scale is not one number or one per column.

use crate::ir::OpKind::{Cast, Conv, ConvInteger, DynamicQuantizeLinear, MatMul, MatMulInteger, Mul};
use crate::ir::{Tensor, User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Replacement, Rule, Skip, any_of, applies, require};
use crate::rules::support::quantized::weight;

pub fn rule() -> Rule {
    let pattern = any_of(&[MatMulInteger, ConvInteger]);
    Rule::new("lower-dynamic-quantization", Exactness::Approximate, pattern, |m| {
        let root = m.root();
        let graph = m.graph();
        let made = |value: Option<ValueId>, slot: usize| {
            let (node, from) = graph.producer(value?)?;
            (from == slot && graph.node(node).op == DynamicQuantizeLinear).then(|| CallView::new(graph, node))
        };
        let quantized = made(root.operand(0), 0).ok_or(Skip::NotThis)?;
        applies(made(root.operand(2), 2).is_some_and(|call| call.id() == quantized.id()))?;
        let only = |value: Option<ValueId>| -> Result<CallView<'_>, Skip> {
            match graph.value(value.ok_or(Skip::NotThis)?).users() {
                [User::Node(node, _)] => Ok(CallView::new(graph, *node)),
                _ => Err(Skip::InnerResultShared),
            }
        };
        let read = "the integers are read by anything but a cast and a product";
        let cast = only(graph.result(root.id(), 0))?;
        require(cast.node().op == Cast && cast.node().scope() == root.node().scope(), read)?;
        let product = only(graph.result(cast.id(), 0))?;
        require(product.node().op == Mul && product.node().scope() == root.node().scope(), read)?;
        let integers = graph.result(cast.id(), 0);
        let scales = (0..2).find(|&slot| product.operand(slot) != integers);
        let scales = scales.and_then(|slot| product.operand(slot)).and_then(|v| graph.producer(v));
        let scales = scales.map(|(node, _)| CallView::new(graph, node)).filter(|call| call.node().op == Mul);
        let scales = scales.ok_or(Skip::Unsuitable(read))?;
        let own = (0..2).find(|&slot| made(scales.operand(slot), 1).is_some_and(|call| call.id() == quantized.id()));
        let other = own.map(|slot| 1 - slot).ok_or(Skip::Unsuitable(read))?;
        let scale: &Tensor = scales.constant(other).ok_or(Skip::Unsuitable("the scale of its weight is computed"))?;
        let x = quantized.operand(0).into();
        let y = match root.node().op {
            MatMulInteger => MatMul.emit([x, weight(&root, [1, 3], scale, None)?]).named_like(product),
            _ => Conv.emit([x, weight(&root, [1, 3], scale, Some(0))?]).like(root),
        };
        let result = graph.result(product.id(), 0).ok_or(Skip::NotThis)?;
        Ok(Replacement::of_values([(result, y)]))
    })
    .even_if_shared()
}
