//! An activation of a `Conv` is part of it: `FusedConv`, for targets that have that.
//!
//! Relu, Sigmoid, Tanh, LeakyRelu, HardSigmoid, and Clip between known bounds, of single precision, as there is a
//! kernel for no other. Declines where the convolution is also read elsewhere.

use crate::ir::DType;
use crate::ir::OpKind::Conv;
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call, contrib};
use crate::rules::support::activation::{ACTIVATIONS, Activation};

pub fn rule() -> Rule {
    let conv = call("conv");
    let pattern = any_of(ACTIVATIONS).on(Conv.any().bind(conv));
    Rule::new("fuse-conv-activation", Exactness::Rounding, pattern, move |m| {
        let conv = m.call(conv);
        let activation = Activation::of(&m.root()).ok_or(Skip::NotThis)?;
        applies(conv.dtype(0) == Some(DType::F32))?;
        let fused = contrib("FusedConv", (0..3).map(|slot| conv.operand(slot).into())).like(conv);
        Ok(activation.within_conv(fused))
    })
    .for_contrib("FusedConv")
}
