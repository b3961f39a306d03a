//! `Clip` without bounds, or with infinite ones, is nothing.

use crate::ir::OpKind::Clip;
use crate::rewrite::{Exactness, Rule, Skip, applies};
use crate::rules::support::bounds::Interval;

pub fn rule() -> Rule {
    Rule::new("drop-clip", Exactness::Bitwise, Clip.any(), |m| {
        let interval = Interval::of(&m.root()).ok_or(Skip::NotThis)?;
        let open_below = interval.low.is_none_or(|low| low.at == f64::NEG_INFINITY);
        let open_above = interval.high.is_none_or(|high| high.at == f64::INFINITY);
        applies(open_below && open_above)?;
        m.root().operand(0).ok_or(Skip::NotThis)
    })
}
