//! Normalizations whose attributes speak of how many channels there are.

use super::edit::Edit;
use crate::ir::Key;
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
