//! In which order the nodes of a graph can run.

use std::collections::BinaryHeap;

use rustc_hash::FxHashMap;

use crate::ir::{Graph, NodeId, ScopeId, User};

impl Graph {
    /// The nodes of `scope`, operands before users; ties in file order. Nodes on a cycle are left out (the verifier
    /// reports them).
    pub fn schedule(&self, scope: ScopeId) -> Vec<NodeId> {
        let members: Vec<NodeId> = self.nodes_of(scope).collect();
        // A wire counts once for each use, here and when its producer is done, so the two sides agree.
        let mut waiting = Counts::new(members.len(), self.nodes.len());
        for &p in &members {
            self.each_reader(p, scope, |reader| waiting.add(reader));
        }
        let key = |n: NodeId| std::cmp::Reverse((self.node(n).order, n));
        let mut ready: BinaryHeap<_> = members.iter().copied().filter(|&n| waiting.is_zero(n)).map(key).collect();
        let mut order = Vec::with_capacity(members.len());
        while let Some(std::cmp::Reverse((_, n))) = ready.pop() {
            order.push(n);
            self.each_reader(n, scope, |reader| {
                if waiting.subtract(reader) {
                    ready.push(key(reader));
                }
            });
        }
        order
    }

    /// Call `f` with the node of `scope` that waits for each use of a result of `node`: the user, or the node whose
    /// body the user is in.
    fn each_reader(&self, node: NodeId, scope: ScopeId, mut f: impl FnMut(NodeId)) {
        for &value in self.node(node).results.iter().flatten() {
            for user in &self.value(value).uses {
                let (mut at, mut reader) = match *user {
                    User::Node(n, _) => (self.node(n).scope, Some(n)),
                    User::Output(s, _) => (s, None),
                };
                while at != scope {
                    let Some(parent) = self.scope(at).parent else { break };
                    (at, reader) = (self.node(parent).scope, Some(parent));
                }
                if let (true, Some(reader)) = (at == scope, reader) {
                    f(reader);
                }
            }
        }
    }
}

/// A count for each of some nodes: a table for most nodes of a graph, a map for few.
enum Counts {
    Table(Vec<u32>),
    Map(FxHashMap<NodeId, u32>),
}

impl Counts {
    fn new(members: usize, all: usize) -> Counts {
        if members >= all / 16 { Counts::Table(vec![0; all]) } else { Counts::Map(FxHashMap::default()) }
    }

    fn at(&mut self, node: NodeId) -> &mut u32 {
        match self {
            Counts::Table(table) => &mut table[node.index()],
            Counts::Map(map) => map.entry(node).or_default(),
        }
    }

    fn add(&mut self, node: NodeId) {
        *self.at(node) += 1;
    }

    /// Whether the count is zero now.
    fn subtract(&mut self, node: NodeId) -> bool {
        let count = self.at(node);
        *count -= 1;
        *count == 0
    }

    fn is_zero(&self, node: NodeId) -> bool {
        match self {
            Counts::Table(table) => table[node.index()] == 0,
            Counts::Map(map) => map.get(&node).is_none_or(|&count| count == 0),
        }
    }
}
