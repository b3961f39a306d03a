//! The sum of squares, `ReduceSum(x · x)` or `ReduceSum(x²)`, is `ReduceSumSquare`. For floats, over constant axes.
//!
//! Declines where the squares are also read elsewhere.

use crate::ir::OpKind::{Pow, ReduceSum, ReduceSumSquare};
use crate::rewrite::{Exactness, Rule, Skip, applies, call, exactly, var};
use crate::rules::support::reductions::retold;

pub fn rule() -> Rule {
    let (x, sum) = (var("x"), call("sum"));
    let square = (x * x).or(Pow.of((x, exactly(2.0))));
    let pattern = ReduceSum.any().on(square).bind(sum);
    Rule::new("fuse-reduce-sum-square", Exactness::Rounding, pattern, move |m| {
        let sum = m.call(sum);
        // The 2 may be of more dimensions.
        let squares = sum.ty(0).ok_or(Skip::NotThis)?;
        applies(m[x] == sum.operand(0).unwrap_or(m[x]) || squares.shape().surely_equals(m.shape(x)))?;
        retold(ReduceSumSquare, m[x], &sum)
    })
}
