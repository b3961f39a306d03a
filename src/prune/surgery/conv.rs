//! Convolutions in groups: those that lose groups have fewer.

use super::edit::Edit;
use crate::ir::{Key, OpKind};
use crate::ops::End;
use crate::ops::window::groups;
use crate::prune::Refused;
use crate::prune::call::Call;

pub(super) fn edits(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    const OFFSET_GROUP: Key<i64> = Key::new("offset_group", 1);
    let channels = End::operand(0, 1);
    let Some(kept) = call.kept(channels) else { return Ok(Vec::new()) };
    if call.view.node().op == OpKind::DeformConv && OFFSET_GROUP.of(call.view.node()) > 1 {
        let why = "groups of its channels have offsets of their own";
        return Err(call.refuse(why, "protect its input from pruning"));
    }
    let groups = groups(&call.view).unwrap_or(1);
    let per_group = call.size(channels).map_or(0, |size| size / groups);
    let mut left: Vec<usize> = kept.iter().filter_map(|index| index.checked_div(per_group)).collect();
    left.dedup();
    if left.len() == groups {
        return Ok(Vec::new());
    }
    let left = i64::try_from(left.len()).unwrap_or(i64::MAX);
    Ok(vec![Edit::Set(call.view.id(), "group", left.into())])
}
