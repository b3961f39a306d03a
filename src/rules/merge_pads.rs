//! `Pad(Pad(x))` with the same constant is one `Pad`.
//!
//! Declines where one of the two takes elements away: what the other adds would not be what is taken.

use crate::ir::OpKind::Pad;
use crate::ir::Tensor;
use crate::rewrite::{Exactness, Rule, Skip, applies, call, require};
use crate::rules::support::pads::{amounts, fill, spelled};

pub fn rule() -> Rule {
    let (inner, outer) = (call("inner"), call("outer"));
    let pattern = Pad.any().on(Pad.any().bind(inner)).bind(outer);
    Rule::new("merge-pads", Exactness::Bitwise, pattern, move |m| {
        let (inner, outer) = (m.call(inner), m.call(outer));
        let (first, second) = (amounts(&inner).ok_or(Skip::NotThis)?, amounts(&outer).ok_or(Skip::NotThis)?);
        // Bit by bit: 0 and −0 are different constants, and a NaN equals none.
        let filled = (fill(&inner).ok_or(Skip::NotThis)?, fill(&outer).ok_or(Skip::NotThis)?);
        applies(first.len() == second.len() && filled.0.to_bits() == filled.1.to_bits())?;
        let grows = |amounts: &[(i64, i64)]| amounts.iter().all(|&(a, b)| a >= 0 && b >= 0);
        require(grows(&first) && grows(&second), "one of the two takes elements away")?;
        let both: Option<Vec<(i64, i64)>> =
            first.iter().zip(&second).map(|(a, b)| Some((a.0.checked_add(b.0)?, a.1.checked_add(b.1)?))).collect();
        let pads = Tensor::vector(&spelled(&both.ok_or(Skip::NotThis)?));
        Ok(Pad.emit([inner.operand(0).into(), pads.into(), outer.operand(2).into()]).named_like(outer))
    })
}
