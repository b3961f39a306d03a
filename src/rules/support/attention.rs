//! Scaled dot-product attention as exporters spell it: a product of queries and keys, scaled, perhaps capped, a mask
//! added or put in, `Softmax`, and a product with the values.

use crate::ir::OpKind::{Add, Concat, Div, Expand, MatMul, Mul, Not, Shape, Tanh, Transpose, Where};
use crate::ir::{Atom, Graph, Int, Tensor, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Expr, Skip, applies, require};
use crate::rules::support::axes::{permutation, spelled};
use crate::rules::support::numbers::is_foldable_float;
use crate::rules::support::readers::only_read_by;

/// What goes into the softmax: `cap(scale · queries · keysᵀ) + mask`.
pub struct Scores {
    /// Queries, as they are before any scale.
    pub queries: ValueId,
    /// Keys with their last two axes swapped, as they are before any scale.
    pub swapped_keys: ValueId,
    /// What is masked.
    pub mask: Option<Mask>,
    /// The product of all scales before the cap.
    pub scale: f64,
    /// `c` where scores `s` are capped to `c · tanh(s / c)`.
    pub cap: Option<f64>,
    /// Whether the mask may have more keys than there are.
    pub may_widen: bool,
}

/// What makes scores so small that their key has no part.
pub enum Mask {
    /// This value is added.
    Added(ValueId),
    /// Where this condition holds (or does not hold, when it is not `kept`), the score stays; elsewhere it is `other`.
    Chosen {
        /// The condition.
        condition: ValueId,
        /// Whether scores stay where it holds.
        kept: bool,
        /// What they are elsewhere: a number that no score comes near, or negative infinity.
        other: Tensor,
    },
}

impl Mask {
    /// The value whose shape is that of the mask.
    pub fn value(&self) -> ValueId {
        match *self {
            Mask::Added(value) | Mask::Chosen { condition: value, .. } => value,
        }
    }

    /// The mask as `Attention` takes it: booleans that tell where scores stay, or numbers to add.
    ///
    /// Where a query has no key left, a finite number leaves all keys alike, and negative infinity none.
    pub fn operand(&self, graph: &Graph) -> Expr {
        match self {
            Mask::Added(value) => (*value).into(),
            Mask::Chosen { condition, kept: true, other } if is_negative_infinity(other) => (*condition).into(),
            Mask::Chosen { condition, kept: false, other } if is_negative_infinity(other) => {
                match producer(graph, *condition).filter(|c| c.node().op == Not).and_then(|not| not.operand(0)) {
                    Some(kept) => kept.into(),
                    None => Not.emit([(*condition).into()]),
                }
            }
            Mask::Chosen { condition, kept, other } => {
                let zero = Tensor::rounded(other.dtype(), &[], &[0.0]).unwrap_or_else(|_| other.clone());
                let (yes, no) = if *kept { (zero, other.clone()) } else { (other.clone(), zero) };
                Where.emit([(*condition).into(), yes.into(), no.into()])
            }
        }
    }
}

fn is_negative_infinity(tensor: &Tensor) -> bool {
    tensor.item() == Some(f64::NEG_INFINITY)
}

/// Scores are far above this: adding it to one gives it, whatever the score. (Half precision has no such number.)
const FAR_BELOW: f64 = -1e37;

/// How many calls in a row are looked through.
const LONGEST: usize = 8;

impl Scores {
    /// The scores that `value` is, which only `reader` reads.
    pub fn of(graph: &Graph, value: ValueId, reader: &CallView<'_>) -> Result<Scores, Skip> {
        let (mut at, mut reader, mut mask, mut scale, mut shared) = (value, *reader, None, 1.0, false);
        let (mut cap, mut may_widen): (Option<f64>, bool) = (None, false);
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
                    return Ok(Scores {
                        queries,
                        swapped_keys,
                        mask,
                        scale: scale * q * k * cap.unwrap_or(1.0),
                        cap,
                        may_widen,
                    });
                }
                Tanh if cap.is_none() => {
                    cap = Some(scale);
                    scale = 1.0;
                    call.operand(0)
                }
                Where if mask.is_none() && scale == 1.0 && cap.is_none() => {
                    let (found, scores) = chosen(&call).ok_or(Skip::NotThis)?;
                    mask = Some(found);
                    may_widen = widens(&call, scores)?;
                    call.operand(scores)
                }
                Add if cap.is_none() && mask.is_none() && scale == 1.0 => {
                    let is_scores = |slot: usize| call.operand(slot).is_some_and(|v| leads_to_product(graph, v));
                    let slot = (0..2).find(|&slot| is_scores(slot)).ok_or(Skip::NotThis)?;
                    mask = call.operand(1 - slot).map(|added| barred(graph, added).unwrap_or(Mask::Added(added)));
                    may_widen = widens(&call, slot)?;
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

/// Whether `value` is a `MatMul`, scaled and capped or not.
fn leads_to_product(graph: &Graph, value: ValueId) -> bool {
    let made = |value: ValueId| producer(graph, unscaled(graph, value).0);
    made(value).is_some_and(|call| match call.node().op {
        Tanh => call.operand(0).and_then(made).is_some_and(|inner| inner.node().op == MatMul),
        op => op == MatMul,
    })
}

/// Whether the last axis of the call's result may be larger than that of operand `slot`.
///
/// # Errors
/// Where another may.
fn widens(call: &CallView<'_>, slot: usize) -> Result<bool, Skip> {
    let (Some(scores), Some(result)) = (call.dims(slot), call.result_dims(0)) else { return Err(Skip::NotThis) };
    let lead = result.len().checked_sub(1).ok_or(Skip::NotThis)?;
    applies(scores.len() == result.len() && scores[..lead] == result[..lead])?;
    Ok(scores[lead] != result[lead])
}

/// The mask that adds 0 or negative infinity, as a `Where` tells.
fn barred(graph: &Graph, added: ValueId) -> Option<Mask> {
    let call = producer(graph, added).filter(|call| call.node().op == Where)?;
    let number = |slot: usize| call.constant(slot).filter(|t| t.len() == 1)?.item();
    let kept = number(1)? == 0.0;
    let other = call.constant(if kept { 2 } else { 1 })?.reshaped(&[]).ok().filter(is_negative_infinity)?;
    let same = call.dims(0).is_some() && call.dims(0) == call.result_dims(0);
    let condition = call.operand(0).filter(|_| same && number(if kept { 1 } else { 2 }) == Some(0.0))?;
    Some(Mask::Chosen { condition, kept, other })
}

/// The mask that a `Where` puts in, and the operand that has the scores.
fn chosen(call: &CallView<'_>) -> Option<(Mask, usize)> {
    let other = |slot: usize| {
        let t = call.constant(slot).filter(|t| t.len() == 1 && is_foldable_float(t.dtype()))?;
        (t.item()? <= FAR_BELOW).then(|| t.reshaped(&[]).ok()).flatten()
    };
    let condition = call.operand(0)?;
    let (kept, other) = match other(2) {
        Some(other) => (true, other),
        None => (false, other(1)?),
    };
    Some((Mask::Chosen { condition, kept, other }, if kept { 1 } else { 2 }))
}

/// The mask with one element for each of the queries and of the keys: `Attention` broadcasts neither axis everywhere,
/// so that a mask for all of them is expanded to the length of `queries` and `values`.
///
/// # Errors
/// Where a size is not known to fit.
pub fn full_mask(
    graph: &Graph,
    mask: &Mask,
    [queries, values]: [ValueId; 2],
    lengths: [&Int; 2],
) -> Result<Expr, Skip> {
    let why = "the mask is not known to have one element per query";
    let dims = graph.value(mask.value()).ty.shape().dims();
    let (rank, rows, columns) = match dims {
        Some(dims @ [.., rows, columns]) => (dims.len(), rows, columns),
        _ => return Err(Skip::Unsuitable(why)),
    };
    let (full_rows, full_columns) = (fits(rows, lengths[0]), fits(columns, lengths[1]));
    require(full_rows || *rows == Int::from(1), why)?;
    if full_rows && full_columns {
        return Ok(mask.operand(graph));
    }
    let ones = |count: usize| -> Expr { Tensor::vector(&vec![1; count]).into() };
    let known = |full: bool, length: &Int| if full { Some(1) } else { length.known() };
    let sizes = [known(full_rows, lengths[0]), known(full_columns, lengths[1])];
    if let [Some(rows), Some(columns)] = sizes {
        let shape: Vec<i64> = std::iter::repeat_n(1, rank - 2).chain([rows, columns]).collect();
        return Ok(Expand.emit([mask.operand(graph), Tensor::vector(&shape).into()]));
    }
    let length = |known: Option<i64>, of: ValueId| match known {
        Some(known) => Tensor::vector(&[known]).into(),
        None => Shape.emit([of.into()]).with("start", -2).with("end", -1),
    };
    let lengths = [length(sizes[0], queries), length(sizes[1], values)];
    let parts = (rank > 2).then(|| ones(rank - 2)).into_iter().chain(lengths);
    Ok(Expand.emit([mask.operand(graph), Concat.emit(parts).with("axis", 0)]))
}

/// Whether a mask's `size` is surely that of the scores, with which it broadcasts.
fn fits(size: &Int, scores: &Int) -> bool {
    // A number from 2 on or the size itself, whichever is smaller: were it another size, it would not broadcast.
    let cut = |a: &Int, b: &Int| a == scores && b.known().is_some_and(|n| n > 1);
    size == scores || matches!(size.as_atom(), Some(Atom::Min(p)) if cut(&p.0, &p.1) || cut(&p.1, &p.0))
}
