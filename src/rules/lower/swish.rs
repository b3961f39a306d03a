//! `Swish(x)` is `x · sigmoid(α · x)`.

use crate::ir::Key;
use crate::ir::OpKind::{Sigmoid, Swish};
use crate::rewrite::{Exactness, Expr, Rule, var};
use crate::rules::support::spelled_out::Numbers;

const ALPHA: Key<f32> = Key::new("alpha", 1.0);

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("lower-swish", Exactness::Rounding, Swish.of(x), move |m| {
        let value: Expr = m[x].into();
        let inner = match ALPHA.of(m.root().node()) {
            1.0 => value.clone(),
            alpha => value.clone() * Numbers::like(m.ty(x))?.of(alpha.into())?,
        };
        Ok((value * Sigmoid.emit([inner])).named_like(m.root()))
    })
}
