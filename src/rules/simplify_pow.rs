//! Powers that a cheaper operator computes: `x²` is `x · x`, `x^½` is `Sqrt(x)`, `x⁻¹` is `Reciprocal(x)`. For floats.
//!
//! Declines where the constant's shape would make the result larger than `x`.

use crate::ir::OpKind::{Mul, Pow, Reciprocal, Sqrt};
use crate::rewrite::{Exactness, Rule, Skip, applies, constant, require, var};
use crate::rules::support::broadcast::keeps_shape;
use crate::rules::support::numbers::is_foldable_float;

pub fn rule() -> Rule {
    let (x, power) = (var("x"), constant("power"));
    Rule::new("simplify-pow", Exactness::Rounding, Pow.of((x, power)), move |m| {
        applies(m.ty(x).dtype().is_some_and(is_foldable_float))?;
        let exponent = m[power].real(0).and_then(|_| m[power].uniform_real()).ok_or(Skip::NotThis)?;
        let simple = if exponent == 2.0 {
            Mul.emit([m[x].into(), m[x].into()])
        } else if exponent == 0.5 {
            Sqrt.emit([m[x].into()])
        } else if exponent == -1.0 {
            Reciprocal.emit([m[x].into()])
        } else {
            return Err(Skip::NotThis);
        };
        require(keeps_shape(m, x, &m[power]), "the constant may broadcast x to a larger shape")?;
        Ok(simple.named_like(m.root()))
    })
}
