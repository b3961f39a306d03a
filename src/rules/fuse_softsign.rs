//! `x / (1 + |x|)` is `Softsign`.
//!
//! Declines where something on the way is also read elsewhere.

use crate::ir::OpKind::{Abs, Softsign};
use crate::rewrite::{Exactness, Rule, applies, exactly, var};

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("fuse-softsign", Exactness::Rounding, x / (Abs.of(x) + exactly(1.0)), move |m| {
        // The 1 may be of more dimensions.
        applies(m.root_shape().surely_equals(m.shape(x)))?;
        applies(m.ty(x).dtype().is_some_and(crate::ir::DType::is_float))?;
        Ok(Softsign.emit([m[x].into()]).named_like(m.root()))
    })
}
