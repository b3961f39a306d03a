//! A model with its weights taken out, so that an engine gets them without a detour through a file's encoding.

use crate::ir::{Graph, Origin, ScopeId, Tensor, ValueId};
use crate::model::Model;

/// Constants of at most this many bytes stay: they are quicker to encode than to hand over.
const SMALL: usize = 4096;

/// A model whose large constants are inputs.
pub(super) struct Detached {
    pub(super) model: Model,
    /// What each of the new inputs holds.
    pub(super) weights: Vec<(String, Tensor)>,
    /// What the inputs that callers may leave out hold then.
    pub(super) defaults: Vec<(String, Tensor)>,
}

/// Make inputs of `model`'s large constants, and ordinary inputs of those with a default.
pub(super) fn detach(model: &Model) -> Detached {
    let mut model = model.clone();
    let graph = &mut model.graph;
    let defaults = require_inputs(graph);
    let large: Vec<(ValueId, Tensor)> = graph
        .values()
        .filter(|&v| graph.value(v).origin() == Origin::Constant && graph.value(v).scope() == ScopeId::MAIN)
        .filter_map(|v| Some((v, graph.constant(v)?.clone())))
        .filter(|(_, t)| t.dtype().byte_len(t.len()).is_some_and(|bytes| bytes > SMALL))
        .collect();
    let mut weights = Vec::with_capacity(large.len());
    for (value, tensor) in large {
        let name = fresh(weights.len());
        let ty = graph.value(value).ty.clone();
        let input = graph.add_input(ScopeId::MAIN, &name, ty);
        graph.replace(value, input);
        weights.push((name, tensor));
    }
    graph.remove_dead();
    Detached { model, weights, defaults }
}

/// A name that no file has: it holds a control character.
fn fresh(index: usize) -> String {
    format!("\u{1}weight {index}")
}

/// Replace every input that has a default by one of the same name that has none.
fn require_inputs(graph: &mut Graph) -> Vec<(String, Tensor)> {
    let mut defaults = Vec::new();
    let with_default: Vec<ValueId> =
        graph.scope(ScopeId::MAIN).inputs().iter().copied().filter(|&v| graph.value(v).default().is_some()).collect();
    for old in with_default {
        let (name, ty) = (graph.value(old).name.clone(), graph.value(old).ty.clone());
        defaults.extend(graph.value(old).default().map(|t| (name.to_string(), t.clone())));
        let new = graph.add_input(ScopeId::MAIN, &name, ty);
        graph.replace(old, new);
        if let Some(index) = graph.scope(ScopeId::MAIN).inputs().iter().position(|&v| v == old) {
            graph.remove_input(ScopeId::MAIN, index);
        }
    }
    defaults
}
