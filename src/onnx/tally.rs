//! Nodes by operator, as a file spells them: `Constant` nodes count, as they do for whoever opens the file.

use std::collections::BTreeMap;

use super::names;
use super::proto::GraphProto;

/// Nodes by operator, bodies included. Operators outside ai.onnx are counted under `domain.name`.
pub(super) fn ops(graph: &GraphProto) -> BTreeMap<String, usize> {
    // Keyed by the file's own strings first: a file has many nodes and few operators.
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut waiting = vec![graph];
    while let Some(graph) = waiting.pop() {
        for node in &graph.node {
            *counts.entry((names::domain(node.domain()), node.op_type())).or_default() += 1;
            for attribute in &node.attribute {
                waiting.extend(&attribute.g);
                waiting.extend(&attribute.graphs);
            }
        }
    }
    let name = |domain: &str, op: &str| if domain.is_empty() { op.into() } else { format!("{domain}.{op}") };
    counts.into_iter().map(|((domain, op), n)| (name(domain, op), n)).collect()
}
