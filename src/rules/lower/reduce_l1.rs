//! `ReduceL1(x)` is the sum of magnitudes, `ReduceSum(Abs(x))`.

use crate::ir::OpKind::{Abs, ReduceL1, ReduceSum};
use crate::rewrite::{Exactness, Rule, call, var};

pub fn rule() -> Rule {
    let (x, norm) = (var("x"), call("norm"));
    let pattern = ReduceL1.any().on(x).bind(norm);
    Rule::new("lower-reduce-l1", Exactness::Rounding, pattern, move |m| {
        let norm = m.call(norm);
        Ok(ReduceSum.emit([Abs.emit([m[x].into()]), norm.operand(1).into()]).like(norm))
    })
}
