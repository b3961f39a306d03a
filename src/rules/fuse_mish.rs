//! `x · tanh(softplus(x))` is `Mish` (opset 18).
//!
//! Declines where something on the way is also read elsewhere.

use crate::ir::OpKind::{Mish, Softplus, Tanh};
use crate::rewrite::{Exactness, Rule, var};

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("fuse-mish", Exactness::Rounding, x * Tanh.of(Softplus.of(x)), move |m| {
        Ok(Mish.emit([m[x].into()]).named_like(m.root()))
    })
}
