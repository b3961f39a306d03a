//! `x¹` is `x`.
//!
//! Declines where the constant's shape would make the result larger than `x`.

use crate::ir::OpKind::Pow;
use crate::rewrite::{Exactness, Rule, applies, constant, require, var};
use crate::rules::support::broadcast::keeps_shape;
use crate::rules::support::numbers::is_all;

pub fn rule() -> Rule {
    let (x, one) = (var("x"), constant("one"));
    Rule::new("drop-pow-one", Exactness::Bitwise, Pow.of((x, one)), move |m| {
        applies(is_all(&m[one], 1.0))?;
        require(keeps_shape(m, x, &m[one]), "the constant may broadcast x to a larger shape")?;
        Ok(m[x])
    })
}
