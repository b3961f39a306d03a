//! The logarithm of a sum, `Log(ReduceSum(x))`, is `ReduceLogSum`. For floats, over constant axes.
//!
//! Declines where the sum is also read elsewhere.

use crate::ir::OpKind::{Log, ReduceLogSum, ReduceSum};
use crate::rewrite::{Exactness, Rule, call, var};
use crate::rules::support::reductions::retold;

pub fn rule() -> Rule {
    let (x, sum) = (var("x"), call("sum"));
    let pattern = Log.of(ReduceSum.any().on(x).bind(sum));
    Rule::new("fuse-reduce-log-sum", Exactness::Rounding, pattern, move |m| retold(ReduceLogSum, m[x], &m.call(sum)))
}
