//! `SkipLayerNormalization(x, skip, scale, shift, bias)` is `LayerNormalization(x + skip + bias, scale, shift)` over
//! the last axis; its fourth result is the sum. Those of statistics must not be read.

use super::{any, called, is_unread, operand};
use crate::ir::Key;
use crate::ir::OpKind::{Add, LayerNormalization};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, applies};

const EPSILON: Key<f32> = Key::new("epsilon", 1e-12);

pub(super) fn rule() -> Rule {
    Rule::new("expand-skip-layer-norm", Exactness::Rounding, any(), |m| {
        let call = called(m, "SkipLayerNormalization")?;
        let sum = sum(&call, 4)?;
        let operands = [sum.clone(), operand(&call, 2)?, call.operand(3).into()];
        let norm = LayerNormalization.emit(operands).named_like(call).with("axis", -1);
        Ok(both(norm.with("epsilon", EPSILON.of(call.node())), sum))
    })
}

/// `x + skip`, and the bias in slot `bias` added, if there is one.
pub(super) fn sum(call: &CallView<'_>, bias: usize) -> Result<Expr, Skip> {
    applies(is_unread(call, 1) && is_unread(call, 2))?;
    let mut sum = Add.emit([operand(call, 0)?, operand(call, 1)?]);
    if let Some(bias) = call.operand(bias) {
        sum = Add.emit([sum, bias.into()]);
    }
    Ok(sum)
}

/// What stands for the normalization, and for the sum.
pub(super) fn both(norm: Expr, sum: Expr) -> Replacement {
    [(0, norm), (3, sum)].into_iter().collect()
}
