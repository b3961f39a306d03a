//! What a model holds, counted: nodes by operator, parameters, bytes, and multiply-accumulates of one run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ir::{Attr, Data, Graph, NodeId, Origin, ScopeId, Tensor};
use crate::model::Model;
use crate::ops::{CallView, row_of};

/// What a model holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Census {
    /// Nodes, bodies included.
    pub nodes: usize,
    /// Nodes by operator.
    pub ops: BTreeMap<String, usize>,
    /// Elements of constants.
    pub parameters: u64,
    /// Bytes of constants.
    pub parameter_bytes: u64,
    /// Multiply-accumulates of one run, where every shape on the way is a number.
    pub macs: Option<u64>,
    /// Bytes of the file with its external data.
    pub file_bytes: u64,
}

/// Count everything in `model`, of which shapes have been inferred.
pub fn take(model: &Model) -> Census {
    Census { macs: macs(&model.graph), ..quick(model) }
}

/// Count what needs no shapes: everything but multiply-accumulates.
///
/// Nodes are counted as the file spells them while the model is as it was read.
pub fn quick(model: &Model) -> Census {
    let mut census = Census { file_bytes: model.file_bytes, ..count(&model.graph) };
    if !model.ops.is_empty() {
        census.nodes = model.ops.values().sum();
        census.ops.clone_from(&model.ops);
    }
    census
}

fn count(graph: &Graph) -> Census {
    let mut census = Census { nodes: graph.node_count(), ..Census::default() };
    for node in graph.nodes() {
        let n = graph.node(node);
        let name = match n.domain() {
            "" => n.op_name().to_string(),
            domain => format!("{domain}.{}", n.op_name()),
        };
        *census.ops.entry(name).or_default() += 1;
        for (_, attr) in n.attrs() {
            match attr {
                Attr::Tensor(tensor) => add(&mut census, tensor),
                Attr::Tensors(tensors) => tensors.iter().for_each(|t| add(&mut census, t)),
                Attr::Int(_)
                | Attr::Float(_)
                | Attr::Str(_)
                | Attr::Graph(_)
                | Attr::Ints(_)
                | Attr::Floats(_)
                | Attr::Strs(_)
                | Attr::Graphs(_)
                | Attr::Type(_)
                | Attr::Carried(_) => {}
            }
        }
    }
    for value in graph.values() {
        let value = graph.value(value);
        match value.origin() {
            Origin::Constant => value.constant().into_iter().for_each(|t| add(&mut census, t)),
            Origin::Input => value.default().into_iter().for_each(|t| add(&mut census, t)),
            Origin::Node(..) => {}
        }
    }
    census
}

fn add(census: &mut Census, tensor: &Tensor) {
    let elements = match tensor.data() {
        // One element, however often it is read.
        Data::Splat(_) => tensor.len().min(1),
        Data::Raw(_) | Data::Strings(_) => tensor.len(),
    };
    census.parameters += elements as u64;
    census.parameter_bytes += tensor.stored_bytes() as u64;
}

/// Multiply-accumulates of one run of the main graph: of an `If` the dearer branch, of a loop nothing that multiplies.
///
/// `None` where a size on the way is not a number, or an operator is not known.
pub fn macs(graph: &Graph) -> Option<u64> {
    // Bodies come after the graphs around them, so from the back every node's bodies are known before it.
    let scopes: Vec<ScopeId> = graph.scopes().collect();
    let mut cost: rustc_hash::FxHashMap<ScopeId, Option<u64>> = rustc_hash::FxHashMap::default();
    for &scope in scopes.iter().rev() {
        let total = graph.nodes_of(scope).try_fold(0u64, |sum, n| sum.checked_add(macs_of(graph, n, &cost)?));
        cost.insert(scope, total);
    }
    cost.get(&ScopeId::MAIN).copied().flatten()
}

fn macs_of(graph: &Graph, node: NodeId, bodies: &rustc_hash::FxHashMap<ScopeId, Option<u64>>) -> Option<u64> {
    let n = graph.node(node);
    let mut dearest = 0;
    for body in n.bodies() {
        dearest = dearest.max(bodies.get(&body).copied().flatten()?);
    }
    if n.bodies().next().is_some() {
        let runs_once = n.op == crate::ir::OpKind::If;
        return (runs_once || dearest == 0).then_some(dearest);
    }
    u64::try_from((row_of(n).macs)(&CallView::new(graph, node))?.known()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, OpKind, Shape, Type};

    #[test]
    fn nodes_and_constants_are_counted_in_every_graph() {
        let mut g = Graph::default();
        let c = g.add_input(ScopeId::MAIN, "c", Type::tensor(DType::Bool, Shape::known(&[])));
        let branch = g.add_node(ScopeId::MAIN, OpKind::If, &[Some(c)], 1, 0);
        for name in ["then_branch", "else_branch"] {
            let body = g.add_body(branch, name);
            let k = g.add_constant(body, "k", Tensor::vector(&[1, 2, 3]));
            let n = g.add_node(body, OpKind::Relu, &[Some(k)], 1, 0);
            let r = g.result(n, 0).unwrap();
            g.add_output(body, "r", r, Type::Unknown);
            g.set_attr(branch, name, Attr::Graph(body));
        }
        let census = count(&g);
        assert_eq!((census.nodes, census.parameters, census.parameter_bytes), (3, 6, 48));
        assert_eq!(census.ops.into_iter().collect::<Vec<_>>(), [("If".to_string(), 1), ("Relu".to_string(), 2)]);
        assert_eq!(macs(&g), Some(0));
    }

    #[test]
    fn an_unknown_operator_costs_nobody_knows_what() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", Type::Unknown);
        let n = g.add_node(ScopeId::MAIN, OpKind::Custom, &[Some(x)], 1, 0);
        g.node_mut(n).custom = Some(std::sync::Arc::new(("ai.example".into(), "Magic".into())));
        assert_eq!(macs(&g), None);
        assert_eq!(count(&g).ops.keys().next().map(String::as_str), Some("ai.example.Magic"));
    }
}
