//! One layer repaired where both models have come to.

use rustc_hash::FxHashSet;

use crate::exec::{Cannot, Stepper};
use crate::gram::layer::WEIGHT;
use crate::gram::{Layer, Patches};
use crate::ir::{Graph, NodeId, Tensor, ValueId};
use crate::model::Model;
use crate::prune::Cut;
use crate::prune::recover::Recovery;
use crate::prune::recover::fit::Fit;
use crate::prune::recover::merge::merged;
use crate::prune::recover::outcome::How;
use crate::prune::recover::target::Target;
use crate::prune::recover::task::Task;

/// Both models on their way.
pub(super) struct Run<'a> {
    pub(super) cut: &'a Cut,
    pub(super) recovery: &'a Recovery,
    /// Samples that weights are made from; the others are held out.
    pub(super) fitted: usize,
    pub(super) dense: Stepper<'a>,
    pub(super) pruned: Stepper<'a>,
    /// Layers that are not repaired yet.
    pub(super) waiting: FxHashSet<NodeId>,
}

impl Run<'_> {
    /// Repair one layer; what its result is off before and then.
    pub(super) fn repair(
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
        let weight = graph.operand(of_pruned.node, WEIGHT).and_then(|w| graph.constant(w));
        if weight.is_some_and(Tensor::is_repeated) {
            return Ok(Err(Tensor::REPEATED));
        }
        let Some(weight) = weight.and_then(|w| of_pruned.matrix(w)) else {
            return Ok(Err("its weight cannot be read"));
        };
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
    fn waits(&self, graph: &Graph, value: ValueId) -> bool {
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
