//! A `DequantizeLinear` of uint8 with a zero point of 128 is one of int8 with a zero point of 0, 128 less everywhere.
//!
//! What it reads is a constant, or made by a `QuantizeLinear` with the same zero point.
//!
//! Declines for other zero points: the ranges would not fit.

use crate::ir::OpKind::{DequantizeLinear, QuantizeLinear};
use crate::ir::{DType, Tensor};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, require};
use crate::rules::support::quantized::lowered_by_128;

pub fn rule() -> Rule {
    Rule::new("lower-unsigned-quantization", Exactness::Bitwise, DequantizeLinear.any(), |m| {
        let root = m.root();
        applies(root.dtype(0) == Some(DType::U8))?;
        let middle = |call: &CallView<'_>| call.constant(2).is_some_and(|t| t.uniform_real() == Some(128.0));
        require(middle(&root), "its zero point is not 128")?;
        let zero = |call: &CallView<'_>| call.constant(2).and_then(lowered_by_128).ok_or(Skip::NotThis);
        let x = match root.constant(0) {
            Some(weight) => lowered_by_128(weight).map(Expr::Constant).ok_or(Skip::NotThis)?,
            None => {
                let producer = root.operand(0).and_then(|v| m.graph().producer(v)).ok_or(Skip::NotThis)?;
                let made = CallView::new(m.graph(), producer.0);
                require(made.node().op == QuantizeLinear && middle(&made), "what it reads is not just quantized")?;
                let same: Tensor = zero(&made)?;
                let call = QuantizeLinear.emit([made.operand(0).into(), made.operand(1).into(), same.into()]);
                call.like(made).without("output_dtype")
            }
        };
        Ok(DequantizeLinear.emit([x, root.operand(1).into(), zero(&root)?.into()]).like(root))
    })
}
