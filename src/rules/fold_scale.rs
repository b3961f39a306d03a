//! `Mul` or `Div` by a constant after a linear operator with a known weight moves into the weight.
//!
//! `k·(W·x + b)` is `(k·W)·x + k·b` for `Conv`, `ConvTranspose`, `Gemm`, `MatMul` and normalizations with known
//! statistics, where k has one element or one per output channel.
//!
//! Declines where a weight of more than 64 KB is also read elsewhere and would be stored twice, and where a folded
//! weight would overflow its type.

use crate::ir::OpKind::{Div, Mul};
use crate::rewrite::{Exactness, Rule, Skip, any_of, call, constant};
use crate::rules::support::linear::{Affine, LINEAR, Linear};

pub fn rule() -> Rule {
    let (linear, k) = (call("linear"), constant("k"));
    let pattern = Mul.of((any_of(LINEAR).bind(linear), k)).or(Div.of((any_of(LINEAR).bind(linear), k)));
    Rule::new("fold-scale", Exactness::Rounding, pattern, move |m| {
        let linear = Linear::read(m.call(linear))?;
        let k = linear.per_channel(&m[k]).ok_or(Skip::NotThis)?;
        linear.then(m, &Affine::of_product(m.root(), k)?)
    })
}
