//! `Mul` or `Div` by a constant before a `Conv`, `Gemm` or `MatMul` with a known weight moves into the weight.
//!
//! `W·(k·x) + b` is `(W·k)·x + b`, where k has one element or one per input channel. (What a `Conv` pads with is 0 on
//! either side.)
//!
//! Declines where k may make `k·x` larger than `x`, where a weight of more than 64 KB is also read elsewhere and would
//! be stored twice, and where a folded weight would overflow its type. The half that ends a Gaussian
//! error unit stays: runtimes know it by that, and are faster then.

use crate::ir::OpKind::{Conv, Div, Gemm, MatMul, Mul};
use crate::rewrite::{Exactness, Rule, Skip, any_of, call, constant, require, var};
use crate::rules::support::broadcast::absorbs_constant;
use crate::rules::support::gaussian::is_halved;
use crate::rules::support::linear::{Affine, Linear};

pub fn rule() -> Rule {
    let (linear, scaled, x, k) = (call("linear"), call("scaled"), var("x"), constant("k"));
    let product = Mul.of((x, k)).bind(scaled).or(Div.of((x, k)).bind(scaled));
    let pattern = any_of(&[Conv, Gemm, MatMul]).on(product).bind(linear);
    Rule::new("fold-scale-forward", Exactness::Rounding, pattern, move |m| {
        let linear = Linear::read(m.call(linear))?;
        require(absorbs_constant(m.shape(x), &m[k]), "the constant may broadcast x to a larger shape")?;
        require(!is_halved(m.graph(), m[x], &m[k]), "runtimes know a Gaussian error unit by its half")?;
        let k = linear.per_input_channel(&m[k]).ok_or(Skip::NotThis)?;
        linear.before(m, m[x], &Affine::of_product(m.call(scaled), k)?)
    })
}
