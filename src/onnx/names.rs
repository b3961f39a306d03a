//! Names: which are taken, which are free, and how messages call a node.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::proto::{GraphProto, NodeProto};

/// The domain as it is compared: ai.onnx is the empty one.
pub(super) fn domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// How messages call a node: operator and name, else operator and first result.
pub(super) fn node(node: &NodeProto) -> String {
    let name = match node.name() {
        "" => node.output.iter().find(|o| !o.is_empty()).map_or("", |o| o),
        name => name,
    };
    format!("{} \"{}\"", node.op_type(), name)
}

/// Every name that a graph itself defines, not those of its bodies.
pub(super) fn defined(graph: &GraphProto) -> impl Iterator<Item = &str> {
    let inputs = graph.input.iter().map(|i| i.name());
    let initializers = graph.initializer.iter().map(|t| t.name());
    let sparse = graph.sparse_initializer.iter().filter_map(|s| s.values.as_ref()).map(|t| t.name());
    let results = graph.node.iter().flat_map(|n| &n.output).map(String::as_str);
    inputs.chain(initializers).chain(sparse).chain(results).filter(|n| !n.is_empty())
}

/// A set of taken names.
#[derive(Default)]
pub(super) struct Names(FxHashSet<Arc<str>>);

impl Names {
    /// Take every name of the graph and its bodies.
    pub(super) fn note_graph(&mut self, graph: &GraphProto) {
        self.0.extend(defined(graph).map(Arc::from));
        for node in &graph.node {
            self.0.insert(node.name().into());
            for attribute in &node.attribute {
                for body in attribute.g.iter().chain(&attribute.graphs) {
                    self.note_graph(body);
                }
            }
        }
    }

    /// `name` if it is free, else `prefix/name`, numbered when that is taken too.
    pub(super) fn fresh(&mut self, prefix: &str, name: &str) -> String {
        let mut candidate = name.to_string();
        let mut n = 0u32;
        while !self.0.insert(candidate.as_str().into()) {
            candidate = if n == 0 { format!("{prefix}/{name}") } else { format!("{prefix}/{name}_{n}") };
            n += 1;
        }
        candidate
    }
}
