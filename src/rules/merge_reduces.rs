//! Two reductions of a kind in a row, both keeping their axes or both not, are one over the axes of both.
//!
//! `ReduceL1`, `ReduceMax`, `ReduceMin`, `ReduceProd` and `ReduceSum`; for floats also `ReduceL2`, `ReduceLogSumExp` and
//! `ReduceMean`, which round integers in between.

use crate::ir::OpKind::{ReduceL1, ReduceL2, ReduceLogSumExp, ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum};
use crate::ir::{DType, OpKind};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};
use crate::rules::support::axes;
use crate::rules::support::reductions::{KEEPDIMS, reduced};

const KINDS: &[OpKind] =
    &[ReduceL1, ReduceL2, ReduceLogSumExp, ReduceMax, ReduceMean, ReduceMin, ReduceProd, ReduceSum];

pub fn rule() -> Rule {
    let (inner, outer) = (call("inner"), call("outer"));
    let pattern = any_of(KINDS).on(any_of(KINDS).bind(inner)).bind(outer);
    Rule::new("merge-reduces", Exactness::Rounding, pattern, move |m| {
        let (inner, outer) = (m.call(inner), m.call(outer));
        applies(inner.node().op == outer.node().op)?;
        let rounds = matches!(outer.node().op, ReduceL2 | ReduceLogSumExp | ReduceMean);
        applies(!rounds || inner.dtype(0).is_some_and(DType::is_float))?;
        let keeps = KEEPDIMS.of(inner.node());
        applies(keeps == KEEPDIMS.of(outer.node()))?;
        let (mut all, second) = (reduced(&inner).ok_or(Skip::NotThis)?, reduced(&outer).ok_or(Skip::NotThis)?);
        let rank = inner.rank(0).ok_or(Skip::NotThis)?;
        let left: Vec<usize> = (0..rank).filter(|a| keeps || !all.contains(a)).collect();
        for axis in second {
            let axis = *left.get(axis).ok_or(Skip::NotThis)?;
            // An axis of size 1 that the first has kept is reduced twice.
            if !all.contains(&axis) {
                all.push(axis);
            }
        }
        applies(!all.is_empty())?;
        all.sort_unstable();
        let x = inner.operand(0).into();
        Ok(outer.node().op.emit([x, axes::operand(&all).into()]).like(outer).without("noop_with_empty_axes"))
    })
}
