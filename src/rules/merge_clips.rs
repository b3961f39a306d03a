//! `Clip` and `Relu` in a row are one: the interval that is left of both. (`Relu` is a `Clip` from 0 up.)
//!
//! Results may differ in the sign of a zero. Declines where the first is also read elsewhere.

use crate::ir::OpKind::{Clip, Relu};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, call};
use crate::rules::support::bounds::{Bound, Interval};

pub fn rule() -> Rule {
    let (inner, outer) = (call("inner"), call("outer"));
    let pattern = any_of(&[Clip, Relu]).on(any_of(&[Clip, Relu]).bind(inner)).bind(outer);
    Rule::new("merge-clips", Exactness::Rounding, pattern, move |m| {
        let (inner, outer) = (m.call(inner), m.call(outer));
        let first = Interval::of(&inner).ok_or(Skip::NotThis)?;
        let both = first.then(&Interval::of(&outer).ok_or(Skip::NotThis)?);
        if both.same_as(&first) {
            return Ok(outer.operand(0).into());
        }
        let middle = outer.operand(0).ok_or(Skip::NotThis)?;
        if !m.owns_value(middle) {
            return Err(Skip::InnerResultShared);
        }
        let x: Expr = inner.operand(0).into();
        let relu = inner.node().op == Relu || outer.node().op == Relu;
        if relu && both.high.is_none() && both.low.as_ref().is_some_and(|low| low.at == 0.0) {
            return Ok(Relu.emit([x]).named_like(outer));
        }
        let end = |bound: Option<Bound>| bound.map_or(Expr::Absent, |b| b.operand);
        Ok(Clip.emit([x, end(both.low), end(both.high)]).named_like(outer))
    })
    .even_if_shared()
}
