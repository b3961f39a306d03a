//! What a group's classes cost the outputs, measured.
//!
//! How much a layer's result loses does not say how much the outputs do: that depends on what comes behind it. So a part
//! of each group is taken out of the dense model for trial, which takes no surgery: the layers that sum over the group
//! get zeros where they read it, and for the rest the weights that make up for that best. The model is then run from
//! there to its end on a few samples.

use std::ops::Deref;

use ndarray::{Array1, Array2, Axis};
use rustc_hash::FxHashMap;

use crate::exec::stepper::held_bytes;
use crate::exec::{Cannot, Executor, Stepper};
use crate::gram::linalg::product;
use crate::gram::{Cholesky, Layer, order};
use crate::ir::{NodeId, ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::prune::Groups;
use crate::prune::importance::Ranking;

/// What the outputs lose without some classes of one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trial {
    /// How many classes, the first in order.
    pub removed: usize,
    /// The energy of the outputs' errors, as a part of the outputs' own.
    pub loss: f64,
}

/// A layer that reads the group.
pub(super) struct Reading<'a> {
    pub layer: &'a Layer,
    pub sink: &'a order::Sink,
    /// The means of what it reads.
    pub mean: &'a Array1<f64>,
}

/// Shares of a group that are taken out for trial.
const SHARES: [f64; 3] = [0.25, 0.5, 0.7];

/// With more groups than this, fewer shares are tried.
const MANY_GROUPS: usize = 48;

/// Multiply-accumulates that all trials together take, about.
const WORK: f64 = 1e12;

/// Samples that trials are made on, at the least and at the most.
const SAMPLES: (usize, usize) = (4, 64);

/// Bytes that the tensors of those may take.
const BYTES: u128 = 1 << 29;

/// Trials on their way along the dense model.
pub(super) struct Trials<'e> {
    stepper: Stepper<'e>,
    /// Where the trials of a group begin.
    begun: FxHashMap<usize, Stepper<'e>>,
    ends: Vec<ValueId>,
    /// What the dense model makes.
    want: Vec<Vec<Tensor>>,
    shares: &'static [f64],
    /// Of each group, the fewest classes first.
    made: FxHashMap<usize, Vec<Trial>>,
}

impl<'e> Trials<'e> {
    pub(super) fn new<S: Deref<Target = [(String, Tensor)]>>(
        dense: &Model,
        groups: &Groups,
        samples: &[S],
        engine: &'e dyn Executor,
    ) -> Result<Trials<'e>, Cannot> {
        let count = groups.groups.len().max(1);
        let shares = if count > MANY_GROUPS { &SHARES[1..2] } else { &SHARES[..] };
        let each = (count * shares.len()) as f64 * 0.5 * groups.total();
        let room = samples.first().map_or(0, |first| BYTES / held_bytes(dense, first).max(1));
        let room = usize::try_from(room).unwrap_or(usize::MAX).max(1);
        let most = ((WORK / each.max(1.0)) as usize).clamp(SAMPLES.0, SAMPLES.1).min(samples.len()).min(room);
        let picked: Vec<&[(String, Tensor)]> = (0..most).map(|i| &*samples[i * samples.len() / most]).collect();
        let stepper = Stepper::new(dense, &picked, engine)?;
        let ends: Vec<ValueId> =
            dense.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value).collect();
        let want = reached(stepper.clone(), dense, &ends)?;
        Ok(Trials { stepper, begun: FxHashMap::default(), ends, want, shares, made: FxHashMap::default() })
    }

    /// Come to a layer that sums over these groups.
    pub(super) fn meet(
        &mut self,
        dense: &Model,
        node: NodeId,
        groups: impl Iterator<Item = usize>,
    ) -> Result<(), Cannot> {
        self.stepper.advance_to(dense, node)?;
        for group in groups {
            self.begun.entry(group).or_insert_with(|| self.stepper.clone());
        }
        Ok(())
    }

    /// Make the trials of a group of which all layers that sum over it are known. `order` says which of its classes go.
    pub(super) fn make(
        &mut self,
        dense: &Model,
        group: usize,
        readings: &[Reading<'_>],
        order: &[usize],
        damping: f64,
    ) -> Result<(), Cannot> {
        let Some(begun) = self.begun.remove(&group) else { return Ok(()) };
        let mut trials: Vec<Trial> = Vec::with_capacity(self.shares.len());
        for share in self.shares {
            let removed = ((order.len() + 1) as f64 * share).round() as usize;
            let is_new = trials.last().is_none_or(|last| last.removed < removed);
            if removed == 0 || removed > order.len() || !is_new {
                continue;
            }
            let mut model = dense.clone();
            for reading in readings {
                if reading.without(&mut model, &order[..removed], damping).is_none() {
                    return Ok(());
                }
            }
            let got = reached(begun.clone(), &model, &self.ends)?;
            let Some(loss) = lost(&self.want, &got) else { return Ok(()) };
            trials.push(Trial { removed, loss });
        }
        self.made.insert(group, trials);
        Ok(())
    }

    /// The trials of each group that some were made of.
    pub(super) fn made(self) -> FxHashMap<usize, Vec<Trial>> {
        self.made
    }
}

/// Make costs those that trials found, and in between what the layers lose, in proportion. Of groups without trials the
/// costs change by what is usual.
pub(super) fn rescaled(rankings: &mut [Option<Ranking>], trials: FxHashMap<usize, Vec<Trial>>) {
    let mut usual = Vec::new();
    let mut factors: Vec<Vec<(usize, f64)>> = vec![Vec::new(); rankings.len()];
    for (group, trials) in trials {
        let Some(Some(ranking)) = rankings.get(group) else { continue };
        for trial in trials {
            let local: f64 = ranking.costs.iter().take(trial.removed).sum();
            let factor = trial.loss / local;
            if factor.is_finite() && factor > 0.0 {
                factors[group].push((trial.removed, factor));
                usual.push(factor);
            }
        }
    }
    usual.sort_by(f64::total_cmp);
    let Some(&usual) = usual.get(usual.len() / 2) else { return };
    for (ranking, factors) in rankings.iter_mut().zip(factors) {
        let Some(ranking) = ranking else { continue };
        let (mut local, mut before) = (0.0, 0.0f64);
        for (removed, cost) in ranking.costs.iter_mut().enumerate() {
            local += *cost;
            let loss = local * if factors.is_empty() { usual } else { between(&factors, removed + 1) };
            *cost = (loss - before).max(0.0);
            before = before.max(loss);
        }
    }
}

/// The factor for so many classes: in equal ratios from one that is known to the next.
fn between(factors: &[(usize, f64)], removed: usize) -> f64 {
    let next = factors.partition_point(|&(known, _)| known < removed);
    match (next.checked_sub(1).map(|last| factors[last]), factors.get(next)) {
        (Some((from, low)), Some(&(to, high))) => {
            low * (high / low).powf((removed - from) as f64 / (to - from).max(1) as f64)
        }
        (Some((_, factor)), None) | (None, Some(&(_, factor))) => factor,
        (None, None) => 1.0,
    }
}

/// The tensors of each of some values.
fn reached(mut stepper: Stepper<'_>, model: &Model, values: &[ValueId]) -> Result<Vec<Vec<Tensor>>, Cannot> {
    stepper.reach(model, values)?;
    Ok(values.iter().map(|&value| stepper.of(value).unwrap_or_default().to_vec()).collect())
}

impl Reading<'_> {
    /// Give the layer, in `model`, the weight that reads none of these classes.
    fn without(&self, model: &mut Model, classes: &[usize], damping: f64) -> Option<()> {
        let (weight, square) = (&*self.sink.weight, &*self.sink.square);
        let mut is_lost = vec![false; weight.ncols()];
        for &column in classes.iter().filter_map(|&class| self.sink.classes.get(class)).flatten() {
            *is_lost.get_mut(column)? = true;
        }
        let (lost, kept): (Vec<usize>, Vec<usize>) = (0..weight.ncols()).partition(|&column| is_lost[column]);
        let mut changed = weight.clone();
        lost.iter().for_each(|&column| changed.column_mut(column).fill(0.0));
        if !kept.is_empty() && !lost.is_empty() {
            let among = square.select(Axis(0), &kept).select(Axis(1), &kept);
            let mut parts = square.select(Axis(0), &lost).select(Axis(1), &kept);
            Cholesky::damped(&among, damping)?.solve(parts.view_mut());
            let mut taken = Array2::zeros((weight.nrows(), kept.len()));
            product(1.0, weight.select(Axis(1), &lost).view(), parts.view(), 0.0, taken.view_mut());
            for (&column, taken) in kept.iter().zip(taken.columns()) {
                changed.column_mut(column).scaled_add(1.0, &taken);
            }
        }
        let shift = (weight - &changed).dot(self.mean);
        let biases: Vec<f64> = self.layer.biases(&model.graph).iter().zip(&shift).map(|(b, s)| b + s).collect();
        self.layer.put(&mut model.graph, changed.mapv(|w| w as f32).view(), Some(&biases))
    }
}

/// The error's part in the energy of each output about its mean over the samples, on average. `None` where no output
/// holds floats, and where energies are not finite.
fn lost(want: &[Vec<Tensor>], got: &[Vec<Tensor>]) -> Option<f64> {
    let mut parts = Vec::new();
    for (want, got) in want.iter().zip(got) {
        if !want.first().is_some_and(|first| first.dtype().is_float()) {
            continue;
        }
        let reals = |tensors: &[Tensor]| tensors.iter().map(Tensor::reals).collect::<Option<Vec<Vec<f64>>>>();
        let (want, got) = (reals(want)?, reals(got)?);
        let is_common = want.iter().all(|x| x.len() == want[0].len());
        let mean: Vec<f64> = match is_common && want.len() > 1 {
            true => (0..want[0].len()).map(|i| want.iter().map(|x| x[i]).sum::<f64>() / want.len() as f64).collect(),
            false => Vec::new(),
        };
        let (mut energy, mut off) = (0.0, 0.0);
        for (want, got) in want.iter().zip(&got) {
            for (i, (x, y)) in want.iter().zip(got).enumerate() {
                energy += (x - mean.get(i).unwrap_or(&0.0)).powi(2);
                off += (x - y).powi(2);
            }
        }
        if energy > 0.0 {
            parts.push(off / energy);
        }
    }
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    (!parts.is_empty() && mean.is_finite()).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_of_trials_and_in_proportion_between() {
        let ranking = |costs: &[f64]| Some((0..costs.len() as u32).zip(costs.iter().copied()).collect::<Ranking>());
        let mut rankings = vec![ranking(&[1.0, 1.0, 2.0, 4.0]), ranking(&[1.0, 3.0]), None];
        let trial = |removed, loss| Trial { removed, loss };
        rescaled(
            &mut rankings,
            [(0, vec![trial(1, 0.5), trial(3, 8.0)]), (2, vec![trial(1, 1.0)])].into_iter().collect(),
        );
        let costs = |i: usize| rankings[i].as_ref().unwrap().costs.clone();
        let sums: Vec<f64> = costs(0)
            .iter()
            .scan(0.0, |sum, cost| {
                *sum += cost;
                Some(*sum)
            })
            .collect();
        let want = [0.5, 2.0, 8.0, 16.0];
        assert!(sums.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9), "{sums:?}");
        // The other group is measured by the usual factor.
        assert_eq!(costs(1), [2.0, 6.0]);
        let mut rankings = vec![ranking(&[0.0, 1.0])];
        rescaled(&mut rankings, [(0, vec![trial(1, 0.5)])].into_iter().collect());
        assert_eq!(rankings, [ranking(&[0.0, 1.0])], "a factor that is no number says nothing");
    }

    #[test]
    fn losses_are_parts_of_what_outputs_vary_by() {
        let tensor = |x: &[f32]| Tensor::f32s(&[x.len()], x).unwrap();
        let want = vec![vec![tensor(&[1.0, 10.0]), tensor(&[3.0, 10.0])], vec![Tensor::vector(&[1])]];
        let got = vec![vec![tensor(&[1.0, 10.0]), tensor(&[3.0, 11.0])], vec![Tensor::vector(&[9])]];
        assert_eq!(lost(&want, &got), Some(0.5));
        assert_eq!(lost(&want[1..], &got[1..]), None);
        assert_eq!(lost(&want[..1], &[vec![tensor(&[1.0, f32::NAN]), tensor(&[3.0, 10.0])]]), None);
    }
}
