//! `Mul` and `Div` by constants in a row are one.
//!
//! `(x · a) · b` is `x · (a·b)`, `(x · a) / b` is `x · (a/b)`, `(x / a) · b` is `x · (b/a)`, `(x / a) / b` is
//! `x / (a·b)`, for floats.
//!
//! Declines where the combined factor overflows or vanishes, would be larger than either, or where a factor of more
//! than 64 KB is also read elsewhere.

use crate::ir::OpKind::{Div, Mul};
use crate::rewrite::{Exactness, Rule, Skip, call, constant, require, var};
use crate::rules::support::numbers::{combine, may_replace, smallest};

pub fn rule() -> Rule {
    let (x, a, b, inner, outer) = (var("x"), constant("a"), constant("b"), call("inner"), call("outer"));
    let first = || Mul.of((x, a)).bind(inner).or(Div.of((x, a)).bind(inner));
    let pattern = Mul.of((first(), b)).bind(outer).or(Div.of((first(), b)).bind(outer));
    Rule::new("merge-scales", Exactness::Rounding, pattern, move |m| {
        let (first, second) = (m.call(inner).node().op, m.call(outer).node().op);
        let (op, f): (_, fn(f64, f64) -> f64) = match (first, second) {
            (Mul, Mul) => (Mul, |a, b| a * b),
            (Mul, Div) => (Mul, |a, b| a / b),
            (Div, Mul) => (Mul, |a, b| b / a),
            (Div, Div) => (Div, |a, b| a * b),
            _ => return Err(Skip::NotThis),
        };
        require(may_replace(m, a) && may_replace(m, b), "a factor is shared with another node")?;
        // What vanishes would be a zero where the two factors left something: as bad as an overflow.
        let smallest = smallest(m[a].dtype());
        let whole = move |a: f64, b: f64| match f(a, b) {
            p if p.abs() >= smallest || a == 0.0 || b == 0.0 => p,
            _ => f64::NAN,
        };
        let limit = m[a].len().max(m[b].len());
        let factor = combine(&m[a], &m[b], limit, whole).ok_or(Skip::NotThis)?;
        Ok(op.emit([m[x].into(), factor.into()]).named_like(m.call(outer)))
    })
}
