//! `Identity(x)` is `x`.

use crate::ir::OpKind::Identity;
use crate::rewrite::{Exactness, Rule, var};

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("drop-identity", Exactness::Bitwise, Identity.of(x), move |m| Ok(m[x]))
}
