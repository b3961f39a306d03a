//! A [`Graph`] is a petgraph graph: its points are nodes and values in one index space, its edges the wires.
//!
//! Point `2·i` is node `i`, point `2·i + 1` is value `i`. An edge runs from a value to each node that reads it, and
//! from a node to each of its results. A capture is an edge to the reading node inside the body.

use petgraph::Direction;
use petgraph::visit::{
    GraphBase, IntoNeighbors, IntoNeighborsDirected, IntoNodeIdentifiers, NodeCount, NodeIndexable, Visitable,
};

use crate::ir::{Graph, NodeId, User, ValueId};

impl Graph {
    /// The node at a point of the petgraph view.
    pub fn point_node(&self, point: usize) -> Option<NodeId> {
        let node = NodeId(u32::try_from(point / 2).ok()?);
        (point.is_multiple_of(2) && self.has_node(node)).then_some(node)
    }

    /// The value at a point of the petgraph view.
    pub fn point_value(&self, point: usize) -> Option<ValueId> {
        let value = ValueId::at(u32::try_from(point / 2).ok()?);
        (!point.is_multiple_of(2) && self.has_value(value)).then_some(value)
    }
}

impl NodeId {
    /// The node's point in the petgraph view.
    pub fn point(self) -> usize {
        2 * self.index()
    }
}

impl ValueId {
    /// The value's point in the petgraph view.
    pub fn point(self) -> usize {
        2 * self.index() + 1
    }
}

impl GraphBase for Graph {
    type NodeId = usize;
    type EdgeId = (usize, usize);
}

impl NodeCount for Graph {
    fn node_count(&self) -> usize {
        self.nodes().count() + self.values().count()
    }
}

impl NodeIndexable for Graph {
    fn node_bound(&self) -> usize {
        2 * Graph::node_bound(self).max(self.value_bound())
    }
    fn to_index(&self, point: usize) -> usize {
        point
    }
    fn from_index(&self, index: usize) -> usize {
        index
    }
}

impl Visitable for Graph {
    type Map = fixedbitset::FixedBitSet;
    fn visit_map(&self) -> Self::Map {
        fixedbitset::FixedBitSet::with_capacity(NodeIndexable::node_bound(self))
    }
    fn reset_map(&self, map: &mut Self::Map) {
        map.clear();
        map.grow(NodeIndexable::node_bound(self));
    }
}

impl IntoNodeIdentifiers for &Graph {
    type NodeIdentifiers = std::vec::IntoIter<usize>;
    fn node_identifiers(self) -> Self::NodeIdentifiers {
        self.nodes().map(NodeId::point).chain(self.values().map(ValueId::point)).collect::<Vec<_>>().into_iter()
    }
}

impl IntoNeighbors for &Graph {
    type Neighbors = std::vec::IntoIter<usize>;
    fn neighbors(self, point: usize) -> Self::Neighbors {
        self.neighbors_directed(point, Direction::Outgoing)
    }
}

impl IntoNeighborsDirected for &Graph {
    type NeighborsDirected = std::vec::IntoIter<usize>;
    fn neighbors_directed(self, point: usize, direction: Direction) -> Self::NeighborsDirected {
        let mut near: Vec<usize> = Vec::new();
        if let Some(node) = self.point_node(point) {
            match direction {
                Direction::Outgoing => near.extend(self.results(node).iter().flatten().map(|v| v.point())),
                Direction::Incoming => near.extend(self.operands(node).flatten().map(ValueId::point)),
            }
        } else if let Some(value) = self.point_value(point) {
            match direction {
                Direction::Outgoing => near.extend(self.value(value).users().iter().filter_map(|u| match u {
                    User::Node(node, _) => Some(node.point()),
                    User::Output(..) => None,
                })),
                Direction::Incoming => near.extend(self.producer(value).map(|(node, _)| node.point())),
            }
        }
        near.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::{Graph, OpKind, ScopeId, Type};

    #[test]
    fn petgraph_algorithms_run_on_a_graph() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", Type::Unknown);
        let relu = g.add_node(ScopeId::MAIN, OpKind::Relu, &[Some(x)], 1, 0);
        let r = g.result(relu, 0).unwrap();
        let add = g.add_node(ScopeId::MAIN, OpKind::Add, &[Some(x), Some(r)], 1, 1);
        g.add_output(ScopeId::MAIN, "y", g.result(add, 0).unwrap(), Type::Unknown);
        let order = petgraph::algo::toposort(&g, None).unwrap();
        let at = |p| order.iter().position(|&o| o == p).unwrap();
        assert!(at(x.point()) < at(relu.point()) && at(relu.point()) < at(add.point()));
        assert!(petgraph::algo::has_path_connecting(&g, x.point(), add.point(), None));
    }
}
