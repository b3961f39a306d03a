//! `ReduceMin` of single integers that a `Concat` put side by side is their `Min`, and so is `ReduceMax` their `Max`.

use crate::ir::OpKind::{Concat, Max, Min, ReduceMax, ReduceMin};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call};
use crate::rules::support::parts::operands;
use crate::rules::support::reductions::{KEEPDIMS, reduced};

pub fn rule() -> Rule {
    let (concat, reduce) = (call("concat"), call("reduce"));
    let pattern = any_of(&[ReduceMax, ReduceMin]).on(Concat.any().bind(concat)).bind(reduce);
    Rule::new("turn-reduce-into-min", Exactness::Bitwise, pattern, move |m| {
        let (concat, reduce) = (m.call(concat), m.call(reduce));
        // Floats may be NaN, of which the two say other things.
        applies(reduce.dtype(0).is_some_and(|dtype| dtype.is_integer()) && KEEPDIMS.of(reduce.node()))?;
        applies(reduced(&reduce).is_some_and(|axes| axes == [0]))?;
        let parts = operands(&concat).ok_or(Skip::NotThis)?;
        let one = |slot: usize| concat.dims(slot).is_some_and(|d| d.len() == 1 && d[0].known() == Some(1));
        applies(parts.len() > 1 && (0..parts.len()).all(one))?;
        let op = if reduce.node().op == ReduceMin { Min } else { Max };
        Ok(op.emit(parts.into_iter().map(Expr::from)).named_like(reduce))
    })
}
