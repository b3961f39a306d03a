//! `FusedGemm(a, b, c)` is `activation(Gemm(a, b, c))`.

use super::activation::{applied, float};
use super::{any, called};
use crate::ir::OpKind::Gemm;
use crate::rewrite::{Exactness, Rule};

/// What the attributes of the activation are called.
const PARAMETERS: [&str; 3] = ["activation_alpha", "activation_beta", "activation_gamma"];

pub(super) fn rule() -> Rule {
    Rule::new("expand-fused-gemm", Exactness::Bitwise, any(), |m| {
        let call = called(m, "FusedGemm")?;
        let gemm = Gemm.emit((0..3).map(|slot| call.operand(slot).into())).like(call).without("activation");
        let gemm = PARAMETERS.into_iter().fold(gemm, |gemm, name| gemm.without(name));
        let parameters: Vec<f32> = PARAMETERS.into_iter().map_while(|name| float(&call, name)).collect();
        applied(&call, &parameters, gemm)
    })
}
