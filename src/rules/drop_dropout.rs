//! `Dropout(x)` outside training is `x`.
//!
//! Declines in training mode, and where the mask is read.

use crate::ir::OpKind::Dropout;
use crate::rewrite::{Exactness, Rule, call, require};
use crate::rules::support::readers::only_first_is_read;

pub fn rule() -> Rule {
    let dropout = call("dropout");
    Rule::new("drop-dropout", Exactness::Bitwise, Dropout.any().bind(dropout), move |m| {
        let call = m.call(dropout);
        let trains = call.has(2) && call.known_ints(2).is_none_or(|mode| mode != [0]);
        require(!trains, "it may be in training mode")?;
        require(only_first_is_read(m), "its mask is read")?;
        call.operand(0).ok_or(crate::rewrite::Skip::NotThis)
    })
}
