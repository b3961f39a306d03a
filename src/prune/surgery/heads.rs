//! Attention that loses heads. Tensors of four axes count their heads themselves.

use super::edit::Edit;
use crate::ir::Key;
use crate::ops::{End, Port};
use crate::prune::call::Call;

/// `Attention` of three axes.
pub(super) fn attention(call: &Call<'_>) -> Vec<Edit> {
    [("q_num_heads", 0), ("kv_num_heads", 1)].into_iter().filter_map(|(name, slot)| heads(call, name, slot)).collect()
}

/// `RotaryEmbedding` of three axes.
pub(super) fn rotary(call: &Call<'_>) -> Vec<Edit> {
    heads(call, "num_heads", 0).into_iter().collect()
}

/// How many of the heads that attribute `name` counts are left in operand `slot`: as large a share as of its last axis.
fn heads(call: &Call<'_>, name: &'static str, slot: usize) -> Option<Edit> {
    let end = End::operand(slot, 2);
    if call.rank(Port::Operand(slot)) != 3 {
        return None;
    }
    let heads = usize::try_from(Key::new(name, 0).of(call.view.node())).ok()?;
    let left = call.kept(end)?.len().checked_mul(heads)?.checked_div(call.size(end)?)?;
    Some(Edit::Set(call.view.id(), name, i64::try_from(left).ok()?.into()))
}
