//! `SimplifiedLayerNormalization`, which ONNX Runtime puts into the default domain, is `RMSNormalization`. Its second
//! result must not be read.

use super::{any, is_unread, operand};
use crate::ir::OpKind::RMSNormalization;
use crate::rewrite::{Exactness, Rule, applies};

pub(super) fn rule() -> Rule {
    Rule::new("expand-simplified-layer-norm", Exactness::Rounding, any(), |m| {
        let call = m.root();
        applies(call.node().domain().is_empty() && call.node().op_name() == "SimplifiedLayerNormalization")?;
        applies(is_unread(&call, 1))?;
        Ok(RMSNormalization.emit([operand(&call, 0)?, operand(&call, 1)?]).like(call))
    })
}
