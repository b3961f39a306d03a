//! A precision for each layer: the cheapest that keeps a bound on what outputs lose, or the best within a budget.
//!
//! ```text
//! Model ─ sensitivity (what each layer loses in each precision) ─▶ units × choices ─ knapsack ─▶ front
//!   front ─ search (the whole model run at points of it, on samples held out) ─▶ assignment ─ realize ─▶ Model
//! ```
//!
//! Losses of layers are close to additive, so the choice among them is a knapsack problem, and its answer is exact for
//! every budget at once. What they are together is measured, never assumed: see the module `verdict`. Layers
//! that read one tensor side by side, share a weight or share a scale get one precision.

mod budget;
mod lines;
mod realize;
mod search;
mod units;
mod verdict;

use std::collections::BTreeMap;
use std::time::Instant;

use rustc_hash::FxHashMap;
use serde::Serialize;

pub use budget::{Amount, Budget, Cost};

use crate::assign::realize::Realized;
use crate::assign::search::Search;
use crate::assign::units::{Costs, Unit, units};
use crate::assign::verdict::Verifier;
use crate::calibrate::Calibration;
use crate::census;
use crate::choice::ChoiceError;
use crate::exec::Cannot;
use crate::exec::demand::run_of;
use crate::ir::NodeId;
use crate::knapsack::Front;
use crate::lowbit::LowBitError;
use crate::model::Model;
use crate::quality::{Bounds, OutOfBounds, Quality};
use crate::quantize::{Latencies, QuantizeError, Step, latencies};
use crate::selecting::{exactly, matching};
use crate::sensitivity::{Effect, Measured, Precision, Sensitivity, SensitivityError};

/// Says how layers get their precision; [`Assigner::run`] does it.
#[derive(Clone)]
pub struct Assigner {
    /// How layers are measured, and in what they may compute.
    pub sensitivity: Sensitivity,
    /// How good the result has to be.
    pub bounds: Bounds,
    /// What it may cost.
    pub budget: Option<Budget>,
    /// What is made least where a bound is to be kept.
    pub minimize: Cost,
    /// What layers compute in whose names match, the last that matches counting; others stay float32, and nothing is
    /// searched. Empty where it is to be found out.
    pub given: Vec<(String, Precision)>,
    /// Whether the report has the whole front.
    pub lists_front: bool,
}

/// Why layers get no precision.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// Layers are not measured.
    #[error(transparent)]
    Sensitivity(#[from] SensitivityError),
    /// The model does not get integers.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// Weights do not get few bits.
    #[error(transparent)]
    LowBit(#[from] LowBitError),
    /// A model does not run.
    #[error(transparent)]
    Run(#[from] Cannot),
    /// A pattern matches nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The result is not as good as it has to be.
    #[error(transparent)]
    Bounds(OutOfBounds),
    /// Nothing says how far to go.
    #[error("how far to go is not said: a bound (--min-sqnr DB, --max-drop PERCENT) or a budget (--budget bytes=50%)")]
    NoGoal,
    /// Nothing costs so little.
    #[error("the budget of {most} is less than the least that there is: {least}")]
    TooLittle {
        /// What was asked for.
        most: String,
        /// What there is.
        least: String,
    },
    /// Nothing is known of the target's times.
    #[error("nothing is known of how long {target} takes: minimize bytes or bitops")]
    NoLatency {
        /// The target.
        target: String,
    },
    /// What a pattern matches multiplies nothing.
    #[error("nothing that \"{pattern}\" matches is a layer: what multiplies by weights or two computed tensors")]
    NoLayer {
        /// The pattern.
        pattern: String,
    },
    /// A layer cannot have what it was to have.
    #[error("\"{layer}\" cannot be {precision}: {why}")]
    Refused {
        /// The layer.
        layer: String,
        /// What it was to compute in.
        precision: Precision,
        /// Why not.
        why: String,
    },
}

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assigned {
    /// The node's name, or its first result's.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// What it computes in.
    pub precision: Precision,
    /// What it was measured to lose by that.
    pub loss: f64,
    /// Why it is not narrower, or why it is what it is.
    pub why: String,
    /// What each precision does.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub effects: BTreeMap<Precision, Effect>,
}

/// One precision for all layers that can have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Uniform {
    /// The precision.
    pub precision: Precision,
    /// Layers that have it; others stay float32.
    pub layers: usize,
    /// What it costs.
    pub costs: Costed,
    /// What outputs lose, as measured.
    pub loss: f64,
    /// The share of samples with another class, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<f64>,
    /// Signal over noise of the worst output, in dB.
    pub sqnr: Option<f64>,
    /// Whether it keeps the bounds, with the same room as the assignment.
    pub meets: bool,
}

/// What an assignment costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Costed {
    /// Bytes of constants.
    pub bytes: u64,
    /// Multiply-accumulates, each times the bits of both factors.
    pub bitops: u64,
    /// Mean bits of an element of a weight.
    pub bits: f64,
    /// Nanoseconds of a run, as far as they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nanoseconds: Option<f64>,
}

/// A point of the front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// What is counted, in its unit.
    pub cost: u64,
    /// What outputs would lose, as the sum of layers' losses.
    pub predicted: f64,
    /// What they lose, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    /// By exact name of layer: what it computes in. Those that are not named stay float32.
    pub layers: BTreeMap<String, Precision>,
}

/// What became of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What a loss is: `kl`, `nmse` or both.
    pub measure: &'static str,
    /// What was made least, or had a budget.
    pub cost: Cost,
    /// Every layer, in the order of the model.
    pub layers: Vec<Assigned>,
    /// What the model costs in float32.
    pub float: Costed,
    /// What it costs now.
    pub costs: Costed,
    /// What outputs were to lose, as the sum of layers' losses.
    pub predicted: f64,
    /// What they lose, as measured on samples held out.
    pub loss: f64,
    /// Signal over noise of the worst output in dB: the least that is likely on other samples.
    pub sqnr: Option<f64>,
    /// The share of samples with another class in percent: the largest that is likely on other samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<f64>,
    /// How far outputs are from those of the float model, as counted.
    pub outputs: Vec<Quality>,
    /// What one precision for all would be.
    pub uniform: Vec<Uniform>,
    /// What corrections brought.
    pub corrections: Vec<Step>,
    /// Samples that result and float model were both run on.
    pub held_out: usize,
    /// Samples were made up: what was measured is not real.
    pub made_up: bool,
    /// Runs on one sample that it all took, of whole models or as much.
    pub forwards: f64,
    /// Whole models that were run on samples held out, or on some of these.
    pub verdicts: usize,
    /// Seconds of one pass over the samples that statistics are gathered of, and of everything.
    pub pass_seconds: f64,
    /// Seconds of everything.
    pub seconds: f64,
    /// Points of the front, the cheapest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub front: Vec<Point>,
    /// What there is to say of the samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Samples that decide while a search goes on; what it ends with is verified on all that are held out.
const SEARCHED: usize = 48;

/// Points of the front that are listed at the most, evenly from all.
const LISTED: usize = 200;

impl Assigner {
    /// Give the layers of `model`, of which shapes have been inferred, their precision. `tell` hears how many runs on
    /// samples of how many are done.
    ///
    /// # Errors
    /// When samples cannot be read, the model cannot be run, it has no layers, or nothing keeps the bounds or the budget.
    pub fn run(&self, model: &mut Model, tell: &dyn Fn(u64, u64)) -> Result<Summary, AssignError> {
        Ok(self.rehearsed(model, tell)?.0)
    }

    /// As [`Assigner::run`]; also gives a model that computes what the result does and that any engine runs.
    ///
    /// # Errors
    /// As [`Assigner::run`].
    pub fn rehearsed(&self, model: &mut Model, tell: &dyn Fn(u64, u64)) -> Result<(Summary, Model), AssignError> {
        let start = Instant::now();
        if self.given.is_empty() && self.budget.is_none() && self.bounds == Bounds::default() {
            return Err(AssignError::NoGoal);
        }
        let measured = self.sensitivity.measured(model, tell, self.given.is_empty())?;
        let ground = &measured.ground;
        let cost = self.budget.map_or(self.minimize, |budget| budget.cost);
        let latency = self.latency(&measured);
        if cost == Cost::Latency && latency.is_none() {
            return Err(AssignError::NoLatency { target: self.sensitivity.policy.name.clone() });
        }
        let costs = Costs::of(&measured, latency);
        let units = units(&measured);
        let samples = match ground.probe.held_out.is_empty() {
            true => &ground.probe.tried,
            false => &ground.probe.held_out,
        };
        let verifier = Verifier::new(&ground.float, samples, &*self.sensitivity.engine, &measured.heads)?;
        let few = Verifier::new(
            &ground.float,
            &samples[..samples.len().min(SEARCHED)],
            &*self.sensitivity.engine,
            &measured.heads,
        )?;
        let mut search = Search {
            assigner: self,
            measured: &measured,
            units: &units,
            costs: &costs,
            cost,
            verifier: &verifier,
            few: &few,
            judged: BTreeMap::new(),
            verdicts: 1,
            judged_runs: samples.len() + few.samples(),
        };
        let (realized, verdict, picks, front, uniform) = match self.given.is_empty() {
            false => {
                let realized = self.realize(&measured, &self.explicit(&measured)?, true)?;
                let verdict = verifier.judge(&realized.rehearsal)?;
                search.verdicts += 1;
                search.judged_runs += verifier.samples();
                self.bounds.check(&verdict.outputs).map_err(AssignError::Bounds)?;
                (realized, verdict, Vec::new(), None, Vec::new())
            }
            true => {
                let front = search.front();
                let uniform = self.uniform(&mut search)?;
                let mut picks = match self.budget {
                    Some(budget) => self.within(&search, &front, budget)?,
                    None => search.within_bounds(&front, &self.bounds)?,
                };
                let cheapest = uniform.iter().filter(|(_, u)| u.meets && self.budget.is_none());
                let price = |search: &Search<'_>, picks: &[usize]| costs.all(&search.precisions(picks), cost);
                if let Some((plain, _)) = cheapest.min_by_key(|(plain, _)| price(&search, plain))
                    && price(&search, plain) < price(&search, &picks)
                {
                    picks.clone_from(plain);
                }
                let (realized, verdict, picks) = match self.budget {
                    None => search.kept(picks, &self.bounds)?,
                    Some(_) => {
                        let realized = self.realize(&measured, &search.precisions(&picks), true)?;
                        let verdict = verifier.judge(&realized.rehearsal)?;
                        search.verdicts += 1;
                        search.judged_runs += verifier.samples();
                        self.bounds.check(&verdict.outputs).map_err(AssignError::Bounds)?;
                        (realized, verdict, picks)
                    }
                };
                (realized, verdict, picks, Some(front), uniform.into_iter().map(|(_, uniform)| uniform).collect())
            }
        };
        let predicted = search.predicted(&picks);
        let front = match (front, self.lists_front) {
            (Some(front), true) => self.points(&search, &front),
            _ => Vec::new(),
        };
        let (verdicts, judged_runs) = (search.verdicts, search.judged_runs);
        let float = vec![Precision::Fp32; measured.layers.len()];
        let counted = |precisions: &[Precision]| costed(&measured, &costs, precisions);
        let Realized { model: result, rehearsal, precisions, corrections } = realized;
        let now = Costed { bytes: census::quick(&result).parameter_bytes, ..counted(&precisions) };
        let summary = Summary {
            measure: measured.heads.name(),
            cost,
            layers: self.assigned(&measured, &precisions),
            float: Costed { bytes: census::quick(&ground.float).parameter_bytes, ..counted(&float) },
            costs: now,
            predicted,
            loss: verdict.loss,
            sqnr: verdict.sqnr.is_finite().then_some(verdict.sqnr),
            drop: verdict.drop,
            outputs: verdict.outputs,
            uniform,
            corrections: ground.corrections.iter().cloned().chain(corrections).collect(),
            held_out: samples.len(),
            made_up: crate::sensitivity::ground::Ground::is_made_up(&self.sensitivity),
            forwards: measured.effort.forwards + ground.runs as f64 + judged_runs as f64,
            verdicts,
            pass_seconds: ground.pass_seconds,
            seconds: start.elapsed().as_secs_f64(),
            front,
            notes: ground.probe.notes.clone(),
        };
        *model = result;
        Ok((summary, rehearsal))
    }

    /// What layers are to compute in, as the caller says it.
    fn explicit(&self, measured: &Measured) -> Result<Vec<Precision>, AssignError> {
        let graph = &measured.ground.model.graph;
        let index: FxHashMap<NodeId, usize> =
            measured.layers.iter().enumerate().map(|(index, layer)| (layer.node, index)).collect();
        let mut precisions = vec![Precision::Fp32; measured.layers.len()];
        for (pattern, precision) in &self.given {
            let layers: Vec<usize> =
                matching(graph, pattern)?.iter().filter_map(|node| index.get(node)).copied().collect();
            if layers.is_empty() {
                return Err(AssignError::NoLayer { pattern: pattern.clone() });
            }
            for &layer in &layers {
                // Of a pattern for many layers those that cannot stay as they are; one that is named must.
                match measured.ground.refuses(&measured.layers[layer], *precision) {
                    None => precisions[layer] = *precision,
                    Some(_) if layers.len() > 1 => {}
                    Some(why) => {
                        let layer = measured.layers[layer].name.clone();
                        return Err(AssignError::Refused { layer, precision: *precision, why });
                    }
                }
            }
        }
        Ok(precisions)
    }

    /// The best within a budget.
    fn within(&self, search: &Search<'_>, front: &Front, budget: Budget) -> Result<Vec<usize>, AssignError> {
        let float = vec![Precision::Fp32; search.measured.layers.len()];
        let all = search.costs.all(&float, budget.cost);
        let rest = search.costs.beside(budget.cost);
        let elements = search.costs.all(&float, Cost::Bits) / 32;
        let most = match (budget.cost, budget.most) {
            (Cost::Bits, Amount::Number(bits)) => bits * elements as f64,
            (_, Amount::Number(number)) => number,
            (_, Amount::Share(share)) => share * all as f64,
        };
        let least = front.points().first().map_or(0, |point| point.cost.saturating_add(rest));
        let too_little = || AssignError::TooLittle {
            most: in_words(budget.cost, most, all),
            least: in_words(budget.cost, least as f64, all),
        };
        let room = (most - rest as f64).max(0.0) as u64;
        let picks = front.picks(front.within(room).filter(|_| most >= rest as f64).ok_or_else(too_little)?);
        let fits = |picks: &Vec<usize>| search.costs.all(&search.precisions(picks), budget.cost) as f64 <= most;
        Ok(search.merged(picks, fits))
    }

    /// One precision for all layers, for each that there is.
    fn uniform(&self, search: &mut Search<'_>) -> Result<Vec<(Vec<usize>, Uniform)>, AssignError> {
        let mut found = Vec::new();
        for &precision in &self.sensitivity.candidates {
            let pick = |unit: &Unit| unit.choices.iter().position(|choice| choice.precision == precision).unwrap_or(0);
            let picks: Vec<usize> = search.units.iter().map(pick).collect();
            let precisions = search.precisions(&picks);
            let layers = precisions.iter().filter(|p| **p == precision).count();
            if layers == 0 {
                continue;
            }
            // As it would be written.
            let realized = self.realize(search.measured, &precisions, true)?;
            let verdict = search.verifier.judge(&realized.rehearsal)?;
            search.judged_runs += search.verifier.samples();
            search.verdicts += 1;
            let bytes = census::quick(&realized.model).parameter_bytes;
            let uniform = Uniform {
                precision,
                layers,
                costs: Costed { bytes, ..costed(search.measured, search.costs, &precisions) },
                loss: verdict.loss,
                drop: verdict.counted(),
                sqnr: Some(verdict.sqnr).filter(|ratio| ratio.is_finite()),
                meets: verdict.meets(&self.bounds),
            };
            found.push((picks, uniform));
        }
        Ok(found)
    }

    /// The front, thinned evenly.
    fn points(&self, search: &Search<'_>, front: &Front) -> Vec<Point> {
        let graph = &search.measured.ground.model.graph;
        let all = front.points().len();
        let rest = search.costs.beside(search.cost);
        let mut indices: Vec<usize> =
            (0..all.min(LISTED)).map(|i| i * (all - 1) / (all.min(LISTED) - 1).max(1)).collect();
        indices.dedup();
        let point = |index: usize| {
            let picks = front.picks(index);
            let precisions = search.precisions(&picks);
            let named = search.measured.layers.iter().zip(precisions).filter(|(_, p)| *p != Precision::Fp32);
            Point {
                cost: front.points()[index].cost.saturating_add(rest),
                predicted: front.points()[index].loss,
                measured: search.judged.get(&picks).map(|verdict| verdict.loss),
                layers: named.map(|(layer, p)| (exactly(graph, layer.node), p)).collect(),
            }
        };
        indices.into_iter().map(point).collect()
    }

    /// What layers take in float32 and in integers, where the target's costs are known.
    fn latency(&self, measured: &Measured) -> Option<Latencies> {
        let ground = &measured.ground;
        let sized = run_of(&ground.model, ground.probe.tried.first()?);
        latencies(&sized, &self.sensitivity.policy, ground.model.opset(), &ground.plan)
    }

    /// What became of each layer, and why.
    fn assigned(&self, measured: &Measured, precisions: &[Precision]) -> Vec<Assigned> {
        let of = |((layer, effects), &precision): ((_, &BTreeMap<Precision, Effect>), &Precision)| {
            let layer: &crate::sensitivity::layer::Layer = layer;
            let narrower = Precision::ALL.into_iter().filter(|p| *p > precision).rev().find_map(|p| {
                let is_candidate = self.sensitivity.candidates.contains(&p);
                let refused = measured.ground.refuses(layer, p).filter(|_| is_candidate);
                let refused = refused.map(|why| format!("no {p}: {why}"));
                let loses = || Some(format!("{p} would lose {:.1e} here", effects.get(&p)?.loss));
                refused.or_else(loses)
            });
            let why = match (self.given.is_empty(), narrower) {
                (false, _) => "as it was asked for".to_string(),
                (true, Some(why)) => why,
                (true, None) => "as narrow as it gets".to_string(),
            };
            let loss = effects.get(&precision).map_or(0.0, |effect| effect.loss);
            Assigned {
                node: layer.name.clone(),
                op: layer.op.name().to_string(),
                precision,
                loss,
                why,
                effects: effects.clone(),
            }
        };
        measured.layers.iter().zip(&measured.effects).zip(precisions).map(of).collect()
    }
}

/// `calibration` for a search: as many samples are held out as are not.
pub fn searching(calibration: Calibration) -> Calibration {
    Calibration { verifies: true, ..calibration }
}

/// What an assignment costs in every way.
fn costed(measured: &Measured, costs: &Costs<'_>, precisions: &[Precision]) -> Costed {
    let of = |cost: Cost| costs.all(precisions, cost);
    let float = vec![Precision::Fp32; measured.layers.len()];
    let elements = (costs.all(&float, Cost::Bits) / 32).max(1);
    Costed {
        bytes: of(Cost::Bytes),
        bitops: of(Cost::Bitops),
        bits: of(Cost::Bits) as f64 / elements as f64,
        nanoseconds: costs.latency.is_some().then(|| of(Cost::Latency) as f64 / units::FINE),
    }
}

/// An amount as people read it.
fn in_words(cost: Cost, amount: f64, all: u64) -> String {
    match cost {
        Cost::Bytes => format!("{amount:.0} bytes"),
        Cost::Bits => format!("{amount:.0} bits of weights"),
        Cost::Bitops | Cost::Latency | Cost::Balance => {
            format!("{:.1} % of float32's", 100.0 * amount / all.max(1) as f64)
        }
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests;
