//! `Add` or `Sub` of a constant after a linear operator with a known weight moves into its bias.
//!
//! `(W·x + b) + s` is `W·x + (b + s)` for `Conv`, `ConvTranspose`, `Gemm` and normalizations with known statistics,
//! where s has one element or one per output channel; `s − (W·x + b)` is `(−W)·x + (s − b)`.
//!
//! Declines where a weight of more than 64 KB would have to be negated and is also read elsewhere.

use crate::ir::OpKind::{Add, BatchNormalization, Conv, ConvTranspose, Gemm, InstanceNormalization, Sub};
use crate::rewrite::{Exactness, Rule, Skip, any_of, call, constant};
use crate::rules::support::linear::{Affine, Linear};

pub fn rule() -> Rule {
    let (linear, s) = (call("linear"), constant("s"));
    let biased = || any_of(&[Conv, ConvTranspose, Gemm, BatchNormalization, InstanceNormalization]).bind(linear);
    let pattern = Add.of((biased(), s)).or(Sub.of((biased(), s))).or(Sub.of((s, biased())));
    Rule::new("fold-shift", Exactness::Rounding, pattern, move |m| {
        let linear = Linear::read(m.call(linear))?;
        let shift = linear.per_channel(&m[s]).ok_or(Skip::NotThis)?;
        linear.then(m, &Affine::of_sum(m.root(), m.value_of(s), shift)?)
    })
}
