//! `ReduceLogSumExp(x)` is `m + Log(ReduceSum(Exp(x - m)))`, where m is the maximum over the same axes, so that no
//! exponential overflows. The maximum is kept finite: infinity less infinity is no number.
//!
//! Declines where axes are computed, or empty and then taken for none.

use crate::ir::OpKind::{Clip, Exp, Log, ReduceLogSumExp, ReduceMax, ReduceSum, Squeeze};
use crate::rewrite::{Exactness, Expr, Rule, call, require, var};
use crate::rules::support::numbers::largest;
use crate::rules::support::reductions::{KEEPDIMS, reduced};
use crate::rules::support::spelled_out::{Numbers, ints};

pub fn rule() -> Rule {
    let (x, sum) = (var("x"), call("sum"));
    let pattern = ReduceLogSumExp.any().on(x).bind(sum);
    Rule::new("lower-reduce-log-sum-exp", Exactness::Rounding, pattern, move |m| {
        let (sum, n) = (m.call(sum), Numbers::like(m.ty(x))?);
        let axes = reduced(&sum).filter(|axes| !axes.is_empty());
        let axes: Option<Vec<i64>> = axes.map(|axes| axes.into_iter().filter_map(|a| i64::try_from(a).ok()).collect());
        require(axes.is_some(), "its axes are not known")?;
        let axes = ints(&axes.unwrap_or_default());
        let end = largest(n.dtype);
        let x: Expr = m[x].into();
        let most = Clip.emit([ReduceMax.emit([x.clone(), axes.clone()]), n.of(-end)?, n.of(end)?]);
        let sums = ReduceSum.emit([Exp.emit([x - most.clone()]), axes.clone()]).with("keepdims", i64::from(KEEPDIMS.of(sum.node())));
        let most = if KEEPDIMS.of(sum.node()) { most } else { Squeeze.emit([most, axes]) };
        Ok((Log.emit([sums]) + most).named_like(sum))
    })
}
