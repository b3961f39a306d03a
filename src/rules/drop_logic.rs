//! `x ∧ true`, `x ∨ false`, `x ⊕ false` and `x = true` are `x`, for booleans.
//!
//! Declines where the constant's shape would make the result larger than `x`.

use crate::ir::DType;
use crate::ir::OpKind::{And, Equal, Or, Xor};
use crate::rewrite::{Exactness, Rule, applies, constant, require, var};
use crate::rules::support::broadcast::keeps_shape;
use crate::rules::support::numbers::is_all;

pub fn rule() -> Rule {
    let (x, unit) = (var("x"), constant("unit"));
    let pattern = And.of((x, unit)).or(Or.of((x, unit))).or(Xor.of((x, unit))).or(Equal.of((x, unit)));
    Rule::new("drop-logic", Exactness::Bitwise, pattern, move |m| {
        let neutral = f64::from(u8::from(matches!(m.root().node().op, And | Equal)));
        applies(m[unit].dtype() == DType::Bool && is_all(&m[unit], neutral))?;
        require(keeps_shape(m, x, &m[unit]), "the constant may broadcast x to a larger shape")?;
        Ok(m[x])
    })
}
