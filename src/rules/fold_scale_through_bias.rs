//! `Mul` or `Div` by a constant after `MatMul(x, W) + b` with known W and b moves into both.
//!
//! `k·(x·W + b)` is `x·(W·k) + k·b`, where k has one element or one per column of W.
//!
//! Declines where a weight of more than 64 KB is also read elsewhere and would be stored twice, and where a folded
//! weight would overflow its type.

use crate::ir::OpKind::{Add, Div, MatMul, Mul};
use crate::rewrite::{Exactness, Rule, Skip, call, constant};
use crate::rules::support::linear::{Affine, Linear};
use crate::rules::support::numbers::combine;

pub fn rule() -> Rule {
    let (linear, biased, b, k) = (call("linear"), call("biased"), constant("b"), constant("k"));
    let sum = || Add.of((MatMul.any().bind(linear), b)).bind(biased);
    let pattern = Mul.of((sum(), k)).or(Div.of((sum(), k)));
    Rule::new("fold-scale-through-bias", Exactness::Rounding, pattern, move |m| {
        let linear = Linear::read(m.call(linear))?;
        let factors = linear.per_channel(&m[k]).ok_or(Skip::NotThis)?;
        let affine = Affine::of_product(m.root(), factors)?;
        // The product must not be larger than the bias: it is stored in its place.
        let limit = m[b].len().max(affine.scale.len());
        let f = |b: f64, k: f64| if m.root().node().op == Div { b / k } else { b * k };
        let bias = combine(&m[b], &m[k], limit, f).ok_or(Skip::NotThis)?;
        Ok(Add.emit([linear.then(m, &affine)?, bias.into()]).named_like(m.call(biased)))
    })
}
