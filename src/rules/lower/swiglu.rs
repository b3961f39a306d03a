//! `SwiGLU(a, b)` is `a · sigmoid(α · a) · b`.

use crate::ir::Key;
use crate::ir::OpKind::{Sigmoid, SwiGLU};
use crate::rewrite::{Exactness, Expr, Rule, var};
use crate::rules::support::spelled_out::Numbers;

const ALPHA: Key<f32> = Key::new("alpha", 1.0);

pub fn rule() -> Rule {
    let (a, b) = (var("a"), var("b"));
    Rule::new("lower-swiglu", Exactness::Rounding, SwiGLU.of((a, b)), move |m| {
        let gate: Expr = m[a].into();
        let inner = match ALPHA.of(m.root().node()) {
            1.0 => gate.clone(),
            alpha => gate.clone() * Numbers::like(m.ty(a))?.of(alpha.into())?,
        };
        Ok((gate * Sigmoid.emit([inner]) * m[b].into()).named_like(m.root()))
    })
}
