//! Normalizations whose attributes speak of how many channels there are.

use super::edit::Edit;
use crate::ir::Key;
use crate::ops::reduce::reduced;
use crate::ops::{End, Port, normalize_axis};
use crate::prune::Refused;
use crate::prune::call::Call;

/// A `GroupNormalization` that loses groups has fewer.
pub(super) fn groups(call: &Call<'_>) -> Vec<Edit> {
    const NUM_GROUPS: Key<i64> = Key::new("num_groups", 0);
    let channels = End::operand(0, 1);
    let left = || {
        let groups = usize::try_from(NUM_GROUPS.of(call.view.node())).ok()?;
        let per_group = call.size(channels)?.checked_div(groups)?;
        i64::try_from(call.kept(channels)?.len().checked_div(per_group)?).ok()
    };
    left().map(|left| Edit::Set(call.view.id(), "num_groups", left.into())).into_iter().collect()
}

/// With `C'` of `C` elements left and zeros in place of the others, the mean is `C'/C` of that of those left.
pub(super) fn mean(call: &Call<'_>) -> Vec<Edit> {
    let ends = reduced(&call.view).into_iter().map(|axis| End::operand(0, axis));
    match 1.0 / left_out(call, ends) {
        1.0 => Vec::new(),
        share => vec![Edit::ScaleResult(call.view.id(), share)],
    }
}

/// How many times as many elements there were along these axes as are left.
fn left_out(call: &Call<'_>, ends: impl Iterator<Item = End>) -> f64 {
    let share = |end| Some(call.size(end)? as f64 / call.size_after(end)? as f64);
    ends.filter(|&end| call.kept(end).is_some()).filter_map(share).product()
}

/// With `C'` of `C` elements left and zeros in place of the others, the mean of squares is `C'/C` of the mean over those
/// left. So `√(mean + ε)` is `√(C'/C)` times that of the rest with `ε·C/C'`, and a scale `√(C/C')` times as large makes
/// up for it.
///
/// The scale is operand `slot`; `epsilon` is what is added where no attribute says it.
pub(super) fn root_mean_square(call: &Call<'_>, slot: usize, epsilon: f32) -> Result<Vec<Edit>, Refused> {
    const AXIS: Key<i64> = Key::new("axis", -1);
    let (node, rank) = (call.view.node(), call.rank(Port::Operand(0)));
    let Some(first) = normalize_axis(AXIS.of(node), rank) else { return Ok(Vec::new()) };
    let ratio = left_out(call, (first..rank).map(|axis| End::operand(0, axis)));
    if ratio == 1.0 {
        return Ok(Vec::new());
    }
    let scale = call.view.constant(slot).filter(|scale| scale.reals().is_some() && scale.dtype().bits() >= 16);
    if scale.is_none() {
        return Err(call.refuse("its scale is no constant of floats", "protect its input from pruning"));
    }
    let epsilon = (f64::from(Key::new("epsilon", epsilon).of(node)) * ratio) as f32;
    let id = call.view.id();
    Ok(vec![Edit::Set(id, "epsilon", epsilon.into()), Edit::Scale(id, slot, ratio.sqrt())])
}
