//! The Gaussian error linear unit spelled out is `Gelu` (opset 20).
//!
//! With Erf it is `0.5 · x · (1 + erf(x / √2))`; with Tanh, `0.5 · x · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
//! Factors may stand in any order, be multiplied out or taken together.
//!
//! Declines where something on the way is also read elsewhere.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::ir::OpKind::{self, Add, Div, Erf, Gelu, Mul, Tanh};
use crate::rewrite::{Exactness, Match, Rule, Skip, any_of};
use crate::rules::support::formula::{self, Found};

/// √(2/π).
const SLOPE: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;

/// What stands before the cube.
const CUBIC: f64 = 0.044715;

pub fn rule() -> Rule {
    Rule::new("fuse-gelu", Exactness::Rounding, any_of(&[Mul, Div, Add]), |m| {
        let found = read(m)?;
        let gelu = Gelu.emit([found.x.into()]).named_like(m.root());
        Ok(if found.what == Tanh { gelu.with("approximate", "tanh") } else { gelu })
    })
    .even_if_shared()
}

/// The `x` of a root that is its unit, and whether by `Erf` or `Tanh`.
///
/// # Errors
/// As [`formula::read`].
pub fn read(m: &Match<'_>) -> Result<Found<OpKind>, Skip> {
    formula::read(m, &[Erf, Tanh], |atom, inner, outer, dtype| {
        // Both functions are odd: they give the sign of their operand back.
        [1.0, -1.0].into_iter().find_map(|sign| {
            let is_gate = outer.is(&[0.0, 0.5], &[0.0, 0.5 * sign], dtype);
            let argument: &[f64] = match atom.node().op {
                Erf => &[0.0, sign * FRAC_1_SQRT_2],
                _ => &[0.0, sign * SLOPE, 0.0, sign * SLOPE * CUBIC],
            };
            (is_gate && inner.is(argument, &[], dtype)).then_some(atom.node().op)
        })
    })
}
