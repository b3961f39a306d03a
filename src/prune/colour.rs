//! Dimension colouring: which indices, of which axes, of all tensors of a graph can only be removed together.
//!
//! Every index of every axis is an atom; the ties of each call make atoms one. What is one with an atom of a graph
//! input or output, or of an axis that some operator says nothing about, is fixed. What is left falls into classes, the
//! smallest units that can be removed: all slices, of all tensors, of one class go at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Graph, Int, NodeId, OpKind, ScopeId, User, ValueId};
use crate::ops::ties::MOST_INDICES;
use crate::ops::{CallView, End, Port, Tie, row_of};
use crate::prune::atoms::{Atom, Atoms, FIXED};
use crate::prune::view::{Factors, segments};

/// A class of indices; classes are numbered from 1 on, 0 stands for those that stay.
pub type Class = u32;

/// The class of each index of an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axis {
    /// All of them stay.
    Fixed,
    /// Of each index, 0 where it stays.
    Of(Arc<[Class]>),
}

/// How convolutions in groups lose channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouped {
    /// Whichever gives the smaller units.
    #[default]
    Finer,
    /// Whole groups.
    Whole,
    /// The same channels of every group.
    Within,
}

/// Along which factor of a `Reshape` channels are removed where nothing else tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Factor {
    /// The outermost: whole heads.
    #[default]
    Outer,
    /// The innermost: the same part of every head.
    Inner,
}

/// What a caller decides about classes.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Of convolutions in groups.
    pub grouped: Grouped,
    /// Of views.
    pub factor: Factor,
    /// Tensors that keep all of their indices.
    pub protected: FxHashSet<ValueId>,
}

/// Calls of one operator that kept something from being removable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How many calls.
    pub calls: usize,
    /// The first of them.
    pub first: NodeId,
}

/// A graph's classes.
#[derive(Clone, Debug)]
pub struct Colouring {
    axes: FxHashMap<ValueId, Vec<Axis>>,
    classes: usize,
    /// Operators about whose axes nothing is known, where that fixed something.
    pub stopped: BTreeMap<String, Stopped>,
    /// Convolutions in groups that lose the same channels of every group.
    pub within: FxHashSet<NodeId>,
}

impl Colouring {
    /// The classes of the main graph's tensors. Shapes must have been inferred.
    pub fn of(graph: &Graph, choices: &Choices) -> Colouring {
        let mut painter = Painter {
            graph,
            choices,
            atoms: Atoms::default(),
            labels: FxHashMap::default(),
            views: Vec::new(),
            stopped: BTreeMap::new(),
            within: FxHashSet::default(),
            told: 0,
        };
        painter.paint();
        painter.finish()
    }

    /// The classes along each axis of `value`; none for a tensor of unknown rank or one that no call of the main graph
    /// has to do with.
    pub fn axes(&self, value: ValueId) -> &[Axis] {
        self.axes.get(&value).map_or(&[], Vec::as_slice)
    }

    /// The classes along one axis, where it has any.
    pub fn classes_of(&self, value: ValueId, axis: usize) -> Option<&Arc<[Class]>> {
        match self.axes(value).get(axis)? {
            Axis::Fixed => None,
            Axis::Of(classes) => Some(classes),
        }
    }

    /// All tensors with their axes.
    pub fn tensors(&self) -> impl Iterator<Item = (ValueId, &[Axis])> {
        self.axes.iter().map(|(value, axes)| (*value, axes.as_slice()))
    }

    /// How many classes there are; the last has this number.
    pub fn class_count(&self) -> usize {
        self.classes
    }
}

/// An axis while its atoms are still being tied.
#[derive(Clone, Debug)]
enum Label {
    Fixed,
    Of(Arc<[Atom]>),
}

struct Painter<'a> {
    graph: &'a Graph,
    choices: &'a Choices,
    atoms: Atoms,
    labels: FxHashMap<ValueId, Vec<Label>>,
    views: Vec<Factors>,
    stopped: BTreeMap<String, Stopped>,
    within: FxHashSet<NodeId>,
    /// Indices of all axes that are told apart.
    told: usize,
}

/// Indices of all axes that are told apart at the most; those of further axes stay.
const MOST_IN_ALL: usize = 1 << 26;

impl Painter<'_> {
    fn paint(&mut self) {
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

    fn tie(&mut self, calling: &mut Calling<'_>, tie: Tie) {
        match tie {
            Tie::Same(a, b) => self.same(calling, a, b),
            Tie::Contracted(a, b) => self.same(calling, a, b),
            Tie::Summed(end) => {
                self.label(calling, end);
            }
            Tie::Picked { from, to, indices } => self.picked(calling, from, to, &indices),
            Tie::Joined { whole, parts } => self.joined(calling, whole, &parts),
            Tie::Runs { ends, count } => self.runs(calling, &ends, count),
            Tie::Grouped { groups, wide, narrow, other } => {
                let per_group = self.size(calling, narrow).unwrap_or(1);
                let within = match self.choices.grouped {
                    Grouped::Whole => false,
                    Grouped::Within => per_group > 1,
                    Grouped::Finer => per_group > groups,
                };
                if !within {
                    let ends: Vec<End> = wide.iter().copied().chain([other]).collect();
                    self.runs(calling, &ends, groups);
                    return;
                }
                self.within.insert(calling.call.id());
                for &end in &wide {
                    self.repeats(calling, end, groups);
                }
                if let Some(&first) = wide.first() {
                    for &end in &wide[1..] {
                        self.same(calling, first, end);
                    }
                }
                let indices: Option<Vec<usize>> =
                    self.size(calling, other).map(|n| (0..n).map(|i| i % per_group.max(1)).collect());
                match indices {
                    Some(indices) if per_group.checked_mul(groups) == Some(indices.len()) => {
                        self.picked(calling, narrow, other, &indices);
                    }
                    _ => self.fix_ends(calling, &[narrow, other]),
                }
            }
            Tie::View => self.view(calling),
        }
    }

    /// Index `i` of the one is index `i` of the other.
    fn same(&mut self, calling: &mut Calling<'_>, a: End, b: End) {
        if !self.is_given(calling, a) || !self.is_given(calling, b) {
            // What is left out ties nothing, but the other is not said to stay by it.
            for end in [a, b] {
                if self.is_given(calling, end) {
                    self.label(calling, end);
                }
            }
            return;
        }
        let (unset_a, unset_b) = (calling.is_unset(a), calling.is_unset(b));
        if unset_b || unset_a {
            let (from, to) = if unset_b { (a, b) } else { (b, a) };
            let label = self.label(calling, from);
            let fits = self.size(calling, from) == self.size(calling, to);
            if fits {
                calling.set(to, label);
                return;
            }
            self.fix(&label);
            calling.set(to, Label::Fixed);
            return;
        }
        let (x, y) = (self.label(calling, a), self.label(calling, b));
        self.unite(&x, &y);
    }

    /// Make two axes one, index by index; fix both where they are not of one length.
    fn unite(&mut self, a: &Label, b: &Label) {
        match (a, b) {
            (Label::Of(a), Label::Of(b)) if a.len() == b.len() => {
                if !Arc::ptr_eq(a, b) {
                    a.iter().zip(&**b).for_each(|(&a, &b)| self.atoms.unite(a, b));
                }
            }
            _ => {
                self.fix(a);
                self.fix(b);
            }
        }
    }

    fn picked(&mut self, calling: &mut Calling<'_>, from: End, to: End, indices: &[usize]) {
        if !self.is_given(calling, from) || !self.is_given(calling, to) {
            return;
        }
        let source = self.label(calling, from);
        let fits = self.size(calling, to) == Some(indices.len()) && self.has_room(indices.len());
        let picked: Option<Arc<[Atom]>> = match &source {
            Label::Of(atoms) if fits => indices.iter().map(|&i| atoms.get(i).copied()).collect(),
            _ => None,
        };
        let picked = match picked {
            Some(atoms) => Label::Of(atoms),
            None => {
                self.fix(&source);
                Label::Fixed
            }
        };
        if calling.is_unset(to) {
            calling.set(to, picked);
        } else {
            let own = self.label(calling, to);
            self.unite(&own, &picked);
        }
    }

    fn joined(&mut self, calling: &mut Calling<'_>, whole: End, parts: &[End]) {
        let parts: Vec<End> = parts.iter().copied().filter(|&end| self.is_given(calling, end)).collect();
        let sizes: Option<Vec<usize>> = parts.iter().map(|&end| self.size(calling, end)).collect();
        let total = sizes.as_ref().and_then(|s| s.iter().try_fold(0usize, |n, &s| n.checked_add(s)));
        let fits = total.is_some() && total == self.size(calling, whole) && self.has_room(total.unwrap_or(0));
        let Some(sizes) = sizes.filter(|_| fits) else {
            self.fix_ends(calling, &parts);
            self.fix_ends(calling, &[whole]);
            return;
        };
        if calling.is_unset(whole) {
            let mut all: Vec<Atom> = Vec::with_capacity(total.unwrap_or(0));
            for (&part, &size) in parts.iter().zip(&sizes) {
                match self.label(calling, part) {
                    Label::Of(atoms) => all.extend(&*atoms),
                    Label::Fixed => all.resize(all.len() + size, FIXED),
                }
            }
            calling.set(whole, Label::Of(all.into()));
            return;
        }
        let source = self.label(calling, whole);
        let mut at = 0;
        for (&part, &size) in parts.iter().zip(&sizes) {
            let label = match &source {
                Label::Of(atoms) => Label::Of(Arc::from(&atoms[at..at + size])),
                Label::Fixed => Label::Fixed,
            };
            at += size;
            if calling.is_unset(part) {
                calling.set(part, label);
            } else {
                let own = self.label(calling, part);
                self.unite(&own, &label);
            }
        }
    }

    /// Run `r` of each axis is one class with run `r` of the others.
    fn runs(&mut self, calling: &mut Calling<'_>, ends: &[End], count: usize) {
        let ends: Vec<End> = ends.iter().copied().filter(|&end| self.is_given(calling, end)).collect();
        let divides = |size: usize| count > 0 && size.is_multiple_of(count);
        if !ends.iter().all(|&end| self.size(calling, end).is_some_and(divides)) {
            self.fix_ends(calling, &ends);
            return;
        }
        let mut firsts: Vec<Option<Atom>> = vec![None; count];
        for end in ends {
            match self.label(calling, end) {
                Label::Fixed => firsts.iter_mut().for_each(|first| match first {
                    Some(first) => self.atoms.unite(FIXED, *first),
                    None => *first = Some(FIXED),
                }),
                Label::Of(atoms) => {
                    let length = (atoms.len() / count).max(1);
                    for (run, first) in atoms.chunks(length).zip(&mut firsts) {
                        for &atom in run {
                            let one = *first.get_or_insert(atom);
                            self.atoms.unite(one, atom);
                        }
                    }
                }
            }
        }
    }

    /// Each of `count` runs of an axis is the same indices.
    fn repeats(&mut self, calling: &mut Calling<'_>, end: End, count: usize) {
        if !self.is_given(calling, end) {
            return;
        }
        if let Label::Of(atoms) = self.label(calling, end) {
            if count == 0 || !atoms.len().is_multiple_of(count) {
                self.fix(&Label::Of(atoms));
                return;
            }
            let length = atoms.len() / count;
            for (i, &atom) in atoms.iter().enumerate().skip(length) {
                self.atoms.unite(atoms[i % length], atom);
            }
        }
    }

    fn view(&mut self, calling: &mut Calling<'_>) {
        let call = calling.call;
        let (Some(before), Some(after)) = (call.dims(0), call.result_dims(0)) else { return };
        let Some(segments) = segments(before, after) else { return };
        for segment in segments {
            let long = |dims: &[Int], axes: std::ops::Range<usize>| -> Vec<usize> {
                axes.filter(|&axis| dims[axis].known() != Some(1)).collect()
            };
            let (from, to) = (long(before, segment.before), long(after, segment.after));
            if let ([from], [to]) = (&from[..], &to[..]) {
                self.same(calling, End::operand(0, *from), End::result(0, *to));
                continue;
            }
            let ends: Vec<End> = from.iter().map(|&a| End::operand(0, a)).collect();
            let results: Vec<End> = to.iter().map(|&a| End::result(0, a)).collect();
            let sizes: Option<usize> = ends.iter().chain(&results).map(|&end| self.size(calling, end)).sum();
            let known = sizes.is_some_and(|sizes| self.has_room(sizes));
            if !known {
                self.fix_ends(calling, &ends);
                self.fix_ends(calling, &results);
                continue;
            }
            let before: Vec<Arc<[Atom]>> = ends.iter().map(|&end| self.spelled(calling, end)).collect();
            let lengths: Vec<usize> = results.iter().map(|&end| self.size(calling, end).unwrap_or(0)).collect();
            let Some(mut factors) = Factors::of(&before, &lengths) else {
                self.fix_ends(calling, &ends);
                self.fix_ends(calling, &results);
                continue;
            };
            let viable = factors.viable(&mut self.atoms);
            if viable.len() <= 1 && results.iter().all(|&end| calling.is_unset(end)) {
                // Nothing of the result can make more of them so: its indices are the operand's.
                let after = factors.settle(viable.first().copied(), &mut self.atoms);
                for (&end, atoms) in results.iter().zip(after) {
                    calling.named.insert(end);
                    calling.set(end, atoms.map_or(Label::Fixed, Label::Of));
                }
                continue;
            }
            let after: Vec<Arc<[Atom]>> = results.iter().map(|&end| self.spelled(calling, end)).collect();
            factors.know(&after);
            self.views.push(factors);
        }
    }

    /// The atoms of an axis: a fixed one has as many fixed atoms as indices, so that factors can be told.
    fn spelled(&mut self, calling: &mut Calling<'_>, end: End) -> Arc<[Atom]> {
        match self.label(calling, end) {
            Label::Of(atoms) => atoms,
            Label::Fixed => vec![FIXED; self.size(calling, end).unwrap_or(0)].into(),
        }
    }

    /// Settle views whose factor the rest of the graph tells, until none is left; then one by choice, and again.
    fn settle_views(&mut self) {
        let mut open = std::mem::take(&mut self.views);
        while !open.is_empty() {
            let before = open.len();
            open.retain(|view| {
                let viable = view.viable(&mut self.atoms);
                if viable.len() > 1 {
                    return true;
                }
                view.settle(viable.first().copied(), &mut self.atoms);
                false
            });
            if open.len() == before {
                let view = open.remove(0);
                let viable = view.viable(&mut self.atoms);
                let chosen = match self.choices.factor {
                    Factor::Outer => viable.first(),
                    Factor::Inner => viable.last(),
                };
                view.settle(chosen.copied(), &mut self.atoms);
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
    fn has_room(&mut self, count: usize) -> bool {
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
    fn label(&mut self, calling: &mut Calling<'_>, end: End) -> Label {
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

    fn is_given(&self, calling: &Calling<'_>, end: End) -> bool {
        match end.port {
            Port::Operand(slot) => slot < calling.call.operand_count() && calling.call.has(slot),
            Port::Result(slot) => self.graph.result(calling.call.id(), slot).is_some(),
        }
    }

    fn size(&self, calling: &Calling<'_>, end: End) -> Option<usize> {
        crate::ops::ties::size(&calling.call, end)
    }

    fn fix_ends(&mut self, calling: &mut Calling<'_>, ends: &[End]) {
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
    fn fix(&mut self, label: &Label) -> bool {
        let Label::Of(atoms) = label else { return false };
        let mut was_free = false;
        for &atom in &**atoms {
            was_free |= self.atoms.find(atom) != FIXED;
            self.atoms.unite(FIXED, atom);
        }
        was_free
    }

    fn finish(mut self) -> Colouring {
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

/// One call while it is painted.
struct Calling<'g> {
    call: CallView<'g>,
    results: Vec<Vec<Option<Label>>>,
    named: FxHashSet<End>,
}

impl Calling<'_> {
    fn result(&self, end: End) -> Option<&Option<Label>> {
        match end.port {
            Port::Result(slot) => self.results.get(slot)?.get(end.axis),
            Port::Operand(_) => None,
        }
    }

    fn is_unset(&self, end: End) -> bool {
        matches!(self.result(end), Some(None))
    }

    fn set(&mut self, end: End, label: Label) {
        if let Port::Result(slot) = end.port
            && let Some(place) = self.results.get_mut(slot).and_then(|axes| axes.get_mut(end.axis))
        {
            *place = Some(label);
        }
    }
}
