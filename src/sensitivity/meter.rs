//! What each precision of each layer does to the model's outputs, with all other layers as they were.
//!
//! The model goes through the engine once, piece by piece. Before a layer runs, all candidates for it run on what it
//! reads: one small model with a copy of the layer for each. What a candidate gives that differs takes the place of the
//! layer's result, and what is behind the layer runs once more, with the candidates one after another as more samples;
//! what does not depend on the layer is not run again. A candidate whose result is the same is not worth that: it loses
//! nothing. Nor is one whose result is much closer than that of another which is close itself and rounds the same, weights
//! alone or what they are multiplied with, too: what is that small goes through the rest of the model as if that were
//! linear, so it loses as much less as it is closer. However little that is, it counts: a bound may be tighter than what
//! halves of all layers lose together.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::PoisonError;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use crate::exec::{Cannot, Executor, Stepper};
use crate::ir::{NodeId, Tensor, User, ValueId};
use crate::model::Model;
use crate::quality::loss::{Heads, mean, noises};
use crate::sensitivity::Measure;
use crate::sensitivity::Precision;
use crate::sensitivity::dress::{copy, dress, half_of, rounded_weight};
use crate::sensitivity::ground::Ground;
use crate::sensitivity::layer::Layer;

/// What a precision does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// What outputs lose. Infinite where they are no numbers any more, and no number in JSON then.
    #[serde(with = "finite")]
    pub loss: f64,
    /// Power of the error of the layer's own result over the power of the result.
    #[serde(with = "finite")]
    pub local: f64,
    /// The same of its weights.
    #[serde(with = "finite")]
    pub weights: f64,
    /// The result was so close that nothing behind it was run: it loses nothing, or as much less than another of the
    /// layer as it is closer. Of a measure that looks at no outputs, always.
    pub skipped: bool,
}

/// Numbers that JSON has no way to say are null.
mod finite {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        number.is_finite().then_some(*number).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(from)?.unwrap_or(f64::INFINITY))
    }
}

/// Effects of a layer by precision.
pub(crate) type Effects = BTreeMap<Precision, Effect>;

/// What measuring took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Effort {
    /// Runs of the whole model on one sample that as much was computed as, by multiply-accumulates.
    pub forwards: f64,
    /// Candidates that nothing behind was run for.
    pub skipped: usize,
}

/// Results that are this close go through what is behind as if that were linear.
const LINEAR: f64 = 1e-3;

/// The loss of what is so many times closer than another is told by that of the other.
const CLOSER: f64 = 16.0;

/// Measures precisions of layers.
pub(crate) struct Meter<'a> {
    pub engine: &'a dyn Executor,
    pub ground: &'a Ground,
    pub layers: &'a [Layer],
    /// How many of the samples to try things on are run.
    pub samples: usize,
    pub measure: Measure,
    pub heads: &'a Heads,
}

impl Meter<'_> {
    /// The effects of these candidates for each layer; `known` ones are not measured again. `done` hears of each layer
    /// as soon as it is measured, and of how many there are.
    ///
    /// # Errors
    /// When the engine cannot run the model as it is.
    pub(crate) fn measure(
        &self,
        candidates: &[Vec<Precision>],
        known: &[Effects],
        done: &(dyn Fn(usize, &Effects) + Sync),
    ) -> Result<(Vec<Effects>, Effort), Cannot> {
        let model = &self.ground.model;
        let mut found: Vec<Effects> = known.to_vec();
        found.resize(self.layers.len(), Effects::new());
        let lacking = |layer: usize| -> Vec<Precision> {
            let is_new = |precision: &Precision| !known.get(layer).is_some_and(|known| known.contains_key(precision));
            candidates[layer].iter().copied().filter(|p| *p != Precision::Fp32 && is_new(p)).collect()
        };
        let open: Vec<(usize, Vec<Precision>)> =
            (0..self.layers.len()).map(|layer| (layer, lacking(layer))).filter(|(_, c)| !c.is_empty()).collect();
        let mut effort = Effort::default();
        if open.is_empty() {
            return Ok((found, effort));
        }
        if self.measure == Measure::Weights {
            for (layer, candidates) in open {
                for precision in candidates {
                    let weights = self.weight_error(&self.layers[layer], precision);
                    let effect = Effect { loss: weights, local: weights, weights, skipped: true };
                    found[layer].insert(precision, effect);
                }
                done(layer, &found[layer]);
            }
            return Ok((found, effort));
        }
        let samples = &self.ground.probe.tried[..self.samples.min(self.ground.probe.tried.len())];
        let mut clean = Stepper::new(model, samples, self.engine)?;
        let reference = {
            let mut whole = clean.clone();
            whole.reach(model, &self.heads.values())?;
            self.shown(&whole)
        };
        effort.forwards += 2.0 * samples.len() as f64;
        let shares = Shares::of(self);
        let at_once = rayon::current_num_threads().max(1);
        for chunk in open.chunks(at_once) {
            let mut tasks = Vec::with_capacity(chunk.len());
            for (layer, candidates) in chunk {
                clean.advance_to(model, self.layers[*layer].node)?;
                tasks.push((*layer, candidates, clean.clone()));
            }
            let effort_of = Mutex::new(Effort::default());
            let run = |(layer, candidates, at): (usize, &Vec<Precision>, Stepper<'_>)| {
                let (effects, followed) = self.layer(layer, candidates, &at, &reference);
                let mut effort = effort_of.lock().unwrap_or_else(PoisonError::into_inner);
                effort.skipped += effects.values().filter(|effect| effect.skipped).count();
                effort.forwards += samples.len() as f64
                    * (shares.behind[layer] * followed as f64 + shares.own[layer] * (candidates.len() + 1) as f64);
                (layer, effects)
            };
            let measured: Vec<(usize, Effects)> = tasks.into_par_iter().map(run).collect();
            let more = effort_of.into_inner().unwrap_or_else(PoisonError::into_inner);
            effort.forwards += more.forwards;
            effort.skipped += more.skipped;
            for (layer, effects) in measured {
                found[layer].extend(effects);
                done(layer, &found[layer]);
            }
        }
        Ok((found, effort))
    }

    /// The tensors that are compared.
    fn shown(&self, stepper: &Stepper<'_>) -> Vec<Vec<Tensor>> {
        self.heads.values().into_iter().map(|v| stepper.of(v).map(<[Tensor]>::to_vec).unwrap_or_default()).collect()
    }

    /// The effects of candidates for one layer, before which `clean` stands; and how many were followed to the outputs.
    /// A candidate that the engine cannot run has none.
    fn layer(
        &self,
        layer: usize,
        candidates: &[Precision],
        clean: &Stepper<'_>,
        reference: &[Vec<Tensor>],
    ) -> (Effects, usize) {
        let of = &self.layers[layer];
        let own = &self.ground.model;
        let mut model = own.clone();
        let is_layer = |node: NodeId| self.layers.iter().any(|layer| layer.node == node);
        let results: Vec<(usize, ValueId)> =
            own.graph.results(of.node).iter().enumerate().filter_map(|(slot, v)| Some((slot, (*v)?))).collect();
        let mut dressed: Vec<(Precision, Vec<ValueId>)> = Vec::new();
        for &precision in candidates {
            let node = copy(&mut model.graph, of.node);
            let Some(values) = dress(&mut model.graph, node, of, precision, self.ground, &is_layer) else { continue };
            let values: Option<Vec<ValueId>> = results.iter().map(|(slot, _)| *values.get(*slot)?).collect();
            dressed.extend(values.map(|values| (precision, values)));
        }
        let mut found = Effects::new();
        // All in one go where the engine runs all, one by one where it does not run one of them.
        let together: Vec<&[(Precision, Vec<ValueId>)]> = vec![&dressed];
        let mut ran = self.run_copies(&model, &results, &together, clean);
        if ran.is_empty() && dressed.len() > 1 {
            let each: Vec<&[(Precision, Vec<ValueId>)]> = dressed.iter().map(std::slice::from_ref).collect();
            ran = self.run_copies(&model, &results, &each, clean);
        }
        let mut followed: Vec<(Precision, f64, Vec<Vec<Tensor>>)> = Vec::new();
        let mut told: Vec<(Precision, f64, Precision, f64)> = Vec::new();
        let mut ran: Vec<_> = ran.into_iter().map(|(p, want, got)| (p, mean_noise(&want, &got), got)).collect();
        ran.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (precision, local, got) in ran {
            let weights = self.weight_error(of, precision);
            // An error of weights is the same wherever they are used, and means of many places do not level it as they
            // level what is rounded there: each kind is told by its own.
            let is_alike = |other: Precision| other.is_of_weights() == precision.is_of_weights();
            let tells = |(which, its, _): &&(Precision, f64, Vec<Vec<Tensor>>)| {
                is_alike(*which) && *its <= LINEAR && local * CLOSER <= *its
            };
            let other = followed.iter().rfind(tells);
            if local == 0.0 || self.measure == Measure::Local {
                found.insert(precision, Effect { loss: local, local, weights, skipped: true });
            } else if let Some((other, its, _)) = other {
                told.push((precision, local, *other, local / its));
            } else {
                followed.push((precision, local, got));
            }
        }
        let count = followed.len();
        if count == 0 {
            return (found, 0);
        }
        let values = results
            .iter()
            .enumerate()
            .map(|(index, &(_, value))| (value, followed.iter().flat_map(|(_, _, got)| got[index].clone()).collect()));
        let mut behind = clean.branched(&[of.node], values.collect());
        let reached = behind.reach(own, &self.heads.values());
        let samples = clean.samples();
        let shown = self.shown(&behind);
        for (way, (precision, local, _)) in followed.into_iter().enumerate() {
            let loss = match reached {
                Ok(()) => {
                    let want: Vec<&[Tensor]> = reference.iter().map(Vec::as_slice).collect();
                    let part =
                        |tensors: &Vec<Tensor>| tensors.get(way * samples..(way + 1) * samples).map(<[_]>::to_vec);
                    let got: Vec<Vec<Tensor>> = shown.iter().map(|tensors| part(tensors).unwrap_or_default()).collect();
                    let got: Vec<&[Tensor]> = got.iter().map(Vec::as_slice).collect();
                    mean(&self.heads.losses(&want, &got))
                }
                // What cannot be run says nothing good.
                Err(_) => f64::INFINITY,
            };
            let weights = self.weight_error(of, precision);
            found.insert(precision, Effect { loss, local, weights, skipped: false });
        }
        for (precision, local, other, share) in told {
            let loss = found.get(&other).map_or(f64::INFINITY, |effect| share * effect.loss);
            let weights = self.weight_error(of, precision);
            found.insert(precision, Effect { loss, local, weights, skipped: true });
        }
        (found, count)
    }

    /// The results of the layer as it is and in each of these precisions; nothing of a group that does not run.
    fn run_copies(
        &self,
        model: &Model,
        results: &[(usize, ValueId)],
        groups: &[&[(Precision, Vec<ValueId>)]],
        clean: &Stepper<'_>,
    ) -> Vec<(Precision, Vec<Vec<Tensor>>, Vec<Vec<Tensor>>)> {
        let own: Vec<ValueId> = results.iter().map(|(_, value)| *value).collect();
        let mut found = Vec::new();
        for group in groups {
            let mut here = clean.clone();
            let asked: Vec<ValueId> = own.iter().chain(group.iter().flat_map(|(_, values)| values)).copied().collect();
            if group.is_empty() || here.reach(model, &asked).is_err() {
                continue;
            }
            let tensors = |values: &[ValueId]| -> Option<Vec<Vec<Tensor>>> {
                values.iter().map(|&v| here.of(v).map(<[Tensor]>::to_vec)).collect()
            };
            let Some(want) = tensors(&own) else { continue };
            found.extend(group.iter().filter_map(|(p, values)| Some((*p, want.clone(), tensors(values)?))));
        }
        found
    }

    /// Power of the error of a layer's weights over their power.
    fn weight_error(&self, layer: &Layer, precision: Precision) -> f64 {
        let graph = &self.ground.model.graph;
        let (mut signal, mut noise) = (0.0, 0.0);
        for &weight in &layer.weights {
            let Some(tensor) = graph.operand(layer.node, weight.slot).and_then(|v| graph.constant(v)) else { continue };
            let narrow = match precision {
                Precision::Fp32 => continue,
                Precision::Fp16Weights | Precision::Fp16 | Precision::Bf16 => {
                    let halves = self.ground.halves.get(&precision);
                    halves.and_then(|halves| half_of(tensor, &halves.fit, crate::precision::Role::Number))
                }
                Precision::Int8 => rounded_weight(tensor, weight),
                _ => self.ground.packed.weight(graph, layer.node, precision).map(|(_, tensor)| tensor),
            };
            let (Some(x), Some(y)) = (tensor.reals(), narrow.and_then(|narrow| narrow.reals())) else { continue };
            signal += x.iter().map(|x| x * x).sum::<f64>();
            noise += x.iter().zip(&y).map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
        }
        if noise == 0.0 { 0.0 } else { noise / signal }
    }
}

/// The noise of all results together.
fn mean_noise(want: &[Vec<Tensor>], got: &[Vec<Tensor>]) -> f64 {
    want.iter().zip(got).map(|(want, got)| mean(&noises(want, got))).sum()
}

/// Shares of a run's multiply-accumulates, by layer.
struct Shares {
    /// The layer's own.
    own: Vec<f64>,
    /// Those of the layers behind it.
    behind: Vec<f64>,
}

impl Shares {
    fn of(meter: &Meter<'_>) -> Shares {
        let graph = &meter.ground.model.graph;
        let index: FxHashMap<NodeId, usize> =
            meter.layers.iter().enumerate().map(|(index, layer)| (layer.node, index)).collect();
        let all: f64 = meter.layers.iter().map(|layer| layer.macs as f64).sum::<f64>().max(1.0);
        let behind = |layer: &Layer| {
            let mut seen: FxHashSet<NodeId> = FxHashSet::default();
            let mut open = vec![layer.node];
            let mut macs = 0.0;
            while let Some(node) = open.pop() {
                let users = graph.results(node).iter().flatten().flat_map(|&v| graph.value(v).users());
                for user in users {
                    if let User::Node(reader, _) = *user
                        && seen.insert(reader)
                    {
                        macs += index.get(&reader).map_or(0.0, |&layer| meter.layers[layer].macs as f64);
                        open.push(reader);
                    }
                }
            }
            macs / all
        };
        Shares {
            own: meter.layers.iter().map(|layer| layer.macs as f64 / all).collect(),
            behind: meter.layers.iter().map(behind).collect(),
        }
    }
}
