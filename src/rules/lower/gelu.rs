//! `Gelu(x)` is `0.5 · x · (1 + erf(x / √2))`, or `0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::ir::Attr;
use crate::ir::OpKind::{Erf, Gelu, Tanh};
use crate::rewrite::{Exactness, Expr, Rule, var};
use crate::rules::support::spelled_out::Numbers;

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("lower-gelu", Exactness::Rounding, Gelu.of(x), move |m| {
        let n = Numbers::like(m.ty(x))?;
        let x: Expr = m[x].into();
        let bell = match m.root().node().attr("approximate") {
            Some(Attr::Str(name)) if **name == *b"tanh" => {
                let cube = x.clone() * x.clone() * x.clone() * n.of(0.044715)?;
                Tanh.emit([(x.clone() + cube) * n.of(FRAC_2_SQRT_PI * FRAC_1_SQRT_2)?])
            }
            _ => Erf.emit([x.clone() * n.of(FRAC_1_SQRT_2)?]),
        };
        Ok((x * n.of(0.5)? * (bell + n.of(1.0)?)).named_like(m.root()))
    })
}
