//! `f(f(x))` is `f(x)` for `Abs`, `Relu`, `Sign` and rounding; whatever rounds first, the rest find integers.

use crate::ir::OpKind::{self, Abs, Ceil, Floor, Relu, Round, Sign};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};

const ROUNDING: &[OpKind] = &[Ceil, Floor, Round];

pub fn rule() -> Rule {
    let (outer, inner) = (call("outer"), call("inner"));
    let all = &[Abs, Ceil, Floor, Relu, Round, Sign];
    let pattern = any_of(all).on(any_of(all).bind(inner)).bind(outer);
    Rule::new("drop-idempotent", Exactness::Bitwise, pattern, move |m| {
        let (f, g) = (m.call(outer).node().op, m.call(inner).node().op);
        applies(f == g || ROUNDING.contains(&f) && ROUNDING.contains(&g))?;
        m.call(outer).operand(0).ok_or(Skip::NotThis)
    })
    .even_if_shared()
}
