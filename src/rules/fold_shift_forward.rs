//! `Add` or `Sub` of a constant before a `Conv`, `Gemm` or `MatMul` of matrices with a known weight moves into the
//! bias.
//!
//! `W·(x + s) + b` is `W·x + (b + W·s)`, where s has one element or one per input channel.
//!
//! Declines where a `Conv` pads (its padding is 0, not s), and where s may make `x + s` larger than `x`.

use crate::ir::OpKind::{Add, Conv, Gemm, MatMul, Sub};
use crate::rewrite::{Exactness, Rule, Skip, any_of, call, constant, require, var};
use crate::rules::support::broadcast::absorbs_constant;
use crate::rules::support::linear::{Affine, Linear};

pub fn rule() -> Rule {
    let (linear, shifted, x, s) = (call("linear"), call("shifted"), var("x"), constant("s"));
    let sum = Add.of((x, s)).bind(shifted).or(Sub.of((x, s)).bind(shifted)).or(Sub.of((s, x)).bind(shifted));
    let pattern = any_of(&[Conv, Gemm, MatMul]).on(sum).bind(linear);
    Rule::new("fold-shift-forward", Exactness::Rounding, pattern, move |m| {
        let linear = Linear::read(m.call(linear))?;
        require(absorbs_constant(m.shape(x), &m[s]), "the constant may broadcast x to a larger shape")?;
        let shift = linear.per_input_channel(&m[s]).ok_or(Skip::NotThis)?;
        linear.before(m, m[x], &Affine::of_sum(m.call(shifted), m.value_of(s), shift)?)
    })
}
