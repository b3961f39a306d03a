//! `ReduceMax`, `ReduceMean`, `ReduceMin`, `ReduceProd` and `ReduceSum` over axes of size 1 (or over none) compute
//! nothing: what is left is `x`, or a `Squeeze` where the axes are not kept.
//!
//! Results may differ in the sign of a zero.

use crate::ir::OpKind::{ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum, Squeeze};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call};
use crate::rules::support::axes;
use crate::rules::support::reductions::{KEEPDIMS, reduced};

pub fn rule() -> Rule {
    let reduce = call("reduce");
    let pattern = any_of(&[ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum]).bind(reduce);
    Rule::new("drop-reduce", Exactness::Rounding, pattern, move |m| {
        let call = m.call(reduce);
        let (axes, dims) = (reduced(&call).ok_or(Skip::NotThis)?, call.dims(0).ok_or(Skip::NotThis)?);
        applies(axes.iter().all(|&a| dims[a].known() == Some(1)))?;
        let x: Expr = call.operand(0).into();
        if KEEPDIMS.of(call.node()) || axes.is_empty() {
            return Ok(x);
        }
        Ok(Squeeze.emit([x, axes::operand(&axes).into()]).named_like(call))
    })
}
