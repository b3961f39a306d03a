//! Names: which are taken, which are free, and how messages call a node.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

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
pub(super) struct Names {
    taken: FxHashSet<Arc<str>>,
    /// The next number behind a name that is taken: a function may be called any number of times.
    next: FxHashMap<String, u32>,
}

impl Names {
    /// Take every name of the graph and its bodies.
    pub(super) fn note_graph(&mut self, graph: &GraphProto) {
        self.taken.extend(defined(graph).map(Arc::from));
        for node in &graph.node {
            self.taken.insert(node.name().into());
            for attribute in &node.attribute {
                for body in attribute.g.iter().chain(&attribute.graphs) {
                    self.note_graph(body);
                }
            }
        }
    }

    /// `name` if it is free, else `prefix/name`, numbered when that is taken too.
    pub(super) fn fresh(&mut self, prefix: &str, name: &str) -> String {
        if self.taken.insert(name.into()) {
            return name.to_string();
        }
        let stem = format!("{prefix}/{name}");
        if self.taken.insert(stem.as_str().into()) {
            return stem;
        }
        let mut n = self.next.get(&stem).copied().unwrap_or(1);
        loop {
            let candidate = format!("{stem}_{n}");
            n = n.saturating_add(1);
            if self.taken.insert(candidate.as_str().into()) {
                self.next.insert(stem, n);
                return candidate;
            }
        }
    }
}

/// The names of a graph's nodes, each of which only one may have: onnxruntime refuses a graph with two of a name, and
/// OpenVINO takes one for the other.
#[derive(Default)]
pub(super) struct NodeNames {
    seen: FxHashSet<Arc<str>>,
    /// Names that nodes have whose turn is yet to come, too.
    all: FxHashSet<Arc<str>>,
    /// The next number behind a name: any number of nodes may have the same.
    next: FxHashMap<Arc<str>, u64>,
}

impl NodeNames {
    /// Nodes of these names are to come.
    pub(super) fn of(names: impl Iterator<Item = Arc<str>>) -> NodeNames {
        NodeNames { all: names.collect(), ..NodeNames::default() }
    }

    /// The name, or the same with a number behind it where a node before has it.
    pub(super) fn only(&mut self, name: &str) -> Arc<str> {
        let name: Arc<str> = name.into();
        if self.seen.insert(Arc::clone(&name)) {
            return name;
        }
        let next = self.next.entry(Arc::clone(&name)).or_insert(1);
        loop {
            let candidate: Arc<str> = format!("{name}_{next}").into();
            *next += 1;
            if self.all.insert(Arc::clone(&candidate)) {
                self.seen.insert(Arc::clone(&candidate));
                return candidate;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_names_are_numbered_in_order() {
        let mut names = Names::default();
        let made: Vec<String> = (0..4).map(|_| names.fresh("f", "x")).collect();
        assert_eq!(made, ["x", "f/x", "f/x_1", "f/x_2"]);
        names.taken.insert("f/x_3".into());
        assert_eq!(names.fresh("f", "x"), "f/x_4");
        // Looking for a free number does not begin at 1 each time: that would take hours here.
        let last = (0..200_000).map(|_| names.fresh("f", "x")).last();
        assert_eq!(last.as_deref(), Some("f/x_200004"));
    }

    #[test]
    fn a_second_node_of_a_name_gets_a_number_that_no_node_has() {
        let given = ["n", "n", "m", "n_1", "n"];
        let mut names = NodeNames::of(given.iter().map(|n| Arc::from(*n)));
        assert_eq!(given.map(|n| names.only(n).to_string()), ["n", "n_2", "m", "n_1", "n_3"]);
    }
}
