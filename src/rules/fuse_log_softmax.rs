//! The logarithm of `Softmax` is `LogSoftmax`, which is finite where the softmax is too small for its type; so is
//! `x - log Σ exp(x)` along one axis, also with `x - max(x)` for `x`.
//!
//! Declines where something on the way is also read elsewhere.

use crate::ir::OpKind::{Exp, Log, LogSoftmax, ReduceLogSum, ReduceLogSumExp, ReduceSum, Softmax};
use crate::rewrite::{Exactness, Rule, Skip, call, var};
use crate::rules::support::reductions::kept_axis;
use crate::rules::support::softmax::{along, unshifted};

pub fn rule() -> Rule {
    let (x, softmax, sum) = (var("x"), call("softmax"), call("sum"));
    let direct = Log.of(Softmax.of(x).bind(softmax));
    let total = (ReduceLogSumExp.any().on(x).bind(sum))
        .or(ReduceLogSum.any().on(Exp.of(x)).bind(sum))
        .or(Log.of(ReduceSum.any().on(Exp.of(x)).bind(sum)));
    Rule::new("fuse-log-softmax", Exactness::Rounding, direct.or(x - total), move |m| {
        if m.root().node().op == Log {
            return Ok(LogSoftmax.emit([m[x].into()]).like(m.call(softmax)).named_like(m.root()));
        }
        let axis = kept_axis(&m.call(sum)).ok_or(Skip::NotThis)?;
        along(m, LogSoftmax, unshifted(m.graph(), m[x], axis), axis)
    })
}
