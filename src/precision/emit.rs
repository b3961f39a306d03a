//! Writes halves into a graph: types, constants, and a `Cast` for each tensor that both types are read of.

use crate::ir::{Attr, DType, Graph, NodeId, OpKind, ScopeId, Tensor, Type, User, ValueId};
use crate::precision::cells::Cells;
use crate::precision::fit::{Fit, Role};

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub casts: usize,
}

/// Give `graph` halves where `is_half` says so of a cell.
pub(super) fn emit(graph: &mut Graph, cells: &Cells, is_half: &[bool], fit: &Fit) -> Written {
    let mut written = Written::default();
    for (cell, facts) in cells.facts.iter().enumerate() {
        if let Some(node) = facts.node.filter(|_| is_half[cell]) {
            attributes(graph, node, fit);
        }
    }
    let constants: Vec<ValueId> =
        graph.values().filter(|&v| graph.constant(v).is_some_and(|t| t.dtype() == DType::F32)).collect();
    for value in constants {
        constant(graph, value, cells, is_half, fit);
    }
    for (&value, &maker) in &cells.makes {
        if is_half[maker] {
            retype(graph, value, fit.half);
        }
        let other = |user: &User| cells.reads.get(user).is_some_and(|&reader| is_half[reader] != is_half[maker]);
        let users: Vec<User> = graph.value(value).users().iter().copied().filter(other).collect();
        if !users.is_empty() {
            let read = graph.add_cast(value, if is_half[maker] { DType::F32 } else { fit.half });
            written.casts += 1;
            for user in users {
                graph.replace_use(user, read);
            }
        }
    }
    for index in 0..graph.scope(ScopeId::MAIN).outputs().len() {
        declare(graph, ScopeId::MAIN, index);
    }
    let bodies: Vec<ScopeId> = graph.scopes().filter(|&s| s != ScopeId::MAIN).collect();
    for scope in bodies {
        for index in 0..graph.scope(scope).outputs().len() {
            declare(graph, scope, index);
        }
    }
    drop_identities(graph);
    graph.remove_dead();
    written
}

/// An output is declared to be what it shows.
fn declare(graph: &mut Graph, scope: ScopeId, index: usize) {
    let shown = graph.value(graph.scope(scope).outputs()[index].value()).ty.dtype();
    let declared = &mut graph.output_mut(scope, index).declared;
    if let (Some(DType::F32), Some(shown)) = (declared.dtype(), shown) {
        *declared = Type::tensor(shown, declared.shape().clone());
    }
}

fn retype(graph: &mut Graph, value: ValueId, half: DType) {
    let shape = graph.value(value).ty.shape().clone();
    graph.value_mut(value).ty = Type::tensor(half, shape);
}

/// What says a result's type.
fn attributes(graph: &mut Graph, node: NodeId, fit: &Fit) {
    let is_float = graph.result(node, 0).is_some_and(|v| graph.value(v).ty.dtype() == Some(DType::F32));
    match graph.node(node).op {
        OpKind::Cast if is_float => graph.set_attr(node, "to", i64::from(fit.half.code()).into()),
        OpKind::ConstantOfShape if is_float => {
            let element = match graph.node(node).attr("value") {
                Some(Attr::Tensor(tensor)) => fit.halved(tensor, Role::Number),
                _ => Tensor::rounded(fit.half, &[1], &[0.0]).ok(),
            };
            if let Some(element) = element {
                graph.set_attr(node, "value", element.into());
            }
        }
        _ => {}
    }
}

/// A constant is converted in place; where both types are read, there is one of each.
fn constant(graph: &mut Graph, value: ValueId, cells: &Cells, is_half: &[bool], fit: &Fit) {
    let users = graph.value(value).users().to_vec();
    let reads = |user: &User| cells.reads.get(user).is_some_and(|&cell| is_half[cell]);
    for role in Role::ALL {
        let halves: Vec<User> =
            users.iter().copied().filter(|user| reads(user) && fit.role(graph, value, *user) == role).collect();
        let Some(half) = graph.constant(value).filter(|_| !halves.is_empty()) else { continue };
        let Some(half) = fit.halved(half, role) else { continue };
        if halves.len() == users.len() {
            graph.set_constant(value, half);
            return;
        }
        let (scope, name) = (graph.value(value).scope(), graph.value(value).name.to_string());
        let copy = graph.add_constant(scope, &fit.half.tagged(&name), half);
        for user in halves {
            graph.replace_use(user, copy);
        }
    }
    graph.prune_constant(value);
}

/// Take `Cast`s to the type that is there away.
fn drop_identities(graph: &mut Graph) {
    let casts: Vec<NodeId> = graph.nodes().filter(|&n| graph.node(n).op == OpKind::Cast).collect();
    for node in casts {
        let (Some(from), Some(to)) = (graph.operand(node, 0), graph.result(node, 0)) else { continue };
        let (a, b) = (graph.value(from).ty.dtype(), graph.value(to).ty.dtype());
        let passes_input = graph.producer(from).is_none() && graph.is_output(to);
        if a == b && matches!(a, Some(DType::F16 | DType::BF16)) && !passes_input {
            graph.replace(to, from);
        }
    }
}
