//! `x` where it is positive and a multiple of it elsewhere is `LeakyRelu`: `Max(x, α·x)` with α from 0 to 1, `Where(x > 0,
//! x, α·x)` in any of its spellings, `Relu(x) - α·Relu(-x)`, and `PRelu` with one slope for all.
//!
//! Declines where the slope's shape would make the result larger than `x`, and where a result on the way is also read
//! elsewhere.

use crate::ir::OpKind::{LeakyRelu, Max, Min, Mul, PRelu, Where};
use crate::ir::{OpKind, Tensor};
use crate::rewrite::{Exactness, Match, Rule, Skip, applies, constant, require, var};
use crate::rules::support::branch;
use crate::rules::support::broadcast::absorbs_constant;
use crate::rules::support::formula::near;
use crate::rules::support::numbers::is_foldable_float;

pub fn rule() -> Rule {
    let (x, slope) = (var("x"), constant("slope"));
    let scaled = || Mul.of((x, slope));
    let (greater, smaller) = (Max.of((x, scaled())), Min.of((x, scaled())));
    let pattern = greater.or(smaller).or(PRelu.of((x, slope))).or(branch::positive(x, x, scaled()));
    let pattern = pattern.or(branch::halves(x, slope));
    Rule::new("fuse-leaky-relu", Exactness::Rounding, pattern, move |m| {
        let dtype = m.ty(x).dtype().filter(|d| is_foldable_float(*d)).ok_or(Skip::NotThis)?;
        let alpha = number(&m[slope]).ok_or(Skip::NotThis)?;
        // The attribute is of single precision.
        applies(near(f64::from(alpha as f32), alpha, dtype))?;
        let alpha = slope_of(m, alpha)?;
        // The slope of PRelu never widens the result; the zero that x is compared with may.
        let same = m.root_shape().surely_equals(m.shape(x)) || absorbs_constant(m.shape(x), &m[slope]) && !compares(m);
        require(same, "the constant may broadcast x to a larger shape")?;
        Ok(LeakyRelu.emit([m[x].into()]).with("alpha", alpha as f32).named_like(m.root()))
    })
}

fn compares(m: &Match<'_>) -> bool {
    m.root().node().op == Where
}

fn number(slope: &Tensor) -> Option<f64> {
    slope.real(0).and_then(|_| slope.uniform_real()).filter(|a| a.is_finite())
}

/// The slope below zero, where `alpha` is the constant of the match.
fn slope_of(m: &Match<'_>, alpha: f64) -> Result<f64, Skip> {
    match m.root().node().op {
        // A slope of 0 would be of another function where x is infinite.
        Max => applies(0.0 < alpha && alpha <= 1.0)?,
        Min => applies(alpha >= 1.0)?,
        OpKind::Add => return Ok(-alpha),
        _ => {}
    }
    Ok(alpha)
}
