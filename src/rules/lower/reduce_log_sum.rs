//! `ReduceLogSum(x)` is `Log(ReduceSum(x))`.

use crate::ir::OpKind::{Log, ReduceLogSum, ReduceSum};
use crate::rewrite::{Exactness, Rule, call, var};
use crate::rules::support::spelled_out::Numbers;

pub fn rule() -> Rule {
    let (x, sum) = (var("x"), call("sum"));
    let pattern = ReduceLogSum.any().on(x).bind(sum);
    Rule::new("lower-reduce-log-sum", Exactness::Rounding, pattern, move |m| {
        // Integers have sums, no logarithms.
        Numbers::like(m.ty(x))?;
        let sum = m.call(sum);
        Ok(Log.emit([ReduceSum.emit([m[x].into(), sum.operand(1).into()]).like(sum)]))
    })
}
