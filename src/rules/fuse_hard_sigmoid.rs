//! `α · x + β` confined to 0 and 1 is `HardSigmoid`; so is a multiple of what is confined to 0 and more.
//!
//! Declines where β is 0, as not every runtime reads that, and where something on the way is also read elsewhere.

use crate::ir::OpKind::{Clip, Div, HardSigmoid, Mul};
use crate::rewrite::{Exactness, Rule, any_of};
use crate::rules::support::bounds::Interval;
use crate::rules::support::formula::{self, near};

pub fn rule() -> Rule {
    Rule::new("fuse-hard-sigmoid", Exactness::Rounding, any_of(&[Clip, Mul, Div]), |m| {
        let found = formula::read(m, &[Clip], |clip, inner, outer, dtype| {
            let (slope, shift) = inner.as_line()?;
            let scale = outer.as_multiple_of_atom()?;
            let Interval { low, high } = Interval::of(clip)?;
            let is_unit = low?.at == 0.0 && scale > 0.0 && near(scale * high?.at, 1.0, dtype);
            let (alpha, beta) = (slope * scale, shift * scale);
            // The attributes are of single precision.
            let is_precise = |c: f64| near(f64::from(c as f32), c, dtype);
            // OpenVINO takes a β of 0 for an attribute that is left out.
            (is_unit && beta != 0.0 && is_precise(alpha) && is_precise(beta)).then_some((alpha, beta))
        })?;
        let (alpha, beta) = found.what;
        Ok(HardSigmoid
            .emit([found.x.into()])
            .with("alpha", alpha as f32)
            .with("beta", beta as f32)
            .named_like(m.root()))
    })
    .even_if_shared()
}
