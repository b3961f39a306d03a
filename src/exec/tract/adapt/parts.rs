//! Nodes that are made in the place of one.

use crate::ir::{Attr, Graph, NodeId, OpKind, ScopeId, Tensor, ValueId};

/// Where the nodes go.
pub(super) struct Parts<'g> {
    /// The graph.
    pub(super) graph: &'g mut Graph,
    scope: ScopeId,
    order: u32,
}

impl<'g> Parts<'g> {
    /// In the place of `node`.
    pub(super) fn of(graph: &'g mut Graph, node: NodeId) -> Parts<'g> {
        let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
        Parts { graph, scope, order }
    }

    /// A constant.
    pub(super) fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant(self.scope, "", tensor)
    }

    /// The first result of a call.
    pub(super) fn call(&mut self, op: OpKind, operands: &[ValueId], attrs: &[(&'static str, Attr)]) -> Option<ValueId> {
        self.calls(op, operands, attrs, 1)?.into_iter().next()
    }

    /// All results of a call.
    pub(super) fn calls(
        &mut self,
        op: OpKind,
        operands: &[ValueId],
        attrs: &[(&'static str, Attr)],
        results: usize,
    ) -> Option<Vec<ValueId>> {
        let operands: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
        let node = self.graph.add_node(self.scope, op, &operands, results, self.order);
        for (name, attr) in attrs {
            self.graph.set_attr(node, *name, attr.clone());
        }
        self.graph.results(node).iter().copied().collect()
    }
}
