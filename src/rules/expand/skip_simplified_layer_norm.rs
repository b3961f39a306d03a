//! `SkipSimplifiedLayerNormalization(x, skip, scale, bias)` is `RMSNormalization(x + skip + bias, scale)` over the last
//! axis; its fourth result is the sum. Those of statistics must not be read.

use super::skip_layer_norm::{both, sum};
use super::{any, called, operand};
use crate::ir::Key;
use crate::ir::OpKind::RMSNormalization;
use crate::rewrite::{Exactness, Rule};

const EPSILON: Key<f32> = Key::new("epsilon", 1e-12);

pub(super) fn rule() -> Rule {
    Rule::new("expand-skip-simplified-layer-norm", Exactness::Rounding, any(), |m| {
        let call = called(m, "SkipSimplifiedLayerNormalization")?;
        let sum = sum(&call, 3)?;
        let norm = RMSNormalization.emit([sum.clone(), operand(&call, 2)?]).named_like(call).with("axis", -1);
        Ok(both(norm.with("epsilon", EPSILON.of(call.node())), sum))
    })
}
