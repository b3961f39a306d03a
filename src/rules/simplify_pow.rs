//! Powers that a cheaper operator computes: `x²` is `x · x`, `x^½` is `Sqrt(x)`, `x⁻¹` is `Reciprocal(x)`. For floats.
//!
//! A square that is averaged stays: runtimes know a normalization by it. Declines where the constant's shape would make
//! the result larger than `x`.

use crate::ir::OpKind::{Mul, Pow, ReduceMean, Reciprocal, Sqrt};
use crate::ir::User;
use crate::rewrite::{Exactness, Match, Rule, Skip, applies, constant, require, var};
use crate::rules::support::broadcast::keeps_shape;
use crate::rules::support::numbers::is_foldable_float;

pub fn rule() -> Rule {
    let (x, power) = (var("x"), constant("power"));
    Rule::new("simplify-pow", Exactness::Rounding, Pow.of((x, power)), move |m| {
        applies(m.ty(x).dtype().is_some_and(is_foldable_float))?;
        let exponent = m[power].real(0).and_then(|_| m[power].uniform_real()).ok_or(Skip::NotThis)?;
        let simple = if exponent == 2.0 {
            applies(!is_averaged(m))?;
            Mul.emit([m[x].into(), m[x].into()])
        } else if exponent == 0.5 {
            Sqrt.emit([m[x].into()])
        } else if exponent == -1.0 {
            Reciprocal.emit([m[x].into()])
        } else {
            return Err(Skip::NotThis);
        };
        require(keeps_shape(m, x, &m[power]), "the constant may broadcast x to a larger shape")?;
        Ok(simple.named_like(m.root()))
    })
}

/// Whether a mean is taken of the root's result.
fn is_averaged(m: &Match<'_>) -> bool {
    let graph = m.graph();
    let users = graph.result(m.root().id(), 0).map(|v| graph.value(v).users());
    users.is_some_and(|u| u.iter().any(|u| matches!(u, User::Node(n, _) if graph.node(*n).op == ReduceMean)))
}
