//! `¬¬x`, `−(−x)` and `~~x` are `x`.

use crate::ir::OpKind::{BitwiseNot, Neg, Not};
use crate::rewrite::{Exactness, Rule, var};

pub fn rule() -> Rule {
    let x = var("x");
    let pattern = Not.of(Not.of(x)).or(Neg.of(Neg.of(x))).or(BitwiseNot.of(BitwiseNot.of(x)));
    Rule::new("drop-double-negation", Exactness::Bitwise, pattern, move |m| Ok(m[x])).even_if_shared()
}
