//! Nodes by operator, as a file spells them: `Constant` nodes count, as they do for whoever opens the file.

use std::collections::BTreeMap;

use super::names;
use super::proto::NodeProto;

/// How many nodes call each operator, by domain and name.
#[derive(Default)]
pub(super) struct Tally(BTreeMap<String, BTreeMap<String, usize>>);

impl Tally {
    /// Count a node with those in its bodies.
    pub(super) fn add(&mut self, node: &NodeProto) {
        let mut waiting = vec![node];
        while let Some(node) = waiting.pop() {
            self.count(names::domain(node.domain()), node.op_type());
            let bodies = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
            waiting.extend(bodies.flat_map(|body| &body.node));
        }
    }

    fn count(&mut self, domain: &str, op: &str) {
        // A file has many nodes and few operators: only the first of each makes strings.
        match self.0.get_mut(domain).and_then(|ops| ops.get_mut(op)) {
            Some(count) => *count += 1,
            None => *self.0.entry(domain.into()).or_default().entry(op.into()).or_default() += 1,
        }
    }

    /// The counts. Operators outside ai.onnx are counted under `domain.name`.
    pub(super) fn by_name(self) -> BTreeMap<String, usize> {
        let name = |domain: &str, op: String| if domain.is_empty() { op } else { format!("{domain}.{op}") };
        let counts = self.0.into_iter();
        counts.flat_map(|(domain, ops)| ops.into_iter().map(move |(op, n)| (name(&domain, op), n))).collect()
    }
}
