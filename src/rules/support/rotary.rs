//! Rotary position embedding as exporters spell it: `x · cos + turned(x) · sin`, where the two halves of x's last axis
//! trade places and the second is negated on the way.

use crate::ir::OpKind::{self, Add, Concat, Expand, Gather, Mul, Neg, Split, Transpose, Unsqueeze};
use crate::ir::{Graph, Int, NodeId, Tensor, User, ValueId};
use crate::ops::slice::AXIS;
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Expr, Skip, applies};
use crate::rules::support::axes::{normalized, permutation};
use crate::rules::support::elementwise::carrier;
use crate::rules::support::layout::parted_last;
use crate::rules::support::parts;

/// How many calls are followed from a table of cosines to the angles.
const LONGEST: usize = 24;

/// `x · cos + turned(x) · sin`.
pub struct Rotary {
    /// What is turned.
    pub x: ValueId,
    /// What it is multiplied by.
    pub cos: ValueId,
    /// What it is multiplied by once its halves have traded places.
    pub sin: ValueId,
    /// Whether the second half is negated on the way; otherwise it is the table that has the sign.
    pub negates: bool,
    /// The nodes that read `x`.
    pub readers: [NodeId; 2],
}

impl Rotary {
    /// What the sum `root` computes, when it is this and nobody else reads what is computed on the way.
    pub fn of(root: &CallView<'_>) -> Result<Rotary, Skip> {
        let graph = root.graph();
        applies(root.node().op == Add)?;
        for slot in 0..2 {
            let Some((plain, turned)) = root.operand(slot).zip(root.operand(1 - slot)) else { continue };
            let Some((plain, turned)) = made_by(graph, plain, Mul).zip(made_by(graph, turned, Mul)) else { continue };
            for side in 0..2 {
                let Some((joined, sin)) = turned.operand(side).zip(turned.operand(1 - side)) else { continue };
                let Some((x, negates, inner)) = turned_halves(graph, joined) else { continue };
                let Some(cos) = (0..2).find(|&s| plain.operand(s) == Some(x)).and_then(|s| plain.operand(1 - s)) else {
                    continue;
                };
                let readers = [plain.id(), inner[0]];
                let nodes: Vec<NodeId> = inner.into_iter().chain([plain.id(), turned.id(), root.id()]).collect();
                let within = |v: ValueId| {
                    graph.value(v).users().iter().all(|u| matches!(u, User::Node(n, _) if nodes.contains(n)))
                };
                let here = nodes.iter().all(|&n| graph.node(n).scope() == root.node().scope());
                let inner = nodes.iter().filter(|&&n| n != root.id()).flat_map(|&n| graph.results(n).iter().flatten());
                if !here || !inner.into_iter().all(|&v| within(v)) {
                    return Err(Skip::InnerResultShared);
                }
                return Ok(Rotary { x, cos, sin, negates, readers });
            }
        }
        Err(Skip::NotThis)
    }
}

fn made_by(graph: &Graph, value: ValueId, op: OpKind) -> Option<CallView<'_>> {
    let (node, slot) = graph.producer(value)?;
    (slot == 0 && graph.node(node).op == op).then(|| CallView::new(graph, node))
}

/// `x`, where `value` is `[-x₂, x₁]` of its halves or (not negated) `[x₂, x₁]`, and the nodes that make that, the one
/// that reads `x` first.
fn turned_halves(graph: &Graph, value: ValueId) -> Option<(ValueId, bool, Vec<NodeId>)> {
    let concat = made_by(graph, value, Concat).filter(|c| c.operand_count() == 2)?;
    let front = concat.operand(0)?;
    let neg = made_by(graph, front, Neg);
    let second = neg.map_or(Some(front), |neg| neg.operand(0))?;
    let ((split, second), (same, first)) = (graph.producer(second)?, graph.producer(concat.operand(1)?)?);
    let halves = CallView::new(graph, split);
    let last = halves.rank(0)?.checked_sub(1)?;
    let fits = halves.node().op == Split
        && (split, second, first) == (same, 1, 0)
        && graph.results(split).len() == 2
        && parts::axis(&halves)? == last
        && parts::axis(&concat)? == last
        && halves.result_dims(0) == halves.result_dims(1);
    let nodes = [split, concat.id()].into_iter().chain(neg.map(|neg| neg.id())).collect();
    fits.then(|| Some((halves.operand(0)?, neg.is_some(), nodes)))?
}

impl Rotary {
    /// The same of `x`, whose last axis has `size` elements. Where this negates, so does that, or the table has the
    /// signs.
    pub fn of_another(&self, graph: &Graph, x: Expr, size: i64, sign_table: bool) -> Option<Expr> {
        let (rank, half) = (graph.value(self.x).ty.shape().rank()?, size / 2);
        let last = i64::try_from(rank.checked_sub(1)?).ok()?;
        let halves = Split.emit([x.clone(), Tensor::vector(&[half, half]).into()]).with("axis", last);
        let [first, second] = <[Expr; 2]>::try_from(halves.results(2)).ok()?;
        let mut sin: Expr = self.sin.into();
        let second = if self.negates && !sign_table { Neg.emit([second]) } else { second };
        let turned = Concat.emit([second, first]).with("axis", -1);
        if self.negates && sign_table {
            let dtype = graph.value(self.sin).ty.dtype()?;
            let signs: Vec<f64> = (0..size).map(|i| if i < half { -1.0 } else { 1.0 }).collect();
            let signs = Tensor::rounded(dtype, &[signs.len()], &signs).ok()?;
            sin = Mul.emit([sin, signs.into()]);
        }
        Some(Add.emit([Mul.emit([x, self.cos.into()]), Mul.emit([turned, sin])]))
    }
}

/// Tables of cosines or sines with the second half of the last axis, which repeats the first, left out.
pub struct Tables<'g> {
    /// The graph.
    pub graph: &'g Graph,
    /// The size of the last axis, halves together.
    pub size: i64,
}

impl Tables<'_> {
    /// The first half of `value` along its last axis. Where the table is of one batch, and angles for it are computed,
    /// they are first repeated along axis 0 as `batch`, a vector of one element, says.
    ///
    /// # Errors
    /// Where the second half is not known to be the same.
    pub fn half(&self, value: ValueId, batch: Option<&Expr>) -> Result<(Expr, bool), Skip> {
        if batch.is_some()
            && let Some(half) = self.half_of(value, batch, LONGEST)
        {
            return Ok((half, true));
        }
        let half = self.half_of(value, None, LONGEST);
        half.map(|half| (half, false)).ok_or(Skip::Unsuitable("the halves of a table are not known to be the same"))
    }

    fn half_of(&self, value: ValueId, batch: Option<&Expr>, left: usize) -> Option<Expr> {
        let (graph, left) = (self.graph, left.checked_sub(1)?);
        let dims = graph.value(value).ty.shape().dims()?;
        if dims.last()?.known() != Some(self.size) {
            return None;
        }
        if let Some(table) = graph.constant(value) {
            let (first, second) = parted_last(table)?;
            return (first == second && batch.is_none()).then(|| first.into());
        }
        let (node, slot) = graph.producer(value)?;
        let call = CallView::new(graph, node);
        let last = dims.len() - 1;
        let again = |slot: usize| {
            let half = self.half_of(call.operand(slot)?, batch, left)?;
            let all = (0..call.operand_count()).map(|s| if s == slot { half.clone() } else { call.operand(s).into() });
            Some(call.node().op.emit(all).like(call))
        };
        // Angles of one batch, [1, length, half].
        let spread = |half: Expr| match batch {
            None => Some(half),
            Some(_) if dims.len() != 3 || dims[0] != Int::from(1) => None,
            Some(batch) => {
                let shape = Concat.emit([batch.clone(), Tensor::vector(&[1, 1]).into()]).with("axis", 0);
                Some(Expand.emit([half, shape]))
            }
        };
        match call.node().op {
            _ if slot != 0 => None,
            Concat => {
                let twice = call.operand_count() == 2 && call.operand(0) == call.operand(1);
                if twice && parts::axis(&call)? == last { spread(call.operand(0)?.into()) } else { None }
            }
            // Positions times one frequency each.
            Mul if call.constant(0).or(call.constant(1)).is_some_and(|t| t.len() > 1) => {
                let slot = usize::from(call.constant(0).is_none_or(|t| t.len() == 1));
                let one = call.dims(1 - slot)?.last()?.known() == Some(1);
                let (first, second) = parted_last(call.constant(slot)?)?;
                let other: Expr = call.operand(1 - slot).into();
                if one && first == second { spread(Mul.emit([other, first.into()]).named_like(call)) } else { None }
            }
            Unsqueeze => {
                let axes = normalized(&call.known_ints(1)?, dims.len())?;
                if axes.contains(&last) { None } else { again(0) }
            }
            Transpose if batch.is_none() => {
                if permutation(&call)?.last() == Some(&last) {
                    again(0)
                } else {
                    None
                }
            }
            Gather if batch.is_none() => {
                let axis = normalize_axis(AXIS.of(call.node()), call.rank(0)?)?;
                if axis + 1 < call.rank(0)? { again(0) } else { None }
            }
            _ => again(carrier(&call, |t| t.len() == 1 && t.rank() <= dims.len())?),
        }
    }
}
