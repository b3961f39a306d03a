//! `Transpose(Transpose(x))` is one `Transpose`, or nothing where the second undoes the first.

use crate::ir::OpKind::Transpose;
use crate::rewrite::{Exactness, Expr, Rule, Skip, call, var};
use crate::rules::support::axes::{composed, permutation, spelled};

pub fn rule() -> Rule {
    let (x, inner, outer) = (var("x"), call("inner"), call("outer"));
    let pattern = Transpose.of(Transpose.of(x).bind(inner)).bind(outer);
    Rule::new("merge-transposes", Exactness::Bitwise, pattern, move |m| {
        let first = permutation(&m.call(inner)).ok_or(Skip::NotThis)?;
        let second = permutation(&m.call(outer)).ok_or(Skip::NotThis)?;
        let both = composed(&first, &second).ok_or(Skip::NotThis)?;
        if both.is_sorted() {
            return Ok(Expr::Value(m[x]));
        }
        Ok(Transpose.emit([m[x].into()]).named_like(m.call(outer)).with("perm", spelled(&both)))
    })
    .even_if_shared()
}
