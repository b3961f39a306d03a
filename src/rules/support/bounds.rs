//! `Clip` and `Relu` as an interval.

use crate::ir::{OpKind, Tensor};
use crate::ops::CallView;
use crate::rewrite::Expr;

/// One end of an interval: the number, and what holds it.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The number.
    pub at: f64,
    /// The operand that says so.
    pub operand: Expr,
}

/// What `Clip` or `Relu` confines its operand to; an absent end does not confine it.
#[derive(Clone, Debug, Default)]
pub struct Interval {
    /// The lower end.
    pub low: Option<Bound>,
    /// The upper end.
    pub high: Option<Bound>,
}

impl Interval {
    /// The interval of a call; `None` when an end is computed, is NaN, or the ends are the wrong way round.
    pub fn of(call: &CallView<'_>) -> Option<Interval> {
        if call.node().op == OpKind::Relu {
            let zero = Tensor::rounded(call.dtype(0)?, &[], &[0.0]).ok()?;
            return Some(Interval { low: Some(Bound { at: 0.0, operand: zero.into() }), high: None });
        }
        let end = |slot| match call.operand(slot) {
            None => Some(None),
            Some(operand) => {
                let bound = call.constant(slot)?;
                // A large integer is not exact as a float.
                let exact = bound.integer().is_none_or(|i| i.unsigned_abs() < 1 << 53);
                let at = bound.item().filter(|at| exact && !at.is_nan())?;
                Some(Some(Bound { at, operand: operand.into() }))
            }
        };
        let interval = Interval { low: end(1)?, high: end(2)? };
        match (&interval.low, &interval.high) {
            (Some(low), Some(high)) if low.at > high.at => None,
            _ => Some(interval),
        }
    }

    /// This interval and then `next`.
    pub fn then(&self, next: &Interval) -> Interval {
        let end = |mine: &Option<Bound>, theirs: &Option<Bound>| match mine {
            Some(mine) => Some(next.confine(mine)),
            None => theirs.clone(),
        };
        Interval { low: end(&self.low, &next.low), high: end(&self.high, &next.high) }
    }

    fn confine(&self, x: &Bound) -> Bound {
        let low = self.low.as_ref().filter(|low| x.at < low.at);
        let high = self.high.as_ref().filter(|high| x.at > high.at);
        low.or(high).unwrap_or(x).clone()
    }

    /// Whether both confine to the same numbers.
    pub fn same_as(&self, other: &Interval) -> bool {
        let at = |b: &Option<Bound>| b.as_ref().map(|b| b.at);
        at(&self.low) == at(&other.low) && at(&self.high) == at(&other.high)
    }
}
