//! What of a model is to become less, as its channels go.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::ir::Graph;
use crate::prune::colour::{Axis, Class};
use crate::prune::groups::Groups;

/// What is to become less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Multiply-accumulates of a run.
    Macs,
    /// Elements of constants.
    Params,
    /// Bytes of constants.
    Bytes,
}

/// A measure of a model that follows as classes go.
#[derive(Clone)]
pub(super) struct Meter {
    parts: Vec<Part>,
    /// Where each group's classes count: part, axis of the part, and how many indices a class has there.
    places: Vec<Vec<(usize, usize, usize)>>,
    total: f64,
    now: f64,
}

/// A product of the sizes of axes.
#[derive(Clone)]
struct Part {
    amount: f64,
    axes: Vec<(usize, usize)>,
}

impl Part {
    fn left(&self) -> f64 {
        self.axes.iter().fold(self.amount, |n, &(kept, size)| n * kept as f64 / size.max(1) as f64)
    }
}

impl Meter {
    pub(super) fn of(graph: &Graph, groups: &Groups, measure: Measure) -> Meter {
        let mut amounts: Vec<(f64, Vec<Arc<[Class]>>)> = Vec::new();
        match measure {
            Measure::Macs => amounts.extend(groups.work().map(|(macs, axes)| (macs, axes.to_vec()))),
            Measure::Params | Measure::Bytes => {
                for value in graph.values() {
                    let Some(tensor) = graph.constant(value) else { continue };
                    let amount = if measure == Measure::Params { tensor.len() } else { tensor.stored_bytes() };
                    let axes = groups.colouring.axes(value).iter().filter_map(|axis| match axis {
                        Axis::Of(classes) => Some(classes.clone()),
                        Axis::Fixed => None,
                    });
                    amounts.push((amount as f64, axes.collect()));
                }
            }
        }
        let mut of_class: FxHashMap<Class, usize> = FxHashMap::default();
        for (i, group) in groups.groups.iter().enumerate() {
            of_class.extend(group.classes.iter().map(|&class| (class, i)));
        }
        let mut places = vec![Vec::new(); groups.groups.len()];
        let mut parts = Vec::with_capacity(amounts.len());
        for (at, (amount, axes)) in amounts.into_iter().enumerate() {
            for (axis, classes) in axes.iter().enumerate() {
                let mut counts: FxHashMap<usize, usize> = FxHashMap::default();
                for class in &**classes {
                    if let Some(&group) = of_class.get(class) {
                        *counts.entry(group).or_default() += 1;
                    }
                }
                for (group, count) in counts {
                    places[group].push((at, axis, (count / groups.groups[group].classes.len()).max(1)));
                }
            }
            parts.push(Part { amount, axes: axes.iter().map(|axis| (axis.len(), axis.len())).collect() });
        }
        places.iter_mut().for_each(|places: &mut Vec<(usize, usize, usize)>| places.sort_unstable());
        let total = parts.iter().map(|part| part.amount).sum();
        Meter { parts, places, total, now: total }
    }

    /// All of it, before anything goes.
    pub(super) fn whole(&self) -> f64 {
        self.total
    }

    /// What is left, as a share.
    pub(super) fn share(&self) -> f64 {
        if self.total == 0.0 { 1.0 } else { self.now / self.total }
    }

    /// How much less it would be without `count` more classes of a group, or more with some back.
    pub(super) fn gain(&self, group: usize, count: isize) -> f64 {
        let mut gain = 0.0;
        let mut places = self.places[group].iter().peekable();
        while let Some(&(at, axis, slices)) = places.next() {
            let part = &self.parts[at];
            let mut axes = part.axes.clone();
            axes[axis].0 = less(axes[axis].0, count, slices);
            while let Some(&&(same, axis, slices)) = places.peek() {
                if same != at {
                    break;
                }
                axes[axis].0 = less(axes[axis].0, count, slices);
                places.next();
            }
            gain += part.left() - Part { amount: part.amount, axes }.left();
        }
        gain
    }

    /// Leave out `count` more classes of a group, or put some back.
    pub(super) fn remove(&mut self, group: usize, count: isize) {
        self.now -= self.gain(group, count);
        for &(at, axis, slices) in &self.places[group] {
            let kept = &mut self.parts[at].axes[axis].0;
            *kept = less(*kept, count, slices);
        }
    }
}

/// What is left of an axis without `count` more classes of so many indices.
fn less(kept: usize, count: isize, slices: usize) -> usize {
    kept.saturating_add_signed(-count.saturating_mul(slices.cast_signed()))
}
