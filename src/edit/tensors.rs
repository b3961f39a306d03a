//! The tensors of a model by name.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::EditFault;
use crate::ir::{Graph, ScopeId, ValueId};
use crate::similar::similar;

/// The named tensors of the main graph.
pub(super) struct Tensors {
    by_name: FxHashMap<Arc<str>, ValueId>,
}

impl Tensors {
    /// Those of `graph`. An output's name counts before its value's, which is the same in a file.
    pub(super) fn of(graph: &Graph) -> Tensors {
        let mut by_name = FxHashMap::default();
        for value in graph.values() {
            let v = graph.value(value);
            if v.scope() == ScopeId::MAIN && !v.name.is_empty() {
                by_name.insert(Arc::clone(&v.name), value);
            }
        }
        for output in graph.scope(ScopeId::MAIN).outputs() {
            by_name.insert(Arc::clone(&output.name), output.value());
        }
        Tensors { by_name }
    }

    /// The tensor called `name`, if there is one.
    pub(super) fn get(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// When there is none, or only inside a body.
    pub(super) fn find(&self, graph: &Graph, name: &str) -> Result<ValueId, EditFault> {
        if let Some(value) = self.get(name) {
            return Ok(value);
        }
        let inside = graph.values().find(|&v| *graph.value(v).name == *name && graph.value(v).scope() != ScopeId::MAIN);
        if let Some(node) = inside.and_then(|v| graph.scope(graph.value(v).scope()).parent()) {
            let node = format!("{} \"{}\"", graph.node(node).op_name(), graph.label(node));
            return Err(EditFault::InBody { name: name.into(), node });
        }
        Err(EditFault::NoTensor { name: name.into(), similar: similar(name, self.by_name.keys().map(|k| &**k)) })
    }

    /// The tensors that `asked` names. An entry that is no tensor's name is a list of them with commas between.
    ///
    /// # Errors
    /// As [`Tensors::find`]; also when one is named twice. `what` says what they are asked for as.
    pub(super) fn find_all(
        &self,
        graph: &Graph,
        asked: &[String],
        what: &'static str,
    ) -> Result<Vec<(Arc<str>, ValueId)>, EditFault> {
        let mut found: Vec<(Arc<str>, ValueId)> = Vec::new();
        for entry in asked {
            let parts: Vec<&str> = match self.get(entry) {
                Some(_) => vec![entry],
                None => entry.split(',').map(str::trim).collect(),
            };
            for name in parts {
                let value = self.find(graph, name)?;
                if found.iter().any(|(_, v)| *v == value) {
                    return Err(EditFault::Twice { what, name: name.into() });
                }
                found.push((name.into(), value));
            }
        }
        Ok(found)
    }
}
