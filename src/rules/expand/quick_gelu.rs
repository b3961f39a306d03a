//! `QuickGelu(x)` is `x · Sigmoid(α · x)`.

use super::{any, called, number, operand};
use crate::ir::Key;
use crate::ir::OpKind::{Mul, Sigmoid};
use crate::rewrite::{Exactness, Rule};

const ALPHA: Key<f32> = Key::new("alpha", 1.702);

pub(super) fn rule() -> Rule {
    Rule::new("expand-quick-gelu", Exactness::Rounding, any(), |m| {
        let call = called(m, "QuickGelu")?;
        let (x, alpha) = (operand(&call, 0)?, ALPHA.of(call.node()));
        let argument = if alpha == 1.0 { x.clone() } else { Mul.emit([x.clone(), number(&call, 0, alpha.into())?]) };
        Ok(Mul.emit([x, Sigmoid.emit([argument])]).named_like(call))
    })
}
