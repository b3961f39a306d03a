//! `x ∧ x`, `x ∨ x`, `min(x, x)`, `max(x, x)` and the bitwise `x & x`, `x | x` are `x`.

use crate::ir::OpKind::{And, BitwiseAnd, BitwiseOr, Max, Min, Or};
use crate::rewrite::{Exactness, Rule, var};

pub fn rule() -> Rule {
    let x = var("x");
    let logic = And.of((x, x)).or(Or.of((x, x))).or(BitwiseAnd.of((x, x))).or(BitwiseOr.of((x, x)));
    let pattern = logic.or(Max.of((x, x))).or(Min.of((x, x)));
    Rule::new("drop-same", Exactness::Bitwise, pattern, move |m| Ok(m[x]))
}
