//! `BatchNormalization` with known statistics before a `Conv`, `Gemm` or `MatMul` with a known weight moves into the
//! weight.
//!
//! With k = scale / √(var + ε) and s = shift − k·mean, `W·(k·x + s) + b` is `(W·k)·x + (b + W·s)`.
//!
//! Declines in training mode, where a `Conv` pads (its padding is 0, not s), where a weight of more than 64 KB is also
//! read elsewhere and would be stored twice, and where a folded weight would overflow its type.

use crate::ir::OpKind::{BatchNormalization, Conv, Gemm, MatMul};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};
use crate::rules::support::linear::{Affine, Linear};

pub fn rule() -> Rule {
    let (linear, norm) = (call("linear"), call("norm"));
    let pattern = any_of(&[Conv, Gemm, MatMul]).on(BatchNormalization.any().bind(norm)).bind(linear);
    Rule::new("fold-batchnorm-forward", Exactness::Rounding, pattern, move |m| {
        let (linear, norm) = (Linear::read(m.call(linear))?, m.call(norm));
        // A normalization's channels are axis 1, which is the last axis of a matrix only.
        applies(linear.op() == Conv || norm.rank(0) == Some(2))?;
        let x = norm.operand(0).ok_or(Skip::NotThis)?;
        linear.before(m, x, &Affine::of_batchnorm(norm)?)
    })
}
