//! `a · (1 / b)` is `a / b`, with the reciprocal written either way. For floats.
//!
//! Declines where the reciprocal is also read elsewhere.

use crate::ir::OpKind::{Div, Reciprocal};
use crate::rewrite::{Exactness, Rule, applies, call, exactly, var};
use crate::rules::support::numbers::is_foldable_float;

pub fn rule() -> Rule {
    let (a, b, inverse) = (var("a"), var("b"), call("inverse"));
    let reciprocal = Reciprocal.of(b).bind(inverse).or(Div.of((exactly(1.0), b)).bind(inverse));
    Rule::new("fold-reciprocal", Exactness::Rounding, a * reciprocal, move |m| {
        applies(m.ty(a).dtype().is_some_and(is_foldable_float))?;
        // The 1 may be of more dimensions.
        applies(m.call(inverse).result_ty(0).is_some_and(|ty| ty.shape().surely_equals(m.shape(b))))?;
        Ok(Div.emit([m[a].into(), m[b].into()]).named_like(m.root()))
    })
}
