//! Accuracy given back to a pruned model, without training and without labels.
//!
//! Layer by layer, in the order in which they run, the weights of the pruned model become those that make what the
//! dense model makes of the same samples, from what the layer reads in the pruned model, whose layers before it are
//! repaired already: ridge regression in closed form. Where a layer's result is added to another tensor at once, it is
//! to make up for what that has lost too.
//!
//! A new weight is kept where it is better on samples that it was not made from. Where it is not, each output is
//! brought to its former mean and deviation; where that is not better either, the layer stays as it is.
//!
//! A layer whose weight others read too stays as it is. So does one with a product of matrices of which no sum with a
//! constant follows, as far as its mean goes: its weight alone takes it on.

mod fit;
mod merge;
mod target;

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::exec::stepper::{Stepper, held_bytes};
use crate::exec::{Cannot, Executor};
use crate::gram::layer::WEIGHT;
use crate::gram::{Layer, Patches};
use crate::ir::{Graph, NodeId, ScopeId, Tensor};
use crate::model::Model;
use crate::prune::Cut;
use crate::prune::recover::fit::{Fit, Task};
use crate::prune::recover::merge::merged;
use crate::prune::recover::target::Target;

/// How to repair.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What is added to the diagonal of a layer's second moments, in parts of its mean.
    pub ridge: f64,
    /// Rows of patches that a layer is fitted to at most.
    pub rows: usize,
    /// Bytes that the tensors of all samples may take; with more, fewer samples are used.
    pub bytes: u128,
    /// Which rows are picked.
    pub seed: u64,
}

impl Default for Recovery {
    fn default() -> Recovery {
        Recovery { ridge: 0.1, rows: crate::gram::patches::MOST_ROWS, bytes: 2 << 30, seed: 1 }
    }
}

/// What became of the layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recovered {
    /// Samples that weights were made from.
    pub samples: usize,
    /// Others, that they were measured on.
    pub held_out: usize,
    /// Layers that were looked at, in the order in which they run.
    pub layers: Vec<Repaired>,
    /// Layers that stayed as they are, and why.
    pub skipped: Vec<Skipped>,
}

/// A layer that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repaired {
    /// The layer.
    pub layer: String,
    /// What its result was off on held-out samples, as a part of the energy of what it should be.
    pub before: f64,
    /// What it is off now.
    pub after: f64,
    /// What was done.
    pub how: How,
}

/// What is done to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Nothing: it is right, or nothing made it better.
    Nothing,
    /// The mean and the deviation of each output are what they were.
    Matched,
    /// The weight is the best that there is.
    LeastSquares,
}

/// A layer that stayed as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The layer.
    pub layer: String,
    /// Why.
    pub why: &'static str,
}

/// Repair `pruned`, which is `dense` without what `cut` leaves out: the same nodes and values.
///
/// Weights are made from `samples` and measured on `held_out`; where there are none, the last fifth of the samples is
/// held out. `progress` hears how many layers of how many are done.
///
/// # Errors
/// When the engine cannot run one of the models on the samples.
pub fn recover<S: std::ops::Deref<Target = [(String, Tensor)]>>(
    dense: &Model,
    pruned: &mut Model,
    cut: &Cut,
    samples: (&[S], &[S]),
    engine: &dyn Executor,
    recovery: &Recovery,
    progress: &dyn Fn(usize, usize),
) -> Result<Recovered, Cannot> {
    let (samples, held_out) = share(dense, pruned, samples, recovery);
    let mut recovered = Recovered { samples: samples.len(), held_out: held_out.len(), ..Recovered::default() };
    if samples.is_empty() {
        return Ok(recovered);
    }
    let all: Vec<&[(String, Tensor)]> = samples.iter().chain(&held_out).copied().collect();
    let mut run = Run {
        cut,
        recovery,
        fitted: samples.len(),
        dense: Stepper::new(dense, &all, engine)?,
        pruned: Stepper::new(pruned, &all, engine)?,
        waiting: FxHashSet::default(),
    };
    let mut layers = Vec::new();
    for node in pruned.graph.schedule(ScopeId::MAIN) {
        match pair(&dense.graph, &pruned.graph, node) {
            Ok(Some(pair)) => layers.push(pair),
            Ok(None) => {}
            Err(why) => recovered.skipped.push(Skipped { layer: pruned.graph.label(node), why }),
        }
    }
    run.waiting = layers.iter().map(|(_, layer)| layer.node).collect();
    progress(0, layers.len());
    for (done, (of_dense, of_pruned)) in layers.iter().enumerate() {
        let label = pruned.graph.label(of_pruned.node);
        match run.repair(dense, pruned, of_dense, of_pruned)? {
            Ok((before, after, how)) => recovered.layers.push(Repaired { layer: label, before, after, how }),
            Err(why) => recovered.skipped.push(Skipped { layer: label, why }),
        }
        run.waiting.remove(&of_pruned.node);
        progress(done + 1, layers.len());
    }
    Ok(recovered)
}

/// The layer that `node` is in both models; nothing for what is none.
fn pair(dense: &Graph, pruned: &Graph, node: NodeId) -> Result<Option<(Layer, Layer)>, &'static str> {
    let Ok(of_pruned) = Layer::of(pruned, node) else { return Ok(None) };
    if !dense.has_node(node) {
        return Ok(None);
    }
    let users = pruned.operand(node, WEIGHT).map_or(0, |weight| pruned.value(weight).users().len());
    if users > 1 {
        return Err("others read its weight too");
    }
    let of_dense = Layer::of(dense, node)?;
    Ok(Some((of_dense, of_pruned)))
}

/// As many samples as fit, and the part of them that is held out.
fn share<'s, S: std::ops::Deref<Target = [(String, Tensor)]>>(
    dense: &Model,
    pruned: &Model,
    (samples, held_out): (&'s [S], &'s [S]),
    recovery: &Recovery,
) -> (Vec<&'s [(String, Tensor)]>, Vec<&'s [(String, Tensor)]>) {
    let mut fitted: Vec<&[(String, Tensor)]> = samples.iter().map(|s| &**s).collect();
    let mut held: Vec<&[(String, Tensor)]> = held_out.iter().map(|s| &**s).collect();
    if held.is_empty() {
        held = fitted.split_off(fitted.len() - fitted.len() / 5);
    }
    let Some(first) = fitted.first() else { return (fitted, held) };
    let each = held_bytes(dense, first).saturating_add(held_bytes(pruned, first)).max(1);
    let room = usize::try_from(recovery.bytes / each).unwrap_or(usize::MAX).max(2);
    let all = fitted.len() + held.len();
    if all > room {
        let part = |samples: &mut Vec<_>| {
            let most = (samples.len() * room / all).max(1);
            let thinned: Vec<_> = (0..most.min(samples.len())).map(|i| samples[i * samples.len() / most]).collect();
            *samples = thinned;
        };
        part(&mut fitted);
        part(&mut held);
    }
    (fitted, held)
}

/// Both models on their way.
struct Run<'a> {
    cut: &'a Cut,
    recovery: &'a Recovery,
    /// Samples that weights are made from; the others are held out.
    fitted: usize,
    dense: Stepper<'a>,
    pruned: Stepper<'a>,
    /// Layers that are not repaired yet.
    waiting: FxHashSet<NodeId>,
}

impl Run<'_> {
    /// Repair one layer; what its result is off before and then.
    fn repair(
        &mut self,
        dense: &Model,
        pruned: &mut Model,
        of_dense: &Layer,
        of_pruned: &Layer,
    ) -> Result<Result<(f64, f64, How), &'static str>, Cannot> {
        let target = match Target::of(&dense.graph, &pruned.graph, self.cut, of_dense, of_pruned, |value| {
            self.waits(&pruned.graph, value)
        }) {
            Ok(target) => target,
            Err(why) => return Ok(Err(why)),
        };
        self.pruned.reach(pruned, &target.pruned_values)?;
        self.dense.reach(dense, &target.dense_values)?;
        let Some(read) = self.pruned.of(target.input) else { return Ok(Err("what it reads is not there")) };
        let graph = &pruned.graph;
        let weight = graph.operand(of_pruned.node, WEIGHT).and_then(|w| of_pruned.matrix(graph.constant(w)?));
        let Some(weight) = weight else { return Ok(Err("its weight cannot be read")) };
        let picked = |tensors, rows| Patches::of(of_pruned, tensors, rows, self.recovery.seed);
        let patches =
            picked(&read[..self.fitted], self.recovery.rows).zip(picked(&read[self.fitted..], self.recovery.rows));
        let Some((fitted, held_out)) = patches else { return Ok(Err("what it reads is of other sizes than it says")) };
        let start =
            merged(dense, self.cut, of_dense, of_pruned, &target, &weight, &self.dense, self.fitted, self.recovery);
        let task = |patches, samples: std::ops::Range<usize>| {
            Task::of(patches, of_pruned, &target, &self.dense, &self.pruned, samples)
        };
        let tasks = task(&fitted, 0..self.fitted).zip(task(&held_out, self.fitted..read.len()));
        let Some((fitted, held_out)) = tasks else { return Ok(Err("its result is of other sizes than it says")) };
        let constant = if of_pruned.adds_bias() { of_pruned.biases(graph) } else { vec![0.0; of_pruned.outputs] };
        let fit = Fit { layer: of_pruned, weight: &weight, start: start.as_ref(), constant: &constant };
        let Some(found) = fit.best(&fitted, &held_out, self.recovery.ridge) else {
            return Ok(Err("what it reads is not finite"));
        };
        if let Some(change) = &found.change {
            let biases: Vec<f64> =
                of_pruned.biases(graph).iter().zip(&change.shift).map(|(bias, shift)| bias + shift).collect();
            if of_pruned.put(&mut pruned.graph, change.weight.view(), Some(&biases)).is_none() {
                return Ok(Err("its weight cannot be written"));
            }
        }
        Ok(Ok((found.before, found.after, found.how)))
    }

    /// Whether a layer that is not repaired has to run for `value`.
    fn waits(&self, graph: &Graph, value: crate::ir::ValueId) -> bool {
        let mut seen = FxHashSet::default();
        let mut stack = vec![value];
        while let Some(value) = stack.pop() {
            let Some((node, _)) = graph.producer(value) else { continue };
            if self.pruned.has_run(node) || !seen.insert(node) {
                continue;
            }
            if self.waiting.contains(&node) {
                return true;
            }
            stack.extend(graph.operands(node).flatten());
            if graph.node(node).bodies().next().is_some() {
                stack.extend(graph.captures(node));
            }
        }
        false
    }
}
