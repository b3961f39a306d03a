//! `BatchNormalization` with known statistics after a linear operator with a known weight moves into the weight.
//!
//! With k = scale / √(var + ε), normalizing `W·x + b` gives `(k·W)·x + k·(b − mean) + shift`: one `Conv`,
//! `ConvTranspose`, `Gemm` or, after another normalization, one `BatchNormalization`. A `MatMul` of matrices becomes a
//! `Gemm`.
//!
//! Declines in training mode, where a weight of more than 64 KB is also read elsewhere and would be stored twice, and
//! where a folded weight would overflow its type.

use crate::ir::OpKind::{BatchNormalization, MatMul};
use crate::rewrite::{Exactness, Rule, any_of, applies, call};
use crate::rules::support::linear::{Affine, LINEAR, Linear};
use crate::rules::support::readers::only_first_is_read;

pub fn rule() -> Rule {
    let (linear, norm) = (call("linear"), call("norm"));
    let pattern = BatchNormalization.any().on(any_of(LINEAR).bind(linear)).bind(norm);
    Rule::new("fold-batchnorm", Exactness::Rounding, pattern, move |m| {
        applies(only_first_is_read(m))?;
        let linear = Linear::read(m.call(linear))?;
        // A normalization's channels are axis 1, which is a MatMul's last axis in a matrix only.
        applies(linear.op() != MatMul || linear.rank() == Some(2))?;
        linear.then(m, &Affine::of_batchnorm(m.call(norm))?)
    })
}
