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

mod account;
mod budget;
mod error;
mod likely;
mod lines;
mod realize;
mod search;
mod uniform;
mod units;
mod usual;
mod verdict;
mod within;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

pub use account::{Assigned, Costed, Effort, Point, Summary, Uniform};
pub use budget::{Amount, Budget, Cost};
pub use error::AssignError;
pub use usual::usual;

use crate::assign::account::{Ledger, costed};
use crate::assign::realize::Realized;
use crate::assign::search::Search;
use crate::assign::uniform::Plain;
use crate::assign::units::{Costs, units};
use crate::assign::verdict::{Verdict, Verifier};
use crate::calibrate::Calibration;
use crate::census;
use crate::exec::demand::run_of;
use crate::ir::NodeId;
use crate::model::Model;
use crate::quality::{self, Bounds};
use crate::quantize::{Latencies, latencies};
use crate::selecting::matching;
use crate::sensitivity::ground::Ground;
use crate::sensitivity::{Measured, Precision, Sensitivity};

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

/// Samples that decide while a search goes on, and the share of those held out that does: on them noise is told where
/// classes are about to change. What a search ends with is verified on all.
const SEARCHED: (usize, usize) = (16, 4);

/// Samples that layers are measured on, the first of those to try things on: those nearest to another class, where there
/// are classes. What samples lose of which a model is certain says little of the others.
const MEASURED: u64 = 8;

/// What was found, and what it is worth.
struct Found {
    realized: Realized,
    verdict: Verdict,
    predicted: f64,
    uniform: Vec<Plain>,
    front: Vec<Point>,
}

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
        let mut ledger = Ledger::new();
        if self.given.is_empty() && self.budget.is_none() && self.bounds == Bounds::default() {
            return Err(AssignError::NoGoal);
        }
        let asked = &self.sensitivity;
        let mut measured = asked.prepared(model, tell)?;
        without_doubles(&mut measured);
        ledger.add("statistics and ranges", measured.ground.runs as f64);
        let (verifier, runs) = self.verifier(&mut measured)?;
        ledger.add("the float model", runs as f64);
        if self.given.is_empty() {
            asked.measure(&mut measured, MEASURED)?;
            ledger.add("measuring layers", measured.effort.forwards);
        }
        let cost = self.budget.map_or(self.minimize, |budget| budget.cost);
        let latency = self.latency(&measured);
        if cost == Cost::Latency && latency.is_none() {
            return Err(AssignError::NoLatency { target: asked.policy.name.clone() });
        }
        let (costs, units) = (Costs::of(&measured, latency), units(&measured));
        let few = verifier.of_few((verifier.samples() / SEARCHED.1).max(SEARCHED.0), self.bounds.max_drop.is_some());
        let mut search = Search {
            assigner: self,
            measured: &measured,
            units: &units,
            costs: &costs,
            cost,
            verifier: &verifier,
            few: &few,
            judged: BTreeMap::new(),
            verdicts: 0,
            judged_runs: 0,
        };
        let found = match self.given.is_empty() {
            true => self.found(&mut search, &mut ledger)?,
            false => self.as_given(&mut search, &mut ledger)?,
        };
        let float = vec![Precision::Fp32; measured.layers.len()];
        let counted = |precisions: &[Precision]| costed(&measured, &costs, precisions);
        let Found { realized, verdict, predicted, uniform, front } = found;
        let Realized { model: result, rehearsal, precisions, corrections, .. } = realized;
        let now = Costed { bytes: census::quick(&result).parameter_bytes, ..counted(&precisions) };
        let ground = &measured.ground;
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
            measured: quality::Measured { held_out: verifier.samples(), outputs: verdict.outputs },
            uniform: uniform.into_iter().map(|plain| plain.uniform).collect(),
            corrections: ground.corrections.iter().cloned().chain(corrections).collect(),
            made_up: Ground::is_made_up(asked),
            forwards: ledger.forwards(),
            verdicts: search.verdicts,
            pass_seconds: ground.pass_seconds,
            seconds: ledger.seconds(),
            efforts: ledger.efforts,
            front,
            notes: ground.probe.notes.clone(),
        };
        *model = result;
        Ok((summary, rehearsal))
    }

    /// What compares models with the float model, and how many runs that took to make. The samples to try things on are
    /// put in order: those nearest to another class first.
    ///
    /// # Errors
    /// When the float model cannot be run, and for a bound that nothing can be said of.
    fn verifier(&self, measured: &mut Measured) -> Result<(Verifier<'_>, usize), AssignError> {
        let probe = &measured.ground.probe;
        let (held_out, others) = match probe.held_out.is_empty() {
            true => (&probe.tried, &[][..]),
            // Nothing is searched for where it is said: what is held out tells enough.
            false if !self.given.is_empty() => (&probe.held_out, &[][..]),
            false => (&probe.held_out, &probe.tried[..]),
        };
        let engine = &*self.sensitivity.engine;
        let by_class = self.bounds.max_drop.is_some();
        let (verifier, order) =
            Verifier::new(&measured.ground.float, held_out, others, engine, &measured.heads, by_class)?;
        let runs = held_out.len() + others.len();
        verifier.can_tell(&self.bounds).map_err(AssignError::Bounds)?;
        if let (Some(order), false) = (order, others.is_empty()) {
            measured.ground.probe.tried = order.into_iter().map(|place| others[place].clone()).collect();
        }
        Ok((verifier, runs))
    }

    /// What a search finds.
    fn found(&self, search: &mut Search<'_>, ledger: &mut Ledger) -> Result<Found, AssignError> {
        let (plain, front) = (search.front(), search.bordered());
        let mut uniform = self.uniform(search)?;
        ledger.add("one precision for all", search.take_runs());
        let (realized, verdict, picks) = match self.budget {
            Some(budget) => {
                let picks = self.within(search, &front, &plain, budget)?;
                let (realized, verdict) = search.verified(&picks)?;
                self.bounds.check(&verdict.outputs).map_err(AssignError::Bounds)?;
                (realized, verdict, picks)
            }
            None => {
                let known: Vec<[f64; 2]> = uniform.iter().map(|plain| [plain.predicted, plain.excess]).collect();
                let picks = search.within_bounds(&front, &plain, &known)?;
                ledger.add("the search", search.take_runs());
                let kept = search.kept(&front, picks)?;
                let found = search.further(&front, kept)?;
                self.cheapest(search, &mut uniform, found)?
            }
        };
        ledger.add("verification", search.take_runs());
        let mut others: Vec<search::Picks> = uniform.iter().map(|plain| plain.picks.clone()).collect();
        others.push(picks.clone());
        let points = if self.lists_front { self.points(search, [&front, &plain], &others) } else { Vec::new() };
        Ok(Found { realized, verdict, predicted: search.predicted(&picks), uniform, front: points })
    }

    /// What was asked for.
    fn as_given(&self, search: &mut Search<'_>, ledger: &mut Ledger) -> Result<Found, AssignError> {
        let (realized, verdict) = search.best(&self.explicit(search.measured)?)?;
        ledger.add("verification", search.take_runs());
        self.bounds.check(&verdict.outputs).map_err(AssignError::Bounds)?;
        Ok(Found { realized, verdict, predicted: 0.0, uniform: Vec::new(), front: Vec::new() })
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

    /// What layers take in float32 and in integers, where the target's costs are known.
    fn latency(&self, measured: &Measured) -> Option<Latencies> {
        let ground = &measured.ground;
        let sized = run_of(&ground.model, ground.probe.tried.first()?);
        latencies(&sized, &self.sensitivity.policy, ground.model.opset(), &ground.plan)
    }
}

/// Take bfloat16 from what layers may have where all of them may have float16: it costs the same and loses more.
fn without_doubles(measured: &mut Measured) {
    let lacks =
        |candidates: &Vec<Precision>| candidates.contains(&Precision::Bf16) && !candidates.contains(&Precision::Fp16);
    if !measured.candidates.iter().any(lacks) {
        measured.candidates.iter_mut().for_each(|candidates| candidates.retain(|p| *p != Precision::Bf16));
    }
}

/// `calibration` for a search: as many samples are held out as are not.
pub fn searching(calibration: Calibration) -> Calibration {
    Calibration { verifies: true, ..calibration }
}

#[cfg(all(test, feature = "tract"))]
mod tests;
