//! The sum of magnitudes, `ReduceSum(Abs(x))`, is `ReduceL1`. For floats, over constant axes.
//!
//! Declines where the magnitudes are also read elsewhere.

use crate::ir::OpKind::{Abs, ReduceL1, ReduceSum};
use crate::rewrite::{Exactness, Rule, call, var};
use crate::rules::support::reductions::retold;

pub fn rule() -> Rule {
    let (x, sum) = (var("x"), call("sum"));
    let pattern = ReduceSum.any().on(Abs.of(x)).bind(sum);
    Rule::new("fuse-reduce-l1", Exactness::Rounding, pattern, move |m| retold(ReduceL1, m[x], &m.call(sum)))
}
