//! What makes a graph well formed.
//!
//! * Every operand, result, output and use names something that is there.
//! * Wiring agrees in both directions: a value is in its producer's results, a use is in its user's operands, and the
//!   use's place is the place that the user remembers.
//! * Every value is in a scope that is there.
//! * A node reads only values of its own scope or of scopes around it.
//! * Each body is named by exactly one attribute of the node that is its parent, and the parent is there.
//! * No scope has a cycle, also not one through a body.
//! * Constants hold a tensor whose type and dimensions are the value's.
//! * A custom operator has a name; an operator of the table has none of its own.
//! * No node of a scope repeats an attribute.

use std::fmt;

use rustc_hash::FxHashMap;

use crate::ir::{Graph, NodeId, OpKind, Origin, ScopeId, Type, User};

/// One way in which a graph is malformed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// The node, value or graph, as messages call it.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Every defect of `graph`; empty when it is well formed.
pub fn verify(graph: &Graph) -> Vec<Defect> {
    let mut defects = Vec::new();
    check_wiring(graph, &mut defects);
    // The checks below follow wires, which must be sound first.
    if defects.is_empty() {
        check_scopes(graph, &mut defects);
        check_cycles(graph, &mut defects);
    }
    defects
}

fn node_at(graph: &Graph, node: NodeId) -> String {
    format!("{} \"{}\"", graph.node(node).op_name(), graph.node(node).name)
}

fn check_wiring(graph: &Graph, defects: &mut Vec<Defect>) {
    let mut found = |at: String, what: &str| defects.push(Defect { at, what: what.to_string() });
    for node in graph.nodes() {
        let n = graph.node(node);
        if (n.op == OpKind::Custom) != n.custom.is_some() {
            found(node_at(graph, node), "a custom operator without a name, or a name on an operator of the table");
        }
        let mut names: Vec<&str> = n.attrs().iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        for _ in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            found(node_at(graph, node), "an attribute stands twice");
        }
        for (slot, value) in graph.operands(node).enumerate() {
            let Some(value) = value else { continue };
            if !graph.has_value(value) {
                found(node_at(graph, node), "an operand has been removed");
            } else if graph.value(value).users().len() < 64
                && !graph.value(value).users().contains(&User::Node(node, slot))
            {
                found(node_at(graph, node), "an operand does not know its user");
            }
        }
        for (slot, value) in graph.results(node).iter().enumerate() {
            let Some(value) = *value else { continue };
            if !graph.has_value(value) || graph.value(value).origin() != Origin::Node(node, slot) {
                found(node_at(graph, node), "a result does not know its node");
            } else if graph.value(value).scope() != n.scope() {
                found(node_at(graph, node), "a result is in another graph");
            }
        }
    }
    for scope in graph.scopes() {
        for (i, output) in graph.scope(scope).outputs().iter().enumerate() {
            if !graph.has_value(output.value())
                || (graph.value(output.value()).users().len() < 64
                    && !graph.value(output.value()).users().contains(&User::Output(scope, i)))
            {
                found(format!("output \"{}\"", output.name), "the value does not know that it is an output");
            }
        }
        for &input in graph.scope(scope).inputs() {
            if !graph.has_value(input) || graph.value(input).origin() != Origin::Input {
                found(format!("graph \"{}\"", graph.scope(scope).name), "an input has been removed");
            }
        }
    }
    for value in graph.values() {
        let v = graph.value(value);
        if !graph.has_scope(v.scope()) {
            found(format!("value \"{}\"", v.name), "its graph has been removed");
        }
        if v.origin() == Origin::Constant {
            let sound = v.constant().is_some_and(|t| match &v.ty {
                Type::Tensor { dtype, shape } => {
                    *dtype == Some(t.dtype()) && shape.sizes().is_some_and(|s| s == t.dims())
                }
                _ => false,
            });
            if !sound {
                found(format!("constant \"{}\"", v.name), "type and data disagree");
            }
        }
        for &user in v.users() {
            let sound = match user {
                User::Node(node, slot) => graph.has_node(node) && graph.operand(node, slot) == Some(value),
                User::Output(scope, i) => {
                    graph.has_scope(scope) && graph.scope(scope).outputs().get(i).is_some_and(|o| o.value() == value)
                }
            };
            if !sound {
                found(format!("value \"{}\"", v.name), "a use does not know the value");
            }
        }
    }
}

fn check_scopes(graph: &Graph, defects: &mut Vec<Defect>) {
    let mut named: FxHashMap<ScopeId, NodeId> = FxHashMap::default();
    for node in graph.nodes() {
        for body in graph.node(node).bodies() {
            if !graph.has_scope(body) || graph.scope(body).parent() != Some(node) || named.insert(body, node).is_some()
            {
                defects.push(Defect { at: node_at(graph, node), what: "a body belongs to another node".into() });
            }
        }
    }
    for scope in graph.scopes() {
        let Some(parent) = graph.scope(scope).parent() else { continue };
        if !graph.has_node(parent) || !named.contains_key(&scope) {
            let at = format!("graph \"{}\"", graph.scope(scope).name);
            defects.push(Defect { at, what: "a body that no node runs".into() });
        }
    }
    if !defects.is_empty() {
        return;
    }
    let mut visible = |value, scope, at: &dyn Fn() -> String| {
        if !graph.is_visible(value, scope) {
            let what = format!("reads \"{}\" of a graph that it cannot see", graph.value(value).name);
            defects.push(Defect { at: at(), what });
        }
    };
    for node in graph.nodes() {
        for value in graph.operands(node).flatten() {
            visible(value, graph.node(node).scope(), &|| node_at(graph, node));
        }
    }
    for scope in graph.scopes() {
        for output in graph.scope(scope).outputs() {
            visible(output.value(), scope, &|| format!("output \"{}\"", output.name));
        }
    }
}

fn check_cycles(graph: &Graph, defects: &mut Vec<Defect>) {
    if !defects.is_empty() {
        return;
    }
    for scope in graph.scopes() {
        let members = graph.nodes_of(scope).count();
        if graph.schedule(scope).len() == members {
            continue;
        }
        // Only on the way to an error: name the nodes of one cycle.
        let cycle = petgraph::algo::kosaraju_scc(graph).into_iter().find(|c| c.len() > 1);
        let names: Vec<String> =
            cycle.iter().flatten().filter_map(|&at| graph.point_node(at)).map(|n| node_at(graph, n)).take(8).collect();
        let at = format!("graph \"{}\"", graph.scope(scope).name);
        defects.push(Defect { at, what: format!("nodes wait for each other: {}", names.join(", ")) });
    }
}
