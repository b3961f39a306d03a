//! `x + 0` is `x`. (Adding the positive zero turns −0 into 0: results may differ in the sign of a zero.)
//!
//! Declines where the constant's shape would make the result larger than `x`.

use crate::rewrite::{Exactness, Rule, applies, constant, require, var};
use crate::rules::support::broadcast::keeps_shape;
use crate::rules::support::numbers::is_all;

pub fn rule() -> Rule {
    let (x, zero) = (var("x"), constant("zero"));
    Rule::new("drop-add-zero", Exactness::Rounding, x + zero, move |m| {
        applies(is_all(&m[zero], 0.0) || is_all(&m[zero], -0.0))?;
        require(keeps_shape(m, x, &m[zero]), "the constant may broadcast x to a larger shape")?;
        Ok(m[x])
    })
}
