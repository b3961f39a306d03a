//! A value divided by its norm along one axis, `x / ReduceL2(x)` or `x / ReduceL1(x)`, is `LpNormalization`, which gives
//! zeros where the norm is zero.
//!
//! With a guard against small norms (`Clip`, `Max`, a sum with ε) it is another function, and stays. Declines where the
//! norm is also read elsewhere.

use crate::ir::OpKind::{LpNormalization, ReduceL1, ReduceL2};
use crate::rewrite::{Exactness, Rule, Skip, any_of, call, var};
use crate::rules::support::reductions::kept_axis;

pub fn rule() -> Rule {
    let (x, norm) = (var("x"), call("norm"));
    let pattern = x / any_of(&[ReduceL1, ReduceL2]).on(x).bind(norm);
    Rule::new("fuse-lp-norm", Exactness::Rounding, pattern, move |m| {
        let norm = m.call(norm);
        let axis = kept_axis(&norm).and_then(|axis| i64::try_from(axis).ok()).ok_or(Skip::NotThis)?;
        let p = if norm.node().op == ReduceL1 { 1i64 } else { 2 };
        Ok(LpNormalization.emit([m[x].into()]).with("axis", axis).with("p", p).named_like(m.root()))
    })
}
