//! `x` where it is larger than a number and zero elsewhere is `ThresholdedRelu` (opset 10): `Where(x > α, x, 0)`, or
//! `x · Cast(x > α)`.
//!
//! Declines where a constant's shape would make the result larger than `x`, and where a result on the way is also read
//! elsewhere.

use crate::ir::OpKind::{Cast, Greater, Less, LessOrEqual, Mul, ThresholdedRelu, Where};
use crate::rewrite::{Exactness, Rule, Skip, applies, constant, exactly, require, var};
use crate::rules::support::formula::near;
use crate::rules::support::numbers::is_foldable_float;

pub fn rule() -> Rule {
    let (x, alpha) = (var("x"), constant("alpha"));
    let larger = || Greater.of((x, alpha)).or(Less.of((alpha, x)));
    let pattern = Where.of((larger(), x, exactly(0.0)));
    let pattern = pattern.or(Where.of((LessOrEqual.of((x, alpha)), exactly(0.0), x))).or(Mul.of((x, Cast.of(larger()))));
    Rule::new("fuse-thresholded-relu", Exactness::Rounding, pattern, move |m| {
        let dtype = m.ty(x).dtype().filter(|d| is_foldable_float(*d)).ok_or(Skip::NotThis)?;
        let threshold = m[alpha].real(0).and_then(|_| m[alpha].uniform_real()).ok_or(Skip::NotThis)?;
        // The attribute is of single precision, and what is a little larger must stay so.
        applies(near(f64::from(threshold as f32), threshold, dtype))?;
        applies(f64::from(threshold as f32) == threshold)?;
        require(m.root_shape().surely_equals(m.shape(x)), "the constant may broadcast x to a larger shape")?;
        Ok(ThresholdedRelu.emit([m[x].into()]).with("alpha", threshold as f32).named_like(m.root()))
    })
}
