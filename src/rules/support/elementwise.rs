//! Calls that work element by element on one operand.

use crate::ir::Tensor;
use crate::ops::{CallView, Channels, def, is_deterministic};

/// The operand of a call that works element by element on it, with constants at most beside it that `allows` names.
pub fn carrier(call: &CallView<'_>, allows: impl Fn(&Tensor) -> bool) -> Option<usize> {
    let one_result = call.graph().results(call.id()).len() == 1;
    let element_wise = (def(call.node().op).channels)(call) == Channels::Tied;
    if !one_result || !element_wise || !is_deterministic(call.graph(), call.id()) {
        return None;
    }
    let mut carriers = (0..call.operand_count()).filter(|&slot| match call.constant(slot) {
        Some(t) => !allows(t),
        None => call.has(slot),
    });
    let only = carriers.next()?;
    carriers.next().is_none().then_some(only)
}
