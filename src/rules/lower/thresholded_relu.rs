//! `ThresholdedRelu(x)` is `x` where it is greater than α, and zero elsewhere.

use crate::ir::Key;
use crate::ir::OpKind::{Greater, ThresholdedRelu, Where};
use crate::rewrite::{Exactness, Expr, Rule, var};
use crate::rules::support::spelled_out::Numbers;

const ALPHA: Key<f32> = Key::new("alpha", 1.0);

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("lower-thresholded-relu", Exactness::Bitwise, ThresholdedRelu.of(x), move |m| {
        let n = Numbers::like(m.ty(x))?;
        let x: Expr = m[x].into();
        let above = Greater.emit([x.clone(), n.of(ALPHA.of(m.root().node()).into())?]);
        Ok(Where.emit([above, x, n.of(0.0)?]).named_like(m.root()))
    })
}
