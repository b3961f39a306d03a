//! `log(1 + exp(x))` is `Softplus`, which does not overflow where the exponential does.
//!
//! Declines where something on the way is also read elsewhere.

use crate::ir::OpKind::{Exp, Log, Softplus};
use crate::rewrite::{Exactness, Rule, applies, exactly, var};

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("fuse-softplus", Exactness::Rounding, Log.of(Exp.of(x) + exactly(1.0)), move |m| {
        // The 1 may be of more dimensions.
        applies(m.root_shape().surely_equals(m.shape(x)))?;
        Ok(Softplus.emit([m[x].into()]).named_like(m.root()))
    })
}
