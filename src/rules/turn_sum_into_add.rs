//! `Sum` of two operands is `Add`, which more rules and runtimes know.

use crate::ir::OpKind::{Add, Sum};
use crate::rewrite::{Exactness, Rule, call, var};

pub fn rule() -> Rule {
    let (a, b, sum) = (var("a"), var("b"), call("sum"));
    Rule::new("turn-sum-into-add", Exactness::Bitwise, Sum.of((a, b)).bind(sum), move |m| {
        Ok(Add.emit([m[a].into(), m[b].into()]).named_like(m.call(sum)))
    })
}
