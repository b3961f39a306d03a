//! `MeanVarianceNormalization(x)` is `(x - mean) / (√variance + 10⁻⁹)` over its axes.

use crate::ir::Key;
use crate::ir::OpKind::{MeanVarianceNormalization, Sqrt};
use crate::rewrite::{Exactness, Expr, Rule, var};
use crate::rules::support::spelled_out::{Numbers, mean};

const AXES: Key<&[i64]> = Key::new("axes", &[0, 2, 3]);

pub fn rule() -> Rule {
    let x = var("x");
    let pattern = MeanVarianceNormalization.of(x);
    Rule::new("lower-mean-variance-normalization", Exactness::Rounding, pattern, move |m| {
        let (n, axes) = (Numbers::like(m.ty(x))?, AXES.of(m.root().node()));
        let x: Expr = m[x].into();
        let centred = x.clone() - mean(x, axes);
        let deviation = Sqrt.emit([mean(centred.clone() * centred.clone(), axes)]);
        Ok((centred / (deviation + n.of(1e-9)?)).named_like(m.root()))
    })
}
