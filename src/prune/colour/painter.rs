//! The atoms of a graph's axes, as its calls tie them one after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Graph, Int, NodeId, OpKind, ScopeId, User, ValueId};
use crate::ops::ties::MOST_INDICES;
use crate::ops::{CallView, End, Port, Tie, row_of};
use crate::prune::atoms::{Atom, Atoms, FIXED};
use crate::prune::colour::calling::{Calling, Label};
use crate::prune::colour::{Axis, Choices, Class, Colouring, Stopped};
use crate::prune::view::Factors;

/// A graph on its way to classes.
pub(super) struct Painter<'a> {
    pub(super) graph: &'a Graph,
    pub(super) choices: &'a Choices,
    pub(super) atoms: Atoms,
    pub(super) labels: FxHashMap<ValueId, Vec<Label>>,
    pub(super) views: Vec<Factors>,
    pub(super) stopped: BTreeMap<String, Stopped>,
    pub(super) within: FxHashSet<NodeId>,
    /// Indices of all axes that are told apart.
    pub(super) told: usize,
}

/// Indices of all axes that are told apart at the most; those of further axes stay.
const MOST_IN_ALL: usize = 1 << 26;

impl<'a> Painter<'a> {
    /// Nothing is tied yet.
    pub(super) fn new(graph: &'a Graph, choices: &'a Choices) -> Painter<'a> {
        Painter {
            graph,
            choices,
            atoms: Atoms::default(),
            labels: FxHashMap::default(),
            views: Vec::new(),
            stopped: BTreeMap::new(),
            within: FxHashSet::default(),
            told: 0,
        }
    }

    pub(super) fn paint(&mut self) {
        for &input in self.graph.scope(ScopeId::MAIN).inputs() {
            self.fix_value(input);
        }
        for node in self.graph.schedule(ScopeId::MAIN) {
            self.call(node);
        }
        for output in self.graph.scope(ScopeId::MAIN).outputs() {
            self.fix_value(output.value());
        }
        let captured = |value: &ValueId| {
            let users = self.graph.value(*value).users().iter();
            users.copied().any(|user| match user {
                User::Node(node, _) => self.graph.node(node).scope() != ScopeId::MAIN,
                User::Output(scope, _) => scope != ScopeId::MAIN,
            })
        };
        let mut stay: Vec<ValueId> = self.labels.keys().copied().filter(captured).collect();
        stay.extend(self.choices.protected.iter().copied());
        for value in stay {
            self.fix_value(value);
        }
        self.settle_views();
    }

    fn call(&mut self, node: NodeId) {
        let call = CallView::new(self.graph, node);
        let mut ties = (row_of(call.node()).ties)(&call);
        if ties.contains(&Tie::View) && call.node().op == OpKind::Reshape && !tells_sizes(&call) {
            ties.clear();
        }
        let knows = !ties.is_empty();
        let mut calling = Calling { call, results: Vec::new(), named: FxHashSet::default() };
        for &result in self.graph.results(node) {
            let rank = result.and_then(|v| self.graph.value(v).ty.shape().rank()).unwrap_or(0);
            calling.results.push(vec![None; rank]);
        }
        for tie in ties {
            self.tie(&mut calling, tie);
        }
        // What no tie names stays.
        let mut fixes = false;
        for slot in 0..call.operand_count() {
            let Some(value) = call.operand(slot) else { continue };
            let rank = self.graph.value(value).ty.shape().rank().unwrap_or(0);
            if (0..rank).all(|axis| calling.named.contains(&End::operand(slot, axis))) {
                continue;
            }
            if self.graph.constant(value).is_none() || self.labels.contains_key(&value) {
                let labels = self.of_value(value).to_vec();
                for (axis, label) in labels.iter().enumerate() {
                    if !calling.named.contains(&End::operand(slot, axis)) {
                        fixes |= self.fix(label);
                    }
                }
            } else {
                // Nothing is known of this constant yet: name what is not fixed now.
                let kept: Vec<usize> = (0..rank).filter(|&a| !calling.named.contains(&End::operand(slot, a))).collect();
                let mut labels = self.of_value(value).to_vec();
                for axis in kept {
                    labels[axis] = Label::Fixed;
                }
                self.labels.insert(value, labels);
            }
        }
        if fixes && !knows {
            let name = self.graph.node(node).op_name().to_string();
            self.stopped.entry(name).or_insert(Stopped { calls: 0, first: node }).calls += 1;
        }
        for (slot, labels) in calling.results.into_iter().enumerate() {
            if let Some(value) = self.graph.result(node, slot) {
                let labels = labels.into_iter().map(|label| label.unwrap_or(Label::Fixed)).collect();
                self.labels.insert(value, labels);
            }
        }
    }

    /// The labels of a value's axes; new atoms for a constant that is met for the first time.
    fn of_value(&mut self, value: ValueId) -> &[Label] {
        if !self.labels.contains_key(&value) {
            let v = self.graph.value(value);
            let rank = v.ty.shape().rank().unwrap_or(0);
            let labels = match v.constant() {
                Some(tensor) => tensor.dims().to_vec().into_iter().map(|size| self.fresh(size)).collect(),
                None => vec![Label::Fixed; rank],
            };
            self.labels.insert(value, labels);
        }
        &self.labels[&value]
    }

    /// Whether so many more indices may be told apart, and that they are.
    pub(super) fn has_room(&mut self, count: usize) -> bool {
        let has = count <= MOST_INDICES && self.told.saturating_add(count) <= MOST_IN_ALL;
        if has {
            self.told += count;
        }
        has
    }

    /// An axis of one index has nothing to lose.
    fn fresh(&mut self, size: usize) -> Label {
        if size <= 1 || !self.has_room(size) {
            return Label::Fixed;
        }
        self.atoms.fresh(size).map_or(Label::Fixed, |range| Label::Of(range.collect()))
    }

    /// The label of an axis, which is named by this; a result's that is not set gets new atoms.
    pub(super) fn label(&mut self, calling: &mut Calling<'_>, end: End) -> Label {
        calling.named.insert(end);
        match end.port {
            Port::Operand(slot) => match calling.call.operand(slot) {
                Some(value) => self.of_value(value).get(end.axis).cloned().unwrap_or(Label::Fixed),
                None => Label::Fixed,
            },
            Port::Result(_) => {
                if calling.is_unset(end) {
                    let label = self.size(calling, end).map_or(Label::Fixed, |size| self.fresh(size));
                    calling.set(end, label);
                }
                calling.result(end).cloned().flatten().unwrap_or(Label::Fixed)
            }
        }
    }

    pub(super) fn is_given(&self, calling: &Calling<'_>, end: End) -> bool {
        match end.port {
            Port::Operand(slot) => slot < calling.call.operand_count() && calling.call.has(slot),
            Port::Result(slot) => self.graph.result(calling.call.id(), slot).is_some(),
        }
    }

    pub(super) fn size(&self, calling: &Calling<'_>, end: End) -> Option<usize> {
        crate::ops::ties::size(&calling.call, end)
    }

    pub(super) fn fix_ends(&mut self, calling: &mut Calling<'_>, ends: &[End]) {
        for &end in ends {
            if !self.is_given(calling, end) {
                continue;
            }
            if calling.is_unset(end) {
                calling.set(end, Label::Fixed);
            } else {
                let label = self.label(calling, end);
                self.fix(&label);
            }
        }
    }

    fn fix_value(&mut self, value: ValueId) {
        let labels = self.of_value(value).to_vec();
        for label in &labels {
            self.fix(label);
        }
    }

    /// Whether any index was free before.
    pub(super) fn fix(&mut self, label: &Label) -> bool {
        let Label::Of(atoms) = label else { return false };
        let mut was_free = false;
        for &atom in &**atoms {
            was_free |= self.atoms.find(atom) != FIXED;
            self.atoms.unite(FIXED, atom);
        }
        was_free
    }

    pub(super) fn finish(mut self) -> Colouring {
        let mut numbers: FxHashMap<Atom, Class> = FxHashMap::default();
        // Axes share their atoms, and so their classes.
        let mut known: FxHashMap<*const Atom, Axis> = FxHashMap::default();
        let mut axes: FxHashMap<ValueId, Vec<Axis>> = FxHashMap::default();
        let mut values: Vec<ValueId> = self.labels.keys().copied().collect();
        values.sort_unstable();
        let mut kept: Vec<Vec<Label>> = Vec::new();
        for value in values {
            let labels = self.labels.remove(&value).unwrap_or_default();
            let mut of = Vec::with_capacity(labels.len());
            for label in &labels {
                let Label::Of(atoms) = label else {
                    of.push(Axis::Fixed);
                    continue;
                };
                let axis = match known.get(&atoms.as_ptr()) {
                    Some(axis) => axis.clone(),
                    None => {
                        let class = |&atom: &Atom| match self.atoms.find(atom) {
                            FIXED => 0,
                            root => {
                                let next = Class::try_from(numbers.len() + 1).unwrap_or(Class::MAX);
                                *numbers.entry(root).or_insert(next)
                            }
                        };
                        let classes: Arc<[Class]> = atoms.iter().map(class).collect();
                        let axis =
                            if classes.iter().all(|&class| class == 0) { Axis::Fixed } else { Axis::Of(classes) };
                        known.insert(atoms.as_ptr(), axis.clone());
                        axis
                    }
                };
                of.push(axis);
            }
            axes.insert(value, of);
            // Pointers must not be used again while they are looked up.
            kept.push(labels);
        }
        Colouring { axes, classes: numbers.len(), stopped: self.stopped, within: self.within }
    }
}

/// Whether the sizes that a `Reshape` gives are at hand where they would have to be written anew.
fn tells_sizes(call: &CallView<'_>) -> bool {
    if call.constant(1).is_some() {
        return true;
    }
    let (Some(target), Some(sizes)) = (call.elements(1), call.result_dims(0)) else { return false };
    let told = |(size, given): (&Int, &Int)| size.known().is_none_or(|n| n == 1) || given.known().is_some();
    target.len() == sizes.len() && sizes.iter().zip(&target).all(told)
}
