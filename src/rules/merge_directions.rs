//! An `LSTM`, `GRU` or `RNN` that runs forward and another that runs in reverse over the same sequence, put side by side,
//! are one that runs in both directions.
//!
//! `Concat(Y, Y')` along the directions is the merged `Y`; `Concat(Squeeze(Y), Squeeze(Y'))` along the last axis is a
//! `Reshape` of its `Transpose`. For known weights without initial states. Declines where the two have attributes that
//! differ, and where something on the way is also read elsewhere.

use std::borrow::Cow;

use crate::ir::OpKind::{Concat, GRU, LSTM, RNN, Reshape, Squeeze, Transpose};
use crate::ir::{Attr, Key, NodeId, Tensor, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::formula::only_read_within;
use crate::rules::support::parts;

const DIRECTION: Key<&str> = Key::new("direction", "forward");
const LAYOUT: Key<i64> = Key::new("layout", 0);

/// The axis of the directions in `Y`.
const DIRECTIONS: usize = 1;

/// Weights, recurrent weights and biases.
const WEIGHTS: [usize; 3] = [1, 2, 3];

pub fn rule() -> Rule {
    Rule::new("merge-directions", Exactness::Rounding, Concat.any(), |m| {
        let (graph, root) = (m.graph(), m.root());
        let operands = parts::operands(&root).ok_or(Skip::NotThis)?;
        let &[first, second] = &operands[..] else { return Err(Skip::NotThis) };
        let (forward, reverse) = (branch(&root, first), branch(&root, second));
        let (forward, reverse) = forward.zip(reverse).ok_or(Skip::NotThis)?;
        applies(forward.squeezed == reverse.squeezed)?;
        let axis = parts::axis(&root).ok_or(Skip::NotThis)?;
        applies(axis == if forward.squeezed { 2 } else { DIRECTIONS })?;
        let (a, b) = (forward.network, reverse.network);
        let directions = [a, b].map(|call| DIRECTION.of(call.node()).to_string());
        applies(a.node().op == b.node().op && directions == ["forward", "reverse"])?;
        applies(a.operand(0) == b.operand(0) && a.operand(4) == b.operand(4) && LAYOUT.of(a.node()) == 0)?;
        applies([a, b].iter().all(|call| (5..call.operand_count()).all(|slot| !call.has(slot))))?;
        let attrs = attrs(&a, &b).ok_or(Skip::Unsuitable("the directions have attributes that differ"))?;
        let [w, r, bias] = WEIGHTS.map(|slot| match (a.has(slot), b.has(slot)) {
            (false, false) => Ok(Expr::Absent),
            _ => stacked(&a, &b, slot).map(Expr::from).ok_or(Skip::NotThis),
        });
        let nodes: Vec<NodeId> = forward.nodes.into_iter().chain(reverse.nodes).collect();
        only_read_within(graph, root.id(), &nodes)?;
        let mut call = a.node().op.emit([a.operand(0).into(), w?, r?, bias?, a.operand(4).into()]).named_like(a);
        for (name, attr) in attrs {
            call = call.with(name, attr);
        }
        if !forward.squeezed {
            return Ok(call);
        }
        // [time, direction, batch, hidden]: what both directions give of a step, one after the other.
        let hidden = a.dims(2).and_then(|d| d.last()?.known()?.checked_mul(2)).ok_or(Skip::NotThis)?;
        let turned = Transpose.emit([call]).with("perm", vec![0, 2, 1, 3]);
        Ok(Reshape.emit([turned, Tensor::vector(&[0, 0, hidden]).into()]).named_like(root))
    })
    .even_if_shared()
}

/// One of the two networks.
struct Branch<'g> {
    network: CallView<'g>,
    squeezed: bool,
    nodes: Vec<NodeId>,
}

fn branch<'g>(root: &CallView<'g>, part: ValueId) -> Option<Branch<'g>> {
    let graph = root.graph();
    let (mut at, mut nodes) = (part, Vec::new());
    let squeeze = parts::made_by(root, part, Squeeze);
    if let Some(squeeze) = &squeeze {
        let rank = squeeze.rank(0)?;
        let axes = crate::rules::support::axes::normalized(&squeeze.known_ints(1)?, rank)?;
        if axes != [DIRECTIONS] {
            return None;
        }
        nodes.push(squeeze.id());
        at = squeeze.operand(0)?;
    }
    let (node, slot) = graph.producer(at)?;
    let network = CallView::new(graph, node);
    nodes.push(node);
    let fits = slot == 0 && matches!(network.node().op, LSTM | GRU | RNN);
    fits.then_some(Branch { network, squeezed: squeeze.is_some(), nodes })
}

/// The weights of both, forward first.
fn stacked(a: &CallView<'_>, b: &CallView<'_>, slot: usize) -> Option<Tensor> {
    let (x, y) = (a.constant(slot)?, b.constant(slot)?);
    if x.dtype() != y.dtype() || x.dims() != y.dims() || x.dims().first() != Some(&1) || x.dtype().bits() % 8 != 0 {
        return None;
    }
    let bytes: Vec<u8> = x.bytes()?.iter().chain(y.bytes()?.iter()).copied().collect();
    let dims: Vec<usize> = std::iter::once(2).chain(x.dims()[1..].iter().copied()).collect();
    Tensor::raw(x.dtype(), &dims, bytes.into()).ok()
}

type Attrs = Vec<(&'static str, Attr)>;

/// What both say together; `None` where they differ.
fn attrs(a: &CallView<'_>, b: &CallView<'_>) -> Option<Attrs> {
    let mut merged = vec![("direction", Attr::from("bidirectional"))];
    for name in ["hidden_size", "clip", "input_forget", "linear_before_reset", "layout"] {
        match (a.node().attr(name), b.node().attr(name)) {
            (None, None) => {}
            (Some(x), Some(y)) if x == y => merged.push((name, x.clone())),
            _ => return None,
        }
    }
    match (a.node().attr("activations"), b.node().attr("activations")) {
        (None, None) => {}
        (Some(Attr::Strs(x)), Some(Attr::Strs(y))) => {
            merged.push(("activations", Attr::Strs(x.iter().chain(y).cloned().collect())));
        }
        _ => return None,
    }
    let said: Vec<&Cow<'static, str>> = a.node().attrs().iter().chain(b.node().attrs()).map(|(name, _)| name).collect();
    let known = |name: &str| name == "direction" || merged.iter().any(|(n, _)| *n == name);
    said.into_iter().all(|name| known(name)).then_some(merged)
}
