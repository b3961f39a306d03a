//! `BiasGelu(x, b)` is `Gelu(x + b)`.

use super::{any, called, gelu, operand};
use crate::ir::OpKind::Add;
use crate::rewrite::{Exactness, Rule};

pub(super) fn rule() -> Rule {
    Rule::new("expand-bias-gelu", Exactness::Rounding, any(), |m| {
        let call = called(m, "BiasGelu")?;
        gelu::spelled(&call, Add.emit([operand(&call, 0)?, operand(&call, 1)?]))
    })
}
