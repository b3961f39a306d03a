//! An activation of the sum of a `Conv` and something else is one `FusedConv`, for targets that have that: a residual
//! connection.
//!
//! What is added must be of the same shape. Activations and type as for fuse-conv-activation. Declines where the
//! convolution or the sum is also read elsewhere, and where what is added is not known to have the shape of the
//! convolution.

use crate::ir::DType;
use crate::ir::OpKind::{Add, Conv};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call, contrib, require, var};
use crate::rules::support::activation::{ACTIVATIONS, Activation};

pub fn rule() -> Rule {
    let (conv, addend) = (call("conv"), var("addend"));
    let pattern = any_of(ACTIVATIONS).on(Add.of((Conv.any().bind(conv), addend)));
    Rule::new("fuse-conv-sum-activation", Exactness::Rounding, pattern, move |m| {
        let conv = m.call(conv);
        let activation = Activation::of(&m.root()).ok_or(Skip::NotThis)?;
        applies(conv.dtype(0) == Some(DType::F32))?;
        let same = conv.result_ty(0).is_some_and(|ty| ty.shape().surely_equals(m.shape(addend)));
        require(same, "what is added is not known to be of the convolution's shape")?;
        let operands = (0..3).map(|slot| conv.operand(slot).into()).chain([m[addend].into()]);
        Ok(activation.within_conv(contrib("FusedConv", operands).like(conv)))
    })
    .for_contrib("FusedConv")
}
