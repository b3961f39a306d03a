//! What has integers already, and what gets none.

use fixedbitset::FixedBitSet;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Graph, NodeId, OpKind, User, ValueId};
use crate::ops::quant::is_integer;
use crate::target::policy::Real;

/// Nodes and tensors that have integers already, which are left intact, and tensors that get none.
pub(super) struct Quantized<'p> {
    /// Nodes that compute in integers or turn real numbers into them and back.
    integer: FixedBitSet,
    /// Nodes that such feed or read.
    near: FixedBitSet,
    /// Tensors that come from integers or become them.
    values: FixedBitSet,
    /// Tensors that no integers stand for.
    pub(super) unfit: FxHashSet<ValueId>,
    /// Tensors that no integers are made of, and what says so.
    pub(super) real: FxHashMap<ValueId, &'p Real>,
}

impl<'p> Quantized<'p> {
    pub(super) fn find(graph: &Graph, order: &[NodeId]) -> Quantized<'p> {
        let nodes = || FixedBitSet::with_capacity(graph.node_bound());
        let values = FixedBitSet::with_capacity(graph.value_bound());
        let (unfit, real) = (FxHashSet::default(), FxHashMap::default());
        let mut found = Quantized { integer: nodes(), near: nodes(), values, unfit, real };
        for &node in order {
            if is_integer(graph.node(node)) {
                found.integer.insert(node.index());
                found.values.extend(graph.results(node).iter().flatten().map(|v| v.index()));
                found.values.extend(graph.operands(node).flatten().map(ValueId::index));
                for value in graph.operands(node).flatten() {
                    // What an integer kernel's real numbers come from is part of it, as a Relu before a QuantizeLinear is.
                    if let (Some((maker, _)), [User::Node(..)]) = (graph.producer(value), graph.value(value).users()) {
                        found.near.insert(maker.index());
                    }
                }
            }
        }
        for &node in order {
            let mut operands = graph.operands(node).flatten().filter(|&v| graph.constant(v).is_none());
            if !found.integer[node.index()] && operands.any(|v| found.comes_from(graph, v)) {
                found.near.insert(node.index());
                // A weight that is cast or transposed is still one of integers.
                if moves(graph.node(node).op) {
                    found.values.extend(graph.results(node).iter().flatten().map(|v| v.index()));
                }
            }
        }
        found
    }

    /// Whether `value` comes from integers.
    fn comes_from(&self, graph: &Graph, value: ValueId) -> bool {
        graph.producer(value).is_some_and(|(maker, _)| {
            self.integer[maker.index()] || moves(graph.node(maker).op) && self.values[value.index()]
        })
    }

    /// Whether `node` computes in integers, or turns real numbers into them and back.
    pub(super) fn is_integer(&self, node: NodeId) -> bool {
        self.integer[node.index()]
    }

    /// Whether `node` is such, or next to such.
    pub(super) fn has(&self, node: NodeId) -> bool {
        self.integer[node.index()] || self.near[node.index()]
    }

    /// Whether `value` comes from integers or becomes them.
    pub(super) fn touches(&self, value: ValueId) -> bool {
        self.values[value.index()]
    }
}

fn moves(op: OpKind) -> bool {
    use OpKind::{Cast, Flatten, Identity, Reshape, Squeeze, Transpose, Unsqueeze};
    matches!(op, Cast | Flatten | Identity | Reshape | Squeeze | Transpose | Unsqueeze)
}
