//! `Gelu(x)` is `x · ½ · (1 + Erf(x / √2))`.

use std::f64::consts::FRAC_1_SQRT_2;

use super::{any, called, number, operand};
use crate::ir::OpKind::{Add, Erf, Mul};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip};

pub(super) fn rule() -> Rule {
    Rule::new("expand-gelu", Exactness::Rounding, any(), |m| {
        let call = called(m, "Gelu")?;
        spelled(&call, operand(&call, 0)?)
    })
}

/// The function of `x`, a value of the type of operand 0.
pub(super) fn spelled(call: &CallView<'_>, x: Expr) -> Result<Expr, Skip> {
    let number = |c| number(call, 0, c);
    let erf = Erf.emit([Mul.emit([x.clone(), number(FRAC_1_SQRT_2)?])]);
    let gate = Mul.emit([Add.emit([erf, number(1.0)?]), number(0.5)?]);
    Ok(Mul.emit([x, gate]).named_like(*call))
}
