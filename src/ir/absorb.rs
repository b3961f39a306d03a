//! One graph takes in another, whose nodes and values get new ids.

use std::sync::Arc;

use crate::ir::graph::{CompactOrigin, id};
use crate::ir::{Attr, Graph, Int, NodeId, ScopeId, Shape, Type, User, ValueId};

/// Where the nodes and values of a graph are that was taken in.
#[derive(Clone, Copy, Debug)]
pub struct Moved {
    nodes: u32,
    values: u32,
    scopes: u32,
}

impl Moved {
    /// What was `value`.
    pub fn value(self, value: ValueId) -> ValueId {
        ValueId::at(id(value.index()) + self.values)
    }

    /// What was `node`.
    pub fn node(self, node: NodeId) -> NodeId {
        NodeId(node.0 + self.nodes)
    }

    /// What was `scope`; both main graphs are one.
    fn scope(self, scope: ScopeId) -> ScopeId {
        if scope == ScopeId::MAIN { scope } else { ScopeId(scope.0 - 1 + self.scopes) }
    }
}

impl Graph {
    /// Take in everything of `other`, behind what there is: its nodes come after the nodes here, its inputs after the
    /// inputs, its outputs after the outputs. Nothing is connected, and names may clash.
    ///
    /// Of types, numbers and names of sizes stay; other sizes are measured anew.
    pub fn absorb(&mut self, other: Graph) -> Moved {
        let moved = Moved { nodes: id(self.nodes.len()), values: id(self.values.len()), scopes: id(self.scopes.len()) };
        let outputs_here = self.scope(ScopeId::MAIN).outputs().len();
        let behind = self.nodes().map(|n| self.node(n).order() + 1).max().unwrap_or_default();
        self.live_nodes += other.live_nodes;
        for node in other.nodes {
            self.nodes.push(node.map(|mut node| {
                node.scope = moved.scope(node.scope);
                node.order = node.order.saturating_add(behind);
                for operand in node.operands.iter_mut().flatten() {
                    operand.value = moved.value(operand.value);
                }
                for result in node.results.iter_mut().flatten() {
                    *result = moved.value(*result);
                }
                for (_, attr) in &mut node.attrs {
                    match attr {
                        Attr::Graph(body) => *body = moved.scope(*body),
                        Attr::Graphs(bodies) => bodies.iter_mut().for_each(|body| *body = moved.scope(*body)),
                        _ => {}
                    }
                }
                node
            }));
        }
        for (index, value) in other.values.into_iter().enumerate() {
            let new = ValueId::at(id(index) + moved.values);
            self.values.push(value.map(|mut value| {
                value.scope = moved.scope(value.scope);
                value.ty = measured_anew(&value.ty, new);
                value.content = None;
                if let CompactOrigin::Node(node, slot) = value.origin {
                    value.origin = CompactOrigin::Node(moved.node(node), slot);
                }
                for user in &mut value.uses {
                    *user = match *user {
                        User::Node(node, slot) => User::Node(moved.node(node), slot),
                        User::Output(ScopeId::MAIN, index) => User::Output(ScopeId::MAIN, index + outputs_here),
                        User::Output(scope, index) => User::Output(moved.scope(scope), index),
                    };
                }
                value
            }));
        }
        for (index, scope) in other.scopes.into_iter().enumerate() {
            let scope = scope.map(|mut scope| {
                scope.parent = scope.parent.map(|parent| moved.node(parent));
                scope.inputs.iter_mut().for_each(|input| *input = moved.value(*input));
                scope.nodes.iter_mut().for_each(|node| *node = moved.node(*node));
                for output in &mut scope.outputs {
                    output.value = moved.value(output.value);
                    output.declared = measured_anew(&output.declared, output.value);
                }
                scope
            });
            if index > 0 {
                self.scopes.push(scope);
                continue;
            }
            let Some(mut main) = scope else { continue };
            let here = self.scope_mut(ScopeId::MAIN);
            here.inputs.append(&mut main.inputs);
            here.outputs.append(&mut main.outputs);
            here.nodes.append(&mut main.nodes);
        }
        moved
    }
}

/// `ty` of a value that has another id now: sizes that are neither numbers nor names are measured of it.
fn measured_anew(ty: &Type, value: ValueId) -> Type {
    let is_told = |d: &Int| d.known().is_some() || d.name().is_some();
    match ty {
        Type::Tensor { dtype, shape } => {
            let dims = shape.dims().map(|dims| {
                let dims = dims.iter().enumerate();
                dims.map(|(axis, d)| if is_told(d) { d.clone() } else { value.measured(axis) }).collect()
            });
            Type::Tensor { dtype: *dtype, shape: Shape(dims) }
        }
        // Of elements, only what is told holds for all of them.
        Type::Sequence(inner) => Type::Sequence(Arc::new(without_open_sizes(inner))),
        Type::Optional(inner) => Type::Optional(Arc::new(without_open_sizes(inner))),
        Type::Unknown | Type::Carried(_) => ty.clone(),
    }
}

fn without_open_sizes(ty: &Type) -> Type {
    match ty {
        Type::Tensor { dtype, shape } if shape.sizes().is_none() => {
            Type::Tensor { dtype: *dtype, shape: Shape::UNKNOWN }
        }
        Type::Sequence(inner) => Type::Sequence(Arc::new(without_open_sizes(inner))),
        Type::Optional(inner) => Type::Optional(Arc::new(without_open_sizes(inner))),
        Type::Tensor { .. } | Type::Unknown | Type::Carried(_) => ty.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::verify;
    use crate::text;

    #[test]
    fn both_graphs_are_well_formed_together() {
        let header = "<ir_version: 8, opset_import: [\"\" : 17]> ";
        let graph = |text: &str| text::parse(&format!("{header}{text}")).unwrap().graph;
        let mut a = graph("g (float[n] x) => (float[n] y, float[n] z) { y = Relu(x)  z = Abs(y) }");
        let b = graph(
            "g (bool c, float[m] u) => (float[m] v) <float w = {1}> {
                t = Add(u, w)
                v = If (c) <then_branch = p () => (float[m] a) { a = Relu(t) },
                            else_branch = q () => (float[m] b) { b = Abs(u) }>
            }",
        );
        let (nodes, u) = (a.node_count() + b.node_count(), b.scope(ScopeId::MAIN).inputs()[1]);
        let moved = a.absorb(b);
        assert_eq!(verify(&a), []);
        assert_eq!(a.node_count(), nodes);
        let main = a.scope(ScopeId::MAIN);
        assert_eq!((main.inputs().len(), main.outputs().len()), (3, 3));
        assert_eq!((main.inputs()[2], &*a.value(moved.value(u)).name), (moved.value(u), "u"));
        // Edits behind it work on both.
        let y = a.scope(ScopeId::MAIN).outputs()[0].value();
        let u = moved.value(u);
        while let Some(&user) = a.value(u).users().last() {
            a.replace_use(user, y);
        }
        a.remove_output(ScopeId::MAIN, 0);
        a.remove_input(ScopeId::MAIN, 2);
        assert_eq!(verify(&a), []);
    }
}
