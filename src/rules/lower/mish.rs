//! `Mish(x)` is `x · tanh(softplus(x))`.

use crate::ir::OpKind::{Mish, Softplus, Tanh};
use crate::rewrite::{Exactness, Expr, Rule, var};

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("lower-mish", Exactness::Rounding, Mish.of(x), move |m| {
        let x: Expr = m[x].into();
        Ok((x.clone() * Tanh.emit([Softplus.emit([x])])).named_like(m.root()))
    })
}
