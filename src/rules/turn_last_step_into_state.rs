//! The last step of what an `LSTM`, `GRU` or `RNN` gives is its final state: `Y` at index -1 along time is `Y_h`, or at
//! index 0 where it runs in reverse.
//!
//! `Y` may be squeezed and transposed on the way, and the other steps need not be put in order then. For one direction,
//! without lengths of the sequences. Declines where `Y` is also read elsewhere and the call has no final state yet.

use crate::ops::slice::AXIS;
use crate::ir::OpKind::{GRU, Gather, LSTM, RNN, Squeeze, Transpose};
use crate::ir::{Key, NodeId};
use crate::ops::{CallView, normalize_axis};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::axes::{self, permutation};
use crate::rules::support::formula::only_read_within;

const LAYOUT: Key<i64> = Key::new("layout", 0);
const DIRECTION: Key<&str> = Key::new("direction", "forward");

/// The axes of `Y`: time, direction, batch, hidden.
const TIME: usize = 0;
const DIRECTIONS: usize = 1;
const RANK: usize = 4;

/// How many calls are followed.
const LONGEST: usize = 4;

pub fn rule() -> Rule {
    Rule::new("turn-last-step-into-state", Exactness::Bitwise, Gather.any(), |m| {
        let (graph, root) = (m.graph(), m.root());
        let (network, order, nodes) = source(&root).ok_or(Skip::NotThis)?;
        let axis = normalize_axis(AXIS.of(root.node()), order.len()).ok_or(Skip::NotThis)?;
        let index = root.constant(1).filter(|t| t.rank() == 0).and_then(|t| t.integer()).ok_or(Skip::NotThis)?;
        applies(order[axis] == TIME && LAYOUT.of(network.node()) == 0 && !network.has(4))?;
        let last = match &*DIRECTION.of(network.node()) {
            "forward" => {
                let size = root.dims(0).and_then(|d| d.get(axis)?.known());
                index == -1 || size.is_some_and(|n| n > 0 && index == n - 1)
            }
            "reverse" => index == 0,
            _ => false,
        };
        // What is left of Y's axes, in their order.
        let left: Vec<usize> = order.iter().copied().filter(|&a| a != TIME).collect();
        applies(last && left.is_sorted())?;
        let state = match graph.result(network.id(), 1) {
            Some(state) => Expr::Value(state),
            None => {
                only_read_within(graph, root.id(), &nodes)?;
                let operands = (0..network.operand_count()).map(|slot| network.operand(slot).into());
                let made = network.node().op.emit(operands).like(network).results(2);
                made.into_iter().nth(1).ok_or(Skip::NotThis)?
            }
        };
        if left.contains(&DIRECTIONS) {
            return Ok(state);
        }
        Ok(Squeeze.emit([state, axes::operand(&[DIRECTIONS - 1]).into()]).named_like(root))
    })
    .even_if_shared()
}

/// The network whose `Y` the root takes a step of, which of `Y`'s axes the root's operand has, and the calls on the way.
fn source<'g>(root: &CallView<'g>) -> Option<(CallView<'g>, Vec<usize>, Vec<NodeId>)> {
    let graph = root.graph();
    let (mut at, mut way, mut nodes) = (root.operand(0)?, Vec::new(), Vec::new());
    loop {
        let (node, slot) = graph.producer(at)?;
        let call = CallView::new(graph, node);
        if slot != 0 || call.node().scope() != root.node().scope() || way.len() > LONGEST {
            return None;
        }
        nodes.push(node);
        match call.node().op {
            LSTM | GRU | RNN => {
                let mut order: Vec<usize> = (0..RANK).collect();
                for step in way.iter().rev() {
                    order = after(step, order)?;
                }
                return Some((call, order, nodes));
            }
            Squeeze | Transpose => {
                way.push(call);
                at = call.operand(0)?;
            }
            _ => return None,
        }
    }
}

/// The axes that `call` leaves of `order`.
fn after(call: &CallView<'_>, order: Vec<usize>) -> Option<Vec<usize>> {
    if call.node().op == Transpose {
        let perm = permutation(call).filter(|perm| perm.len() == order.len())?;
        return Some(perm.into_iter().map(|axis| order[axis]).collect());
    }
    let gone = axes::normalized(&call.known_ints(1)?, order.len())?;
    let gone: Vec<usize> = gone.into_iter().map(|axis| order[axis]).collect();
    // Only the one direction is surely of size 1, whatever the run.
    (gone == [DIRECTIONS]).then(|| order.into_iter().filter(|a| !gone.contains(a)).collect())
}
