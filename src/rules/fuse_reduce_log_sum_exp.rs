//! The logarithm of a sum of exponentials, `log Σ exp(x)`, is `ReduceLogSumExp`, which does not overflow where the
//! exponentials do; so is `log Σ exp(x - max(x)) + max(x)`. For floats, over constant axes.
//!
//! Declines where something on the way is also read elsewhere.

use crate::ir::OpKind::{Add, Exp, Log, ReduceLogSum, ReduceLogSumExp, ReduceMax, ReduceSum};
use crate::rewrite::{Exactness, Rule, any_of, applies, call, var};
use crate::rules::support::reductions::{KEEPDIMS, reduced, retold};

pub fn rule() -> Rule {
    let (x, sum, max) = (var("x"), call("sum"), call("max"));
    let exponentials = Log.of(ReduceSum.any().on(Exp.of(x)).bind(sum)).or(ReduceLogSum.any().on(Exp.of(x)).bind(sum));
    let largest = || ReduceMax.any().on(x).bind(max);
    let shifted = any_of(&[ReduceLogSumExp]).on(x - largest()).bind(sum) + largest();
    let pattern = exponentials.or(shifted);
    Rule::new("fuse-reduce-log-sum-exp", Exactness::Rounding, pattern, move |m| {
        let sum = m.call(sum);
        if m.root().node().op == Add {
            let max = m.call(max);
            let (over, of) = (reduced(&sum), reduced(&max));
            applies(over.is_some() && over == of && KEEPDIMS.of(sum.node()) && KEEPDIMS.of(max.node()))?;
        }
        retold(ReduceLogSumExp, m[x], &sum)
    })
}
