//! Axes and permutations as a call gives them.

use crate::ir::Tensor;
use crate::ops::normalize_axis;
pub use crate::ops::slice::permutation;

/// Whether every number below the length stands in `axes` once.
pub fn is_permutation(axes: &[usize]) -> bool {
    let mut seen = vec![false; axes.len()];
    axes.iter().all(|&axis| seen.get_mut(axis).is_some_and(|seen| !std::mem::replace(seen, true)))
}

/// A permutation as the attribute spells it.
pub fn spelled(perm: &[usize]) -> Vec<i64> {
    perm.iter().map(|&axis| i64::try_from(axis).unwrap_or(i64::MAX)).collect()
}

/// The one permutation that `first` and then `second` are; `None` when they are of different ranks.
pub fn composed(first: &[usize], second: &[usize]) -> Option<Vec<usize>> {
    (first.len() == second.len()).then(|| second.iter().map(|&axis| first[axis]).collect())
}

/// Axes counted from the front, in the same order; `None` when one is out of range or stands twice.
pub fn normalize_each(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let front: Vec<usize> = axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Option<_>>()?;
    (1..front.len()).all(|i| !front[..i].contains(&front[i])).then_some(front)
}

/// Axes counted from the front, sorted; `None` when one is out of range or stands twice.
pub fn normalized(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let mut front = normalize_each(axes, rank)?;
    front.sort_unstable();
    Some(front)
}

/// Axes as the operand that a call takes.
pub fn operand(axes: &[usize]) -> Tensor {
    Tensor::vector(&spelled(axes))
}
