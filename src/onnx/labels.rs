//! What each value is called in a written file.
//!
//! Inputs and outputs of the model keep their names. Every other value keeps its own where it can: no two values of
//! a graph share one, and none hides one of a graph around it. Values without a name get `v0`, `v1`, ….

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Graph, Origin, Output, ScopeId, ValueId};

/// Names of all values, and of outputs that no value can stand for.
pub(super) struct Labels {
    values: Vec<Option<Arc<str>>>,
    outputs: FxHashMap<ScopeId, Vec<OutputLabel>>,
    counter: usize,
    taken: FxHashSet<Arc<str>>,
}

/// How one output is written.
#[derive(Clone, Debug)]
pub(super) struct OutputLabel {
    /// Its name in the file.
    pub(super) name: Arc<str>,
    /// The value has another name (it is an input, a value of an outer graph, or shown twice): a node must copy it.
    pub(super) copied: bool,
}

impl Labels {
    /// Names for the values that are `written`: what the file does not have takes no name from what it has.
    pub(super) fn new(graph: &Graph, written: &dyn Fn(ValueId) -> bool) -> Labels {
        let mut members: FxHashMap<ScopeId, Vec<ValueId>> = FxHashMap::default();
        for value in graph.values().filter(|&v| written(v)) {
            members.entry(graph.value(value).scope()).or_default().push(value);
        }
        let mut labels = Labels {
            values: vec![None; graph.value_bound()],
            outputs: FxHashMap::default(),
            counter: 0,
            taken: FxHashSet::default(),
        };
        labels.scope(graph, ScopeId::MAIN, &members);
        labels
    }

    /// The name of a value.
    pub(super) fn of(&self, value: ValueId) -> &str {
        self.values.get(value.index()).and_then(|n| n.as_deref()).unwrap_or_default()
    }

    /// The outputs of a graph.
    pub(super) fn outputs(&self, scope: ScopeId) -> &[OutputLabel] {
        self.outputs.get(&scope).map_or(&[], Vec::as_slice)
    }

    /// A name that nothing in the file has.
    pub(super) fn fresh(&mut self) -> Arc<str> {
        loop {
            let name: Arc<str> = format!("v{}", self.counter).into();
            self.counter += 1;
            if self.taken.insert(Arc::clone(&name)) {
                return name;
            }
        }
    }

    fn scope(&mut self, graph: &Graph, scope: ScopeId, members: &FxHashMap<ScopeId, Vec<ValueId>>) {
        let none = Vec::new();
        let members_here = members.get(&scope).unwrap_or(&none);
        let mut added = Vec::new();
        for &input in graph.scope(scope).inputs() {
            self.prefer(input, &graph.value(input).name, &mut added);
        }
        let mut outputs = Vec::with_capacity(graph.scope(scope).outputs().len());
        for output in graph.scope(scope).outputs() {
            let label = self.output(graph, scope, output, &mut added);
            outputs.push(label);
        }
        self.outputs.insert(scope, outputs);
        for &value in members_here {
            self.prefer(value, &graph.value(value).name, &mut added);
        }
        for &value in members_here {
            if self.values[value.index()].is_none() {
                let name = self.fresh();
                added.push(Arc::clone(&name));
                self.values[value.index()] = Some(name);
            }
        }
        for node in graph.nodes_of(scope) {
            for body in graph.node(node).bodies() {
                self.scope(graph, body, members);
            }
        }
        if scope != ScopeId::MAIN {
            // Another body may use the same names.
            for name in added {
                self.taken.remove(&name);
            }
        }
    }

    /// Give `value` this name if it has none and the name is free.
    fn prefer(&mut self, value: ValueId, name: &Arc<str>, added: &mut Vec<Arc<str>>) -> bool {
        if name.is_empty() || self.values[value.index()].is_some() || !self.taken.insert(Arc::clone(name)) {
            return false;
        }
        added.push(Arc::clone(name));
        self.values[value.index()] = Some(Arc::clone(name));
        true
    }

    fn output(&mut self, graph: &Graph, scope: ScopeId, output: &Output, added: &mut Vec<Arc<str>>) -> OutputLabel {
        let shown = graph.value(output.value());
        let local = shown.scope() == scope;
        if local && self.values[output.value().index()].as_ref() == Some(&output.name) {
            return OutputLabel { name: Arc::clone(&output.name), copied: false };
        }
        if local && shown.origin() != Origin::Input && self.prefer(output.value(), &output.name, added) {
            return OutputLabel { name: Arc::clone(&output.name), copied: false };
        }
        // The name of a body's output is nobody's interface, so a taken one gives way.
        let name = if self.taken.insert(Arc::clone(&output.name)) { Arc::clone(&output.name) } else { self.fresh() };
        added.push(Arc::clone(&name));
        OutputLabel { name, copied: true }
    }
}
