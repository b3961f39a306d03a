//! `Pad` with zeros before a `Conv` is the convolution's own padding.
//!
//! Declines where the padding is not zero, takes elements away or reaches the batch or channel axis, and where the
//! convolution works its padding out from the size.

use crate::ir::OpKind::{Conv, Pad};
use crate::rewrite::{Exactness, Rule, Skip, call, require};
use crate::rules::support::pads::{amounts, fill, own, spatial, spelled};

pub fn rule() -> Rule {
    let (pad, conv) = (call("pad"), call("conv"));
    let pattern = Conv.any().on(Pad.any().bind(pad)).bind(conv);
    Rule::new("fold-pad-into-conv", Exactness::Bitwise, pattern, move |m| {
        let (pad, conv) = (m.call(pad), m.call(conv));
        let amounts = amounts(&pad).ok_or(Skip::NotThis)?;
        require(fill(&pad) == Some(0.0), "the padding is not zero")?;
        let spatial = spatial(&amounts)?;
        let mut own = own(&conv, spatial.len())?;
        for (own, more) in own.iter_mut().zip(spatial) {
            own.0 = own.0.checked_add(more.0).ok_or(Skip::NotThis)?;
            own.1 = own.1.checked_add(more.1).ok_or(Skip::NotThis)?;
        }
        let operands = [pad.operand(0).into(), conv.operand(1).into(), conv.operand(2).into()];
        Ok(Conv.emit(operands).like(conv).without("auto_pad").with("pads", spelled(&own)))
    })
}
