//! `HardSwish(x)` is `x · HardSigmoid(x)` with a slope of 1/6 around 1/2.

use crate::ir::OpKind::{HardSigmoid, HardSwish};
use crate::rewrite::{Exactness, Expr, Rule, var};

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("lower-hard-swish", Exactness::Rounding, HardSwish.of(x), move |m| {
        let x: Expr = m[x].into();
        let gate = HardSigmoid.emit([x.clone()]).with("alpha", 1.0f32 / 6.0).with("beta", 0.5f32);
        Ok((x * gate).named_like(m.root()))
    })
}
