//! Recurrent layers that lose units of their state.

use super::edit::Edit;
use crate::ops::End;
use crate::prune::call::Call;

pub(super) fn edits(call: &Call<'_>) -> Vec<Edit> {
    let units = call.kept(End::operand(2, 2)).and_then(|kept| i64::try_from(kept.len()).ok());
    units.map(|units| Edit::Set(call.view.id(), "hidden_size", units.into())).into_iter().collect()
}
