//! Which of those that take integers only where neighbours have them, do.

use fixedbitset::FixedBitSet;

use crate::ir::{NodeId, ValueId};
use crate::quantize::place::Placing;
use crate::quantize::place::call::Call;
use crate::target::policy::{Needs, Output, Role};

/// Rounds until nobody gives up any more.
const MOST_ROUNDS: usize = 32;

impl Placing<'_> {
    /// Find out which calls follow. At first all do; those without the neighbours that they need give up, which may take
    /// neighbours from others. Whatever counts as a neighbour goes back to a call that leads.
    pub(super) fn follow(&mut self) {
        let followers: Vec<NodeId> =
            self.order.iter().copied().filter(|&n| self.call(n).is_some_and(|c| c.row.role == Role::Follows)).collect();
        for &node in &followers {
            self.set(node, true);
        }
        for round in 0.. {
            let near = Near::of(self);
            let fails = |&node: &NodeId| self.integer(node).is_some_and(|call| !near.lets(self, node, call));
            let failing: Vec<NodeId> = followers.iter().copied().filter(fails).collect();
            if failing.is_empty() {
                break;
            }
            // A round goes along every chain, so few are needed; none follows where that takes too long.
            for node in if round < MOST_ROUNDS { failing } else { followers.clone() } {
                self.set(node, false);
            }
        }
    }

    fn set(&mut self, node: NodeId, on: bool) {
        if let Some(call) = &mut self.calls[node.index()] {
            call.on = on;
        }
    }

    /// The tensors of these operands.
    pub(super) fn operands_of(&self, node: NodeId, call: &Call<'_>) -> impl Iterator<Item = (usize, ValueId)> {
        let values: Vec<_> = call.slots.iter().filter_map(|&s| Some((s, self.graph.operand(node, s)?))).collect();
        values.into_iter()
    }
}

/// Where integers are, as far as it goes back to calls that lead.
pub(super) struct Near {
    /// Tensors that could be had as integers from who makes them, or are asked for as such.
    given: FixedBitSet,
    /// Tensors that someone wants as integers.
    wanted: FixedBitSet,
    /// Those of them that become integers where they are read, not before what passes them on.
    stays: FixedBitSet,
}

impl Near {
    pub(super) fn of(placing: &Placing<'_>) -> Near {
        let bits = || FixedBitSet::with_capacity(placing.graph.value_bound());
        let mut near = Near { given: bits(), wanted: bits(), stays: bits() };
        for &node in &placing.order {
            if let Some(call) = placing.integer(node).filter(|c| c.row.role == Role::Leads) {
                near.given.extend(placing.operands_of(node, call).map(|(_, v)| v.index()));
            }
        }
        for &node in placing.order.iter().rev() {
            let Some(call) = placing.call(node) else { continue };
            let wants = match call.row.role {
                Role::Leads => true,
                Role::Follows => call.on && (call.backbone.is_some() || near.wanted[call.tail.index()]),
                Role::Passes => near.is_passed(placing, node, call),
                Role::Float => false,
            };
            if wants {
                near.wanted.extend(placing.operands_of(node, call).map(|(_, v)| v.index()));
            }
            let is_near = match call.row.role {
                Role::Passes => near.is_kept(placing, node),
                _ => call.row.near,
            };
            if wants && is_near {
                near.stays.extend(placing.operands_of(node, call).map(|(_, v)| v.index()));
            }
        }
        for &node in &placing.order {
            let Some(call) = placing.call(node) else { continue };
            let gives = match call.row.role {
                Role::Leads => call.row.output != Output::Never,
                Role::Follows => call.on && call.row.output != Output::Never && near.lets(placing, node, call),
                Role::Passes => near.has_all(placing, node, call) && !near.stops(placing, node, call),
                Role::Float => false,
            };
            match call.row.role {
                _ if !gives => {}
                Role::Passes => {
                    near.given.extend(placing.graph.results(node).iter().flatten().map(|v| v.index()));
                }
                _ => near.given.insert(call.tail.index()),
            }
        }
        near
    }

    /// Whether someone wants a result as integers, and nobody where it is.
    fn is_passed(&self, placing: &Placing<'_>, node: NodeId, call: &Call<'_>) -> bool {
        let mut results = placing.graph.results(node).iter().flatten();
        results.any(|v| self.wanted[v.index()]) && !self.stops(placing, node, call)
    }

    /// Whether a result becomes integers where it is read, and `call` is no part of who reads it.
    fn stops(&self, placing: &Placing<'_>, node: NodeId, call: &Call<'_>) -> bool {
        !call.row.near && self.is_kept(placing, node)
    }

    /// Whether a result becomes integers where it is read.
    fn is_kept(&self, placing: &Placing<'_>, node: NodeId) -> bool {
        placing.graph.results(node).iter().flatten().any(|v| self.stays[v.index()])
    }

    /// Whether every computed operand can be had as integers.
    pub(super) fn has_all(&self, placing: &Placing<'_>, node: NodeId, call: &Call<'_>) -> bool {
        placing.operands_of(node, call).all(|(_, v)| self.given[v.index()])
    }

    /// Whether `call` has the neighbours that it needs.
    fn lets(&self, placing: &Placing<'_>, node: NodeId, call: &Call<'_>) -> bool {
        if let Some(backbone) = call.backbone {
            return placing.integer(backbone).is_some();
        }
        let operands = self.has_all(placing, node, call);
        let readers = self.wanted[call.tail.index()];
        match call.row.needs {
            Needs::Operands => operands,
            Needs::Readers => readers,
            Needs::Both => operands && readers,
            Needs::Either => operands || readers,
        }
    }
}
