//! Exponentials divided by their sum along one axis are `Softmax`, which does not overflow where they do:
//! `exp(x) / Σ exp(x)`, also with `x - max(x)` for `x`.
//!
//! Declines where the exponentials or their sum are also read elsewhere.

use crate::ir::OpKind::{Exp, ReduceSum, Softmax};
use crate::rewrite::{Exactness, Rule, Skip, call, var};
use crate::rules::support::reductions::kept_axis;
use crate::rules::support::softmax::{along, unshifted};

pub fn rule() -> Rule {
    let (x, exp, sum) = (var("x"), call("exp"), call("sum"));
    let exponential = || Exp.of(x).bind(exp);
    let pattern = exponential() / ReduceSum.any().on(exponential()).bind(sum);
    Rule::new("fuse-softmax", Exactness::Rounding, pattern, move |m| {
        let axis = kept_axis(&m.call(sum)).ok_or(Skip::NotThis)?;
        along(m, Softmax, unshifted(m.graph(), m[x], axis), axis)
    })
}
