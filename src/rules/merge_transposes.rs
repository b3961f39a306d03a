//! `Transpose(Transpose(x))` is one `Transpose`, or nothing where the second undoes the first.

use crate::ir::OpKind::Transpose;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, call, var};
use crate::rules::support::axes::permutation;

pub fn rule() -> Rule {
    let (x, inner, outer) = (var("x"), call("inner"), call("outer"));
    let pattern = Transpose.of(Transpose.of(x).bind(inner)).bind(outer);
    Rule::new("merge-transposes", Exactness::Bitwise, pattern, move |m| {
        let first = permutation(&m.call(inner)).ok_or(Skip::NotThis)?;
        let second = permutation(&m.call(outer)).ok_or(Skip::NotThis)?;
        applies(first.len() == second.len())?;
        let both: Vec<usize> = second.iter().map(|&axis| first[axis]).collect();
        if both.is_sorted() {
            return Ok(Expr::Value(m[x]));
        }
        let perm: Vec<i64> = both.iter().map(|&axis| i64::try_from(axis).unwrap_or(i64::MAX)).collect();
        Ok(Transpose.emit([m[x].into()]).named_like(m.call(outer)).with("perm", perm))
    })
    .even_if_shared()
}
