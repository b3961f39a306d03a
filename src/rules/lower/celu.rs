//! `Celu(x)` is `α · Elu(x / α)`.
//!
//! Declines where α is not positive: `Elu` goes through the origin the other way then.

use crate::ir::Key;
use crate::ir::OpKind::{Celu, Elu};
use crate::rewrite::{Exactness, Rule, require, var};
use crate::rules::support::spelled_out::Numbers;

const ALPHA: Key<f32> = Key::new("alpha", 1.0);

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("lower-celu", Exactness::Rounding, Celu.of(x), move |m| {
        let alpha = ALPHA.of(m.root().node());
        require(alpha > 0.0 && alpha.is_finite(), "α is not positive")?;
        if alpha == 1.0 {
            return Ok(Elu.emit([m[x].into()]).named_like(m.root()));
        }
        let alpha = Numbers::like(m.ty(x))?.of(alpha.into())?;
        Ok((Elu.emit([crate::rewrite::Expr::from(m[x]) / alpha.clone()]) * alpha).named_like(m.root()))
    })
}
