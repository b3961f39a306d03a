//! Normalizations whose attributes speak of how many channels there are.

use super::edit::Edit;
use crate::ir::Key;
use crate::ops::{End, Port, normalize_axis};
use crate::prune::Refused;
use crate::prune::call::Call;

/// A `GroupNormalization` that loses groups has fewer.
pub(super) fn groups(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    const NUM_GROUPS: Key<i64> = Key::new("num_groups", 0);
    let channels = End::operand(0, 1);
    let (Some(kept), Some(size)) = (call.kept(channels), call.size(channels)) else { return Ok(Vec::new()) };
    let groups = usize::try_from(NUM_GROUPS.of(call.view.node())).unwrap_or(0);
    let left = size.checked_div(groups).and_then(|per_group| kept.len().checked_div(per_group));
    match left.and_then(|left| i64::try_from(left).ok()) {
        Some(left) => Ok(vec![Edit::Set(call.view.id(), "num_groups", left.into())]),
        None => Err(call.refuse("how many groups it has is not known", "protect its input from pruning")),
    }
}

/// With `C'` of `C` elements left and zeros in place of the others, the mean of squares is `C'/C` of the mean over those
/// left. So `√(mean + ε)` is `√(C'/C)` times that of the rest with `ε·C/C'`, and a scale `√(C/C')` times as large makes
/// up for it.
pub(super) fn root_mean_square(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    const AXIS: Key<i64> = Key::new("axis", -1);
    const EPSILON: Key<f32> = Key::new("epsilon", 1e-5);
    let (node, rank) = (call.view.node(), call.rank(Port::Operand(0)));
    let Some(first) = normalize_axis(AXIS.of(node), rank) else { return Ok(Vec::new()) };
    let ends = (first..rank).map(|axis| End::operand(0, axis)).filter(|&end| call.kept(end).is_some());
    let share = |end| Some(call.size(end)? as f64 / call.size_after(end)? as f64);
    let ratio: f64 = ends.filter_map(share).product();
    if ratio == 1.0 {
        return Ok(Vec::new());
    }
    let scale = call.view.constant(1).filter(|scale| scale.reals().is_some() && scale.dtype().bits() >= 16);
    if scale.is_none() {
        return Err(call.refuse("its scale is no constant of floats", "protect its input from pruning"));
    }
    let epsilon = (f64::from(EPSILON.of(node)) * ratio) as f32;
    let id = call.view.id();
    Ok(vec![Edit::Set(id, "epsilon", epsilon.into()), Edit::Scale(id, 1, ratio.sqrt())])
}
