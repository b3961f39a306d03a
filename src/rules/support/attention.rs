//! Scaled dot-product attention as exporters spell it: a product of queries and keys, scaled, a mask added, `Softmax`,
//! and a product with the values.

use crate::ir::OpKind::{Add, Div, MatMul, Mul, Transpose};
use crate::ir::{Graph, Int, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Expr, Skip, applies, require};
use crate::rules::support::axes::{permutation, spelled};
use crate::rules::support::numbers::is_foldable_float;
use crate::rules::support::readers::only_read_by;

/// What goes into the softmax: `scale · queries · keysᵀ + mask`.
pub struct Scores {
    /// Queries, as they are before any scale.
    pub queries: ValueId,
    /// Keys with their last two axes swapped, as they are before any scale.
    pub swapped_keys: ValueId,
    /// What is added.
    pub mask: Option<ValueId>,
    /// The product of all scales.
    pub scale: f64,
}

/// How many scales in a row are looked through.
const LONGEST: usize = 4;

impl Scores {
    /// The scores that `value` is, which only `reader` reads.
    pub fn of(graph: &Graph, value: ValueId, reader: &CallView<'_>) -> Result<Scores, Skip> {
        let (mut at, mut reader, mut mask, mut scale, mut shared) = (value, *reader, None, 1.0, false);
        for _ in 0..LONGEST {
            let call = producer(graph, at).ok_or(Skip::NotThis)?;
            shared |= !only_read_by(graph, at, reader.id());
            let next = match call.node().op {
                MatMul => {
                    let (queries, q) = unscaled(graph, call.operand(0).ok_or(Skip::NotThis)?);
                    let (swapped_keys, k) = unscaled(graph, call.operand(1).ok_or(Skip::NotThis)?);
                    // Said only of what would have been found, had nobody else read it.
                    if shared {
                        return Err(Skip::InnerResultShared);
                    }
                    return Ok(Scores { queries, swapped_keys, mask, scale: scale * q * k });
                }
                Add if mask.is_none() && scale == 1.0 => {
                    let is_scores = |slot: usize| call.operand(slot).is_some_and(|v| leads_to_product(graph, v));
                    let slot = (0..2).find(|&slot| is_scores(slot)).ok_or(Skip::NotThis)?;
                    mask = call.operand(1 - slot);
                    // What the mask broadcasts must be itself.
                    applies(call.dims(slot).is_some() && call.dims(slot) == call.result_dims(0))?;
                    call.operand(slot)
                }
                _ => scaled(&call).map(|(x, k)| {
                    scale *= k;
                    x
                }),
            };
            (at, reader) = (next.ok_or(Skip::NotThis)?, call);
        }
        Err(Skip::NotThis)
    }

    /// The dimensions of the queries, and those of the keys with the last two swapped back.
    pub fn dims<'g>(&self, graph: &'g Graph) -> Option<(&'g [Int], Vec<Int>)> {
        let dims = |v: ValueId| graph.value(v).ty.shape().dims();
        let mut keys = dims(self.swapped_keys)?.to_vec();
        let last = keys.len().checked_sub(1).filter(|&last| last > 0)?;
        keys.swap(last, last - 1);
        Some((dims(self.queries)?, keys))
    }

    /// The keys, their axes in the order of the queries'.
    pub fn keys(&self, graph: &Graph, rank: usize) -> Expr {
        let swapped = |axes: &mut [usize]| axes.swap(rank - 1, rank - 2);
        if let Some(call) = producer(graph, self.swapped_keys).filter(|c| c.node().op == Transpose)
            && let (Some(mut perm), Some(x)) = (permutation(&call), call.operand(0))
            && perm.len() == rank
        {
            swapped(&mut perm);
            return if perm.is_sorted() { x.into() } else { Transpose.emit([x.into()]).with("perm", spelled(&perm)) };
        }
        let mut perm: Vec<usize> = (0..rank).collect();
        swapped(&mut perm);
        Transpose.emit([self.swapped_keys.into()]).with("perm", spelled(&perm))
    }
}

/// What makes `value`, as its first result.
fn producer(graph: &Graph, value: ValueId) -> Option<CallView<'_>> {
    let (node, slot) = graph.producer(value)?;
    (slot == 0).then(|| CallView::new(graph, node))
}

/// The other operand of a `Mul` or `Div` by one number, and the factor.
pub fn scaled(call: &CallView<'_>) -> Option<(ValueId, f64)> {
    let by = |slot: usize| {
        let t = call.constant(slot).filter(|t| t.len() == 1 && is_foldable_float(t.dtype()))?;
        let x = call.operand(1 - slot)?;
        // One number in more axes than x has would give it these.
        call.rank(1 - slot).is_some_and(|rank| t.rank() <= rank).then_some((x, t.item()?))
    };
    match call.node().op {
        Mul => by(1).or_else(|| by(0)),
        Div => by(1).map(|(x, k)| (x, k.recip())),
        _ => None,
    }
}

/// `value` without the scales that were put on it last, and their product.
fn unscaled(graph: &Graph, value: ValueId) -> (ValueId, f64) {
    let (mut at, mut scale) = (value, 1.0);
    for _ in 0..LONGEST {
        let Some((x, k)) = producer(graph, at).and_then(|call| scaled(&call)) else { break };
        (at, scale) = (x, scale * k);
    }
    (at, scale)
}

/// Whether `value` is a `MatMul`, scaled or not.
fn leads_to_product(graph: &Graph, value: ValueId) -> bool {
    producer(graph, unscaled(graph, value).0).is_some_and(|call| call.node().op == MatMul)
}

/// Whether a mask of these dimensions has an element for each of the queries and of the keys: `Attention` broadcasts
/// neither axis everywhere.
pub fn require_full_mask(mask: Option<&[Int]>, queries: &Int, keys: &Int) -> Result<(), Skip> {
    let full = mask.is_some_and(|m| m.len() >= 2 && m[m.len() - 2..] == [queries.clone(), keys.clone()]);
    require(full, "the mask is not known to have one element per query and key")
}
