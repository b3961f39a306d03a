//! An activation of a `Gemm` is part of it: `FusedGemm`, for targets that have that.
//!
//! Relu, Sigmoid, Tanh, LeakyRelu and HardSigmoid of single precision, as there is a kernel for no other. Declines
//! where the product is also read elsewhere.

use crate::ir::DType;
use crate::ir::OpKind::{Clip, Gemm};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call, contrib};
use crate::rules::support::activation::{ACTIVATIONS, Activation};

pub fn rule() -> Rule {
    let gemm = call("gemm");
    let pattern = any_of(ACTIVATIONS).on(Gemm.any().bind(gemm));
    Rule::new("fuse-gemm-activation", Exactness::Rounding, pattern, move |m| {
        let gemm = m.call(gemm);
        applies(m.root().node().op != Clip && gemm.dtype(0) == Some(DType::F32))?;
        let activation = Activation::of(&m.root()).ok_or(Skip::NotThis)?;
        let fused = contrib("FusedGemm", (0..3).map(|slot| gemm.operand(slot).into())).like(gemm);
        let named = ["activation_alpha", "activation_beta"].into_iter().zip(activation.parameters);
        Ok(named.fold(fused.with("activation", activation.name), |fused, (name, value)| fused.with(name, value)))
    })
    .for_contrib("FusedGemm")
}
