//! `FastGelu(x, b)` is `y · ½ · (1 + Tanh(√(2/π) · (y + 0.044715 · y³)))` of `y = x + b`.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use super::{any, called, number, operand};
use crate::ir::OpKind::{Add, Mul, Tanh};
use crate::rewrite::{Exactness, Rule};

pub(super) fn rule() -> Rule {
    Rule::new("expand-fast-gelu", Exactness::Rounding, any(), |m| {
        let call = called(m, "FastGelu")?;
        let number = |c| number(&call, 0, c);
        let mut y = operand(&call, 0)?;
        if let Some(bias) = call.operand(1) {
            y = Add.emit([y, bias.into()]);
        }
        // √(2/π) · y · (1 + 0.044715 · y²)
        let square = Mul.emit([y.clone(), y.clone()]);
        let factor = Add.emit([Mul.emit([square, number(0.044715)?]), number(1.0)?]);
        let line = Mul.emit([y.clone(), number(FRAC_2_SQRT_PI * FRAC_1_SQRT_2)?]);
        let gate = Add.emit([Tanh.emit([Mul.emit([line, factor])]), number(1.0)?]);
        Ok(Mul.emit([y, Mul.emit([gate, number(0.5)?])]).named_like(call))
    })
}
