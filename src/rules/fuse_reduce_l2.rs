//! The root of a sum of squares, `Sqrt(ReduceSumSquare(x))`, is `ReduceL2`. For floats, over constant axes.
//!
//! Declines where the sum is also read elsewhere.

use crate::ir::OpKind::{ReduceL2, ReduceSumSquare, Sqrt};
use crate::rewrite::{Exactness, Rule, call, var};
use crate::rules::support::reductions::retold;

pub fn rule() -> Rule {
    let (x, sum) = (var("x"), call("sum"));
    let pattern = Sqrt.of(ReduceSumSquare.any().on(x).bind(sum));
    Rule::new("fuse-reduce-l2", Exactness::Rounding, pattern, move |m| retold(ReduceL2, m[x], &m.call(sum)))
}
