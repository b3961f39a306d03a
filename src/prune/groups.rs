//! Classes that are alike, and what a run costs as they go.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::ir::{Graph, NodeId, OpKind, ScopeId, ValueId};
use crate::ops::{CallView, End, Port, Tie, row_of};
use crate::prune::colour::{Axis, Class, Colouring};
use crate::prune::cut::Cut;

/// Classes with slices in the same places: the channels of one width of the network.
#[derive(Clone, Debug)]
pub struct Group {
    /// The classes, by number.
    pub classes: Vec<Class>,
    /// The constants that hold slices of every class.
    pub members: Vec<Member>,
}

/// An axis of a constant that a group's classes are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The constant.
    pub value: ValueId,
    /// Its axis.
    pub axis: usize,
    /// How many indices each class has there.
    pub slices: usize,
}

/// A layer that sums over the channels of a group, with a constant weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Sink {
    /// The layer.
    #[serde(skip)]
    pub node: NodeId,
    /// The operand slot of its weight.
    pub slot: usize,
    /// The weight's axis of what is summed.
    pub axis: usize,
    /// The operand slot and axis of what it is multiplied with.
    pub data: (usize, usize),
}

/// The multiply-accumulates of a call, and the axes that its work runs over.
#[derive(Clone, Debug)]
struct Work {
    macs: f64,
    axes: Vec<Arc<[Class]>>,
}

/// A colouring with its classes in groups.
#[derive(Clone, Debug)]
pub struct Groups {
    /// The classes of each tensor.
    pub colouring: Colouring,
    /// The groups, in the order of the graph.
    pub groups: Vec<Group>,
    work: Vec<Work>,
    /// Multiplications of one run, with open sizes counted as 1.
    total: f64,
    /// What is summed where, by class.
    sinks: Vec<Sink>,
    /// Classes that no other is like.
    alone: usize,
}

impl Groups {
    /// The groups of `graph` that a pruner may choose from.
    pub fn of(graph: &Graph, colouring: Colouring) -> Groups {
        let schedule = graph.schedule(ScopeId::MAIN);
        let (groups, alone) = grouped(graph, &schedule, &colouring);
        let mut work = Vec::new();
        let mut sinks = Vec::new();
        for &node in &schedule {
            let call = CallView::new(graph, node);
            let ties = (row_of(call.node()).ties)(&call);
            for tie in &ties {
                if let Tie::Contracted(a, b) = *tie {
                    sinks.extend(sink(&call, a, b));
                }
            }
            work.extend(works(&call, &ties, &colouring));
        }
        let total = work.iter().map(|w| w.macs).sum();
        Groups { colouring, groups, work, total, sinks, alone }
    }

    /// Layers with a constant weight that sum over an axis with classes.
    pub fn sinks(&self) -> &[Sink] {
        &self.sinks
    }

    /// The multiply-accumulates of each call that has some, with open sizes counted as 1, and the axes with classes that
    /// they run over.
    pub fn work(&self) -> impl Iterator<Item = (f64, &[Arc<[Class]>])> {
        self.work.iter().map(|work| (work.macs, work.axes.as_slice()))
    }

    /// How many classes there are that no other is like: all that hangs together with one channel has nothing in its
    /// place to be chosen instead.
    pub fn alone(&self) -> usize {
        self.alone
    }

    /// The multiply-accumulates of all calls, with open sizes counted as 1.
    pub fn total(&self) -> f64 {
        self.total
    }

    /// Which classes were removed, as a mask by number: none.
    pub fn nothing(&self) -> Vec<bool> {
        vec![false; self.colouring.class_count() + 1]
    }

    /// What remains of each tensor without the classes for which `removed` holds.
    pub fn cut(&self, removed: &[bool]) -> Cut {
        let mut cut = Cut::default();
        let mut known: FxHashMap<*const Class, Option<Arc<[usize]>>> = FxHashMap::default();
        for (value, axes) in self.colouring.tensors() {
            for (axis, classes) in axes.iter().enumerate() {
                let Axis::Of(classes) = classes else { continue };
                let kept = known.entry(classes.as_ptr()).or_insert_with(|| {
                    let kept: Arc<[usize]> = (0..classes.len()).filter(|&i| !removed[classes[i] as usize]).collect();
                    (kept.len() < classes.len()).then_some(kept)
                });
                if let Some(kept) = kept {
                    cut.keep(value, axis, kept.clone());
                }
            }
        }
        cut
    }

    /// An axis that would have no index left.
    pub fn emptied(&self, removed: &[bool]) -> Option<(ValueId, usize)> {
        let mut found: Option<(ValueId, usize)> = None;
        for (value, axes) in self.colouring.tensors() {
            for (axis, classes) in axes.iter().enumerate() {
                if let Axis::Of(classes) = classes
                    && classes.iter().all(|&class| removed[class as usize])
                {
                    found = Some(found.map_or((value, axis), |other| other.min((value, axis))));
                }
            }
        }
        found
    }

    /// Multiply-accumulates of a run, as a share of those of the whole model.
    pub fn macs(&self, removed: &[bool]) -> f64 {
        if self.total == 0.0 {
            return 1.0;
        }
        let left = |work: &Work| {
            work.axes.iter().fold(work.macs, |macs, axis| {
                let kept = axis.iter().filter(|&&class| !removed[class as usize]).count();
                macs * kept as f64 / axis.len().max(1) as f64
            })
        };
        self.work.iter().map(left).sum::<f64>() / self.total
    }
}

/// The classes with the same members, by the first place in the graph that reads a member, and how many have members of
/// their own.
fn grouped(graph: &Graph, schedule: &[NodeId], colouring: &Colouring) -> (Vec<Group>, usize) {
    let mut order: FxHashMap<ValueId, usize> = FxHashMap::default();
    for (at, &node) in schedule.iter().enumerate() {
        for value in graph.operands(node).flatten() {
            if graph.constant(value).is_some() {
                order.entry(value).or_insert(at);
            }
        }
    }
    let mut constants: Vec<(usize, ValueId)> = order.into_iter().map(|(value, at)| (at, value)).collect();
    constants.sort_unstable();
    // Classes are told apart by one axis after another: each that a class is in takes it on to what stands for all those
    // with the same axes so far. Lists of their axes would be compared over and over.
    let mut paths = vec![Path { from: 0, member: None }];
    let mut at: Vec<usize> = vec![0; colouring.class_count() + 1];
    let mut slices: Vec<usize> = vec![0; colouring.class_count() + 1];
    for &(_, value) in &constants {
        if !graph.constant(value).is_some_and(|t| t.dtype().is_float() || t.dtype().bits() <= 8) {
            continue;
        }
        for (axis, classes) in colouring.axes(value).iter().enumerate() {
            let Axis::Of(classes) = classes else { continue };
            let mut met: Vec<Class> = Vec::new();
            for &class in classes.iter().filter(|&&class| class != 0) {
                if slices[class as usize] == 0 {
                    met.push(class);
                }
                slices[class as usize] += 1;
            }
            let mut known: FxHashMap<(usize, usize), usize> = FxHashMap::default();
            for class in met {
                let slices = std::mem::take(&mut slices[class as usize]);
                let from = at[class as usize];
                at[class as usize] = *known.entry((from, slices)).or_insert_with(|| {
                    paths.push(Path { from, member: Some(Member { value, axis, slices }) });
                    paths.len() - 1
                });
            }
        }
    }
    let mut places: FxHashMap<usize, usize> = FxHashMap::default();
    let mut groups: Vec<Group> = Vec::new();
    for (class, &path) in at.iter().enumerate().skip(1).filter(|(_, path)| **path != 0) {
        let class = Class::try_from(class).unwrap_or(Class::MAX);
        let place = *places.entry(path).or_insert_with(|| {
            groups.push(Group { classes: Vec::new(), members: members(&paths, path) });
            groups.len() - 1
        });
        groups[place].classes.push(class);
    }
    // One class has nobody to be chosen before.
    let all = groups.len();
    groups.retain(|group| group.classes.len() > 1);
    let alone = all - groups.len();
    let rank: FxHashMap<ValueId, usize> = constants.iter().enumerate().map(|(at, &(_, value))| (value, at)).collect();
    groups.sort_by_key(|group| (group.members.first().map(|m| rank.get(&m.value).copied()), group.classes[0]));
    (groups, alone)
}

/// The last of the axes that some classes are in, and the path of those before; path 0 is of none.
struct Path {
    from: usize,
    member: Option<Member>,
}

/// All members of a path, the first first.
fn members(paths: &[Path], path: usize) -> Vec<Member> {
    let steps = std::iter::successors(paths.get(path), |path| paths.get(path.from));
    let mut members: Vec<Member> = steps.map_while(|path| path.member).collect();
    members.reverse();
    members
}

/// The sink that a contraction of a weight with data is.
fn sink(call: &CallView<'_>, a: End, b: End) -> Option<Sink> {
    let (Port::Operand(x), Port::Operand(w)) = (a.port, b.port) else { return None };
    let (data, weight) = match (call.is_weight(x), call.is_weight(w)) {
        (false, true) => ((x, a.axis), (w, b.axis)),
        (true, false) => ((w, b.axis), (x, a.axis)),
        _ => return None,
    };
    Some(Sink { node: call.id(), slot: weight.0, axis: weight.1, data })
}

/// The work of a call: as many multiplications as it has, over the axes with classes that it runs over.
fn works(call: &CallView<'_>, ties: &[Tie], colouring: &Colouring) -> Vec<Work> {
    let Some(macs) = (row_of(call.node()).macs)(call).map(|macs| counted(&macs)).filter(|&macs| macs > 0.0) else {
        return Vec::new();
    };
    let classes = |end: End| {
        let value = match end.port {
            Port::Operand(slot) => call.operand(slot),
            Port::Result(slot) => call.graph().result(call.id(), slot),
        };
        colouring.classes_of(value?, end.axis).cloned()
    };
    if matches!(call.node().op, OpKind::LSTM | OpKind::GRU | OpKind::RNN) {
        // Each weight has multiplications of its own.
        let size = |slot: usize| call.dims(slot).and_then(crate::ops::dims::product).map_or(1.0, |n| counted(&n));
        let all = size(1) + size(2);
        let part = |slot: usize| Work {
            macs: macs * size(slot) / all,
            axes: [1, 2].into_iter().filter_map(|axis| classes(End::operand(slot, axis))).collect(),
        };
        return vec![part(1), part(2)];
    }
    let rank = call.result_dims(0).map_or(0, <[_]>::len);
    let mut axes: Vec<Arc<[Class]>> = (0..rank).filter_map(|axis| classes(End::result(0, axis))).collect();
    for tie in ties {
        let summed = match *tie {
            Tie::Contracted(a, _) => a,
            Tie::Grouped { narrow, .. } => narrow,
            _ => continue,
        };
        axes.extend(classes(summed));
    }
    vec![Work { macs, axes }]
}

/// A count of multiplications as a number, with open sizes counted as 1.
fn counted(count: &crate::ir::Int) -> f64 {
    let count = count.substitute(&|_| Some(crate::ir::Int::from(1)));
    count.and_then(|n| n.known()).map_or(0.0, |n| n as f64)
}
