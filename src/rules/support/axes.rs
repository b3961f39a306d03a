//! Axes and permutations as a call gives them.

use crate::ir::{Attr, Key};
use crate::ops::{CallView, normalize_axis};

/// The permutation of a `Transpose`; without `perm` all axes are reversed, which needs a known rank.
pub fn permutation(call: &CallView<'_>) -> Option<Vec<usize>> {
    match call.node().attr("perm") {
        Some(Attr::Ints(perm)) => {
            let perm: Vec<usize> = perm.iter().map(|&p| usize::try_from(p).ok()).collect::<Option<_>>()?;
            let distinct = (0..perm.len()).all(|axis| perm.contains(&axis));
            (distinct && call.rank(0).is_none_or(|rank| rank == perm.len())).then_some(perm)
        }
        Some(_) => None,
        None => Some((0..call.rank(0)?).rev().collect()),
    }
}

/// Axes counted from the front, sorted; `None` when one is out of range or stands twice.
pub fn normalized(axes: &[i64], rank: usize) -> Option<Vec<usize>> {
    let mut front: Vec<usize> = axes.iter().map(|&a| normalize_axis(a, rank)).collect::<Option<_>>()?;
    front.sort_unstable();
    front.windows(2).all(|w| w[0] != w[1]).then_some(front)
}

/// The axes that a reduction takes together, sorted; `None` when they are not known.
pub fn reduced(call: &CallView<'_>) -> Option<Vec<usize>> {
    let rank = call.rank(0)?;
    let axes = if call.has(1) { call.known_ints(1)? } else { Vec::new() };
    match axes.is_empty() {
        true if NOOP_WITH_EMPTY_AXES.of(call.node()) => Some(Vec::new()),
        true => Some((0..rank).collect()),
        false => normalized(&axes, rank),
    }
}

/// Whether a reduction keeps the axes that it takes together, with size 1.
pub const KEEPDIMS: Key<bool> = Key::new("keepdims", true);

/// Whether a reduction over no axes leaves its operand as it is, instead of meaning all axes.
pub const NOOP_WITH_EMPTY_AXES: Key<bool> = Key::new("noop_with_empty_axes", false);

/// Axes as the operand that a call takes.
pub fn operand(axes: &[usize]) -> crate::ir::Tensor {
    let axes: Vec<i64> = axes.iter().map(|&a| i64::try_from(a).unwrap_or(i64::MAX)).collect();
    crate::ir::Tensor::vector(&axes)
}
