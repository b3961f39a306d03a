//! `Transpose` that leaves every axis where it is, is nothing.

use crate::ir::OpKind::Transpose;
use crate::rewrite::{Exactness, Rule, Skip, applies, var};
use crate::rules::support::axes::permutation;

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("drop-transpose", Exactness::Bitwise, Transpose.of(x), move |m| {
        let perm = permutation(&m.root()).ok_or(Skip::NotThis)?;
        applies(perm.is_sorted())?;
        Ok(m[x])
    })
}
