//! `x` where it is positive and `α · (exp(x) - 1)` elsewhere, by `Where`, is `Elu`.
//!
//! Declines where a constant's shape would make the result larger than `x`, and where a result on the way is also read
//! elsewhere.

use crate::ir::OpKind::{Elu, Exp, Mul};
use crate::rewrite::{Exactness, IntoPat, Rule, Skip, applies, constant, exactly, optional, require, var};
use crate::rules::support::branch::positive;
use crate::rules::support::formula::near;
use crate::rules::support::numbers::is_foldable_float;

pub fn rule() -> Rule {
    let (x, alpha) = (var("x"), constant("alpha"));
    let minus = || (Exp.of(x) - exactly(1.0)).or(Exp.of(x) + exactly(-1.0));
    // The scaled form first: it binds α.
    let pattern = positive(x, x, Mul.of((minus(), alpha)).or(minus()).pat());
    Rule::new("fuse-elu", Exactness::Rounding, pattern, move |m| {
        let dtype = m.ty(x).dtype().filter(|d| is_foldable_float(*d)).ok_or(Skip::NotThis)?;
        require(m.root_shape().surely_equals(m.shape(x)), "the constant may broadcast x to a larger shape")?;
        let elu = Elu.emit([m[x].into()]).named_like(m.root());
        let Some(alpha) = m.optional(optional("alpha")) else { return Ok(elu) };
        let alpha = alpha.real(0).and_then(|_| alpha.uniform_real()).ok_or(Skip::NotThis)?;
        // The attribute is of single precision.
        applies(near(f64::from(alpha as f32), alpha, dtype))?;
        Ok(elu.with("alpha", alpha as f32))
    })
}
