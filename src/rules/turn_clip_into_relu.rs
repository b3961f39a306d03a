//! `Clip` from 0 up is `Relu`, which runtimes fuse with the operator before it.
//!
//! Results may differ in the sign of a zero.

use crate::ir::OpKind::{Clip, Relu};
use crate::rewrite::{Exactness, Rule, Skip, applies, call};
use crate::rules::support::bounds::Interval;

pub fn rule() -> Rule {
    let clip = call("clip");
    Rule::new("turn-clip-into-relu", Exactness::Rounding, Clip.any().bind(clip), move |m| {
        let clip = m.call(clip);
        applies(clip.dtype(0).is_some_and(crate::ir::DType::is_float))?;
        let interval = Interval::of(&clip).ok_or(Skip::NotThis)?;
        applies(interval.low.is_some_and(|low| low.at == 0.0))?;
        applies(interval.high.is_none_or(|high| high.at == f64::INFINITY))?;
        Ok(Relu.emit([clip.operand(0).into()]).named_like(clip))
    })
}
