//! `x · HardSigmoid(x)` with a slope of 1/6 around 1/2 is `HardSwish` (opset 14); so is `x · Clip(x + 3, 0, 6) / 6`.
//!
//! Declines where the gate is also read elsewhere.

use crate::ir::OpKind::{Clip, Div, HardSigmoid, HardSwish, Mul};
use crate::ir::Key;
use crate::rewrite::{Exactness, Rule, any_of};
use crate::rules::support::bounds::Interval;
use crate::rules::support::formula::{self, near};

const ALPHA: Key<f32> = Key::new("alpha", 0.2);
const BETA: Key<f32> = Key::new("beta", 0.5);

pub fn rule() -> Rule {
    Rule::new("fuse-hard-swish", Exactness::Rounding, any_of(&[Mul, Div]), |m| {
        let found = formula::read(m, &[Clip, HardSigmoid], |gate, inner, outer, dtype| {
            let (slope, shift) = inner.as_line()?;
            let scale = outer.as_multiple_of_x_atom()?;
            let (slope, shift, high) = match gate.node().op {
                Clip => {
                    let Interval { low, high } = Interval::of(gate)?;
                    (slope, shift, low.filter(|low| low.at == 0.0).and(high)?.at)
                }
                _ => {
                    let (alpha, beta) = (f64::from(ALPHA.of(gate.node())), f64::from(BETA.of(gate.node())));
                    (alpha * slope, alpha * shift + beta, 1.0)
                }
            };
            let is = |got: f64, wanted| near(got * scale, wanted, dtype);
            (is(slope, 1.0 / 6.0) && is(shift, 0.5) && is(high, 1.0)).then_some(())
        })?;
        Ok(HardSwish.emit([found.x.into()]).named_like(m.root()))
    })
    .even_if_shared()
}
