//! Who reads a value.

use crate::ir::{Graph, NodeId, User, ValueId};
use crate::rewrite::Match;

/// How many readers of one value a rule looks at. With more, each of them looking at all others would take too long.
pub const MOST_READERS: usize = 256;

/// Whether `node` is the only reader of `value` (through however many of its operands), in the body where it is made.
pub fn only_read_by(graph: &Graph, value: ValueId, node: NodeId) -> bool {
    let scope = graph.node(node).scope();
    let here = graph.producer(value).is_none_or(|(maker, _)| graph.node(maker).scope() == scope);
    here && graph.value(value).users().iter().all(|user| matches!(user, User::Node(n, _) if *n == node))
}

/// Whether nobody reads any result of the root beyond the first.
pub fn only_first_is_read(m: &Match<'_>) -> bool {
    let results = m.graph().results(m.root().id());
    results.iter().skip(1).flatten().all(|&v| m.graph().value(v).users().is_empty())
}
