//! `Pad` by nothing is nothing.

use crate::ir::OpKind::Pad;
use crate::rewrite::{Exactness, Rule, Skip, applies};

pub fn rule() -> Rule {
    Rule::new("drop-pad", Exactness::Bitwise, Pad.any(), |m| {
        applies(m.root().known_ints(1).is_some_and(|pads| pads.iter().all(|&p| p == 0)))?;
        m.root().operand(0).ok_or(Skip::NotThis)
    })
}
