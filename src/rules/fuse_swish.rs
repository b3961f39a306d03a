//! `x · sigmoid(α · x)` is `Swish` (opset 24), also called SiLU.
//!
//! Declines where the gate is also read elsewhere.

use crate::ir::OpKind::{Mul, Sigmoid, Swish};
use crate::rewrite::{Exactness, Match, Rule, Skip, any_of};
use crate::rules::support::formula::{self, Found, near};

pub fn rule() -> Rule {
    Rule::new("fuse-swish", Exactness::Rounding, any_of(&[Mul]), |m| {
        let found = read(m)?;
        let swish = Swish.emit([found.x.into()]).named_like(m.root());
        Ok(if found.what == 1.0 { swish } else { swish.with("alpha", found.what as f32) })
    })
    .even_if_shared()
}

/// The `x` and the `α` of a root that is the product.
///
/// # Errors
/// As [`formula::read`].
pub fn read(m: &Match<'_>) -> Result<Found<f64>, Skip> {
    formula::read(m, &[Sigmoid], |_, inner, outer, dtype| {
        let (alpha, shift) = inner.as_line()?;
        // The attribute is of single precision.
        let is_precise = near(f64::from(alpha as f32), alpha, dtype);
        (shift == 0.0 && is_precise && near(outer.as_multiple_of_x_atom()?, 1.0, dtype)).then_some(alpha)
    })
}
