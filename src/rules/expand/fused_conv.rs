//! `FusedConv(x, w, b, z)` is `activation(Conv(x, w, b) + z)`.

use super::activation::{applied, floats};
use super::{any, called};
use crate::ir::OpKind::{Add, Conv};
use crate::rewrite::{Exactness, Rule};

pub(super) fn rule() -> Rule {
    Rule::new("expand-fused-conv", Exactness::Bitwise, any(), |m| {
        let call = called(m, "FusedConv")?;
        let conv = Conv.emit((0..3).map(|slot| call.operand(slot).into())).like(call);
        let mut sum = conv.without("activation").without("activation_params");
        if let Some(addend) = call.operand(3) {
            sum = Add.emit([sum, addend.into()]);
        }
        applied(&call, &floats(&call, "activation_params"), sum)
    })
}
