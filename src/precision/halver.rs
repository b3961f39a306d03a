//! From a model in float32 to one in halves, and what that costs.

mod stored;

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::calibrate::{Calibration, Sample, Source, Wanted};
use crate::choice::Choice;
use crate::exec::Executor;
use crate::exec::demand::{of_type, run_of};
use crate::ir::{DType, NodeId, OpKind, ScopeId, Tensor};
use crate::model::Model;
use crate::ops::CallView;
use crate::precision::attempt::{Attempt, SHARED, sharing};
use crate::precision::cells::{Asked, Cell, cells};
use crate::precision::culprits::{Hunt, over_signal, worst};
use crate::precision::summary::Summary;
use crate::precision::told::{called, everywhere, prevents, twice};
use crate::precision::{Fit, HalveError};
use crate::quality::{Bounds, Measured, Quality, compare};
use crate::target::{self, Effect, Profile};

/// What takes the place of float32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Half {
    /// float16.
    F16,
    /// bfloat16: the range of float32, with 8 digits in binary.
    BF16,
    /// float16 in the file, float32 in a run.
    Weights,
}

impl Half {
    /// The type of its numbers.
    pub fn dtype(self) -> DType {
        match self {
            Half::F16 | Half::Weights => DType::F16,
            Half::BF16 => DType::BF16,
        }
    }
}

/// What becomes of the model's float32 inputs and outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// They stay float32.
    #[default]
    Keep,
    /// They become halves.
    Convert,
}

/// Says how a model gets halves; [`Halver::run`] does it.
#[derive(Clone)]
pub struct Halver {
    /// What takes the place of float32.
    pub half: Half,
    /// What will run the result: calls of which it has no kernels for halves stay float32.
    pub target: &'static Profile,
    /// What becomes of inputs and outputs.
    pub io: Io,
    /// What of the model may have halves.
    pub choice: Choice,
    /// Samples to see on what tensors hold, and to compare on. Without any, some are made up.
    pub calibration: Calibration,
    /// What runs them.
    pub engine: Arc<dyn Executor>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

/// Samples that are made up where there are none.
const MADE_UP: usize = 2;

/// Outputs are to have so much signal over their noise, in dB, where nothing else is asked for: nodes that prevent it
/// stay float32.
const FLOOR: f64 = 50.0;

/// How often it is looked for what keeps outputs from being good; each time they are to have this part of the noise that
/// there may be, as other samples have a little more.
const HUNTS: [f64; 3] = [0.7, 0.5, 0.3];

/// Calls stay float32 for this gain in dB, where they do not make an output as good as it has to be.
const HELPS: f64 = 6.0;

/// So many dB more than it has to have an output is to have on made-up samples: they are few, and others have a little
/// more noise.
const ROOM: f64 = 1.5;

/// What is so many dB short of what it is to have is nearly as good: it is not worth weights that are there twice.
const NEARLY: f64 = 10.0;

/// The part of what may have halves that may stay float32 where no bound was given.
const MOST_KEPT: f64 = 0.5;

impl Halver {
    /// This half for every model, with nothing else asked for.
    pub fn new(half: Half, engine: Arc<dyn Executor>) -> Halver {
        let (choice, calibration) = (Choice::default(), Calibration::default());
        Halver { half, target: &target::ONNX, io: Io::Keep, choice, calibration, engine, bounds: Bounds::default() }
    }

    /// The opset that a model of opset `from` is best written in: bfloat16 came to most operators with 22, and what has
    /// been there for long takes float16.
    pub fn opset_for(&self, from: i64) -> i64 {
        match self.half {
            Half::F16 | Half::Weights => from,
            Half::BF16 => from.max(22),
        }
    }

    /// Give `model` halves. `tell` hears how many runs of how many on samples are done.
    ///
    /// # Errors
    /// For a pattern of the choice that matches nothing, samples that cannot be read, where nothing can be a half, and
    /// for a result that is not as good as it has to be.
    pub fn run(&self, model: &mut Model, tell: &dyn Fn(u64, u64)) -> Result<Summary, HalveError> {
        Ok(self.rehearsed(model, tell)?.0)
    }

    /// As [`Halver::run`]; also gives the model that computes the same in float32, which any engine runs.
    ///
    /// # Errors
    /// As [`Halver::run`].
    pub fn rehearsed(
        &self,
        model: &mut Model,
        tell: &dyn Fn(u64, u64),
    ) -> Result<(Summary, Option<Model>), HalveError> {
        let excluded = self.choice.excluded(&model.graph)?;
        let made_up = !self.calibration.source.as_ref().is_some_and(Source::is_real);
        let calibration = match &self.calibration.source {
            Some(_) => self.calibration.clone(),
            None => Calibration { source: Some(Source::Random(0)), samples: Some(MADE_UP), ..self.calibration.clone() },
        };
        let mut notes = Vec::new();
        // Nobody asked for a run, and how many turns a loop makes of made-up inputs nobody knows.
        let runs = self.calibration.source.is_some()
            || !model.graph.nodes().any(|node| matches!(model.graph.node(node).op, OpKind::Loop | OpKind::Scan));
        let probe = match calibration.probe(model, &*self.engine, &|_| 0) {
            Ok(_) if !runs => {
                notes.push("not compared with the float model: it has loops, and there are no samples: --calib".into());
                crate::calibrate::Probe::default()
            }
            Ok(probe) => probe,
            Err(why) if self.calibration.source.is_none() => {
                notes.push(format!("not compared with the float model: {why}"));
                crate::calibrate::Probe::default()
            }
            Err(why) => return Err(why.into()),
        };
        if self.calibration.source.is_some() {
            notes.extend(probe.notes.iter().cloned());
        }
        let (mut summary, rehearsal) = match self.half {
            Half::Weights => (self.stored(model, &probe.held_out, &mut notes)?, None),
            _ => self.converted(model, &excluded, &calibration, &probe.held_out, &mut notes, tell)?,
        };
        summary.made_up = made_up;
        summary.notes = notes;
        Ok((summary, rehearsal))
    }

    /// As [`Halver::rehearsed`], without a run: what the model had in halves before goes back.
    ///
    /// # Errors
    /// For a pattern of the choice that matches nothing, and where nothing can be a half.
    pub(crate) fn unseen(&self, model: &mut Model) -> Result<(Summary, Option<Model>), HalveError> {
        let halver = Halver { calibration: Calibration::default(), bounds: Bounds::default(), ..self.clone() };
        let mut notes = Vec::new();
        match self.half {
            Half::Weights => Ok((halver.stored(model, &[], &mut notes)?, None)),
            _ => {
                let excluded = self.choice.excluded(&model.graph)?;
                halver.converted(model, &excluded, &halver.calibration, &[], &mut notes, &|_, _| {})
            }
        }
    }

    /// How much signal over noise outputs are to have, in dB.
    fn floor(&self) -> f64 {
        self.bounds.min_sqnr.unwrap_or(FLOOR)
    }

    /// How much of it is looked for before anything stays as it is: of samples that are made up, a little more.
    fn aimed_at(&self) -> f64 {
        let is_real = self.calibration.source.as_ref().is_some_and(Source::is_real);
        self.floor() + if is_real || self.bounds.min_sqnr.is_some() { 0.0 } else { ROOM }
    }

    /// Whether nothing can be found of where noise comes from: what is found or not of inputs that mean nothing says
    /// little of halves, and may take long, where sizes follow what tensors hold.
    fn blind(&self, float: &Model, feeds: &[Sample], ratio: f64, notes: &mut Vec<String>) -> bool {
        let blind = self.calibration.source.is_none() && sizes_follow_numbers(float, feeds);
        if blind {
            notes.push(format!(
                "{ratio:.1} dB on made-up inputs; what brings the noise in was not looked for: sizes follow what tensors \
                 hold: --calib"
            ));
        }
        blind
    }

    /// Whatever can be.
    fn converted(
        &self,
        model: &mut Model,
        excluded: &FxHashMap<NodeId, String>,
        calibration: &Calibration,
        feeds: &[Sample],
        notes: &mut Vec<String>,
        tell: &dyn Fn(u64, u64),
    ) -> Result<(Summary, Option<Model>), HalveError> {
        let half = self.half.dtype();
        let fit = match half {
            // Without a sample to compare on there is none to gather from.
            DType::F16 if feeds.is_empty() && self.calibration.source.is_none() => Fit::unknown(half, &model.graph),
            DType::F16 => match calibration.gathered(model, &Wanted::all(), &*self.engine, tell, None, None) {
                Ok(runs) => Fit::of(half, &model.graph, &runs.gathered),
                Err(why) if self.calibration.source.is_none() => {
                    notes.push(format!("nothing is known of what tensors hold but constants: {why}"));
                    Fit::unknown(half, &model.graph)
                }
                Err(why) => return Err(why.into()),
            },
            // Whatever float32 holds.
            _ => Fit::unknown(half, &model.graph),
        };
        let mut excluded = excluded.clone();
        let mut bodies = true;
        let float = model.clone();
        let mut attempt = self.attempt(&float, &fit, bodies, &mut excluded);
        let mut outputs: Vec<Quality>;
        let mut first: Option<(Attempt, Vec<Quality>)> = None;
        let (mut hunts, mut needed, mut blamed) = (HUNTS.iter(), 0.0, Vec::new());
        loop {
            outputs = match compare(&float, &attempt.rehearsal, feeds, &*self.engine) {
                Ok(outputs) => outputs,
                Err(_) if attempt.in_bodies && bodies => {
                    bodies = false;
                    attempt = self.attempt(&float, &fit, bodies, &mut excluded);
                    continue;
                }
                Err(why) if self.bounds == Bounds::default() => {
                    notes.push(format!("not compared with the float model: {why}"));
                    Vec::new()
                }
                Err(why) => return Err(HalveError::NotCompared(why)),
            };
            let ratio = worst(&outputs);
            if ratio >= self.aimed_at() || outputs.is_empty() || half == DType::BF16 {
                break;
            }
            if self.blind(&float, feeds, ratio, notes) {
                break;
            }
            if attempt.in_bodies && bodies {
                bodies = false;
            } else {
                let Some(part) = hunts.next() else { break };
                let calls = attempt.calls(&float.graph);
                let rounded = |calls: &[Cell]| attempt.rehearsed(&float, &fit, calls);
                let found = Hunt::new(&float, &attempt.rehearsal, feeds, &*self.engine)
                    .and_then(|hunt| hunt.culprits(&calls, part * over_signal(self.floor()), |_| 1.0, rounded));
                let Some(found) = found.ok().filter(|found| !found.is_empty()) else { break };
                let nodes: Vec<NodeId> = found.iter().filter_map(|&call| attempt.node(call)).collect();
                blamed.extend(nodes.iter().map(|&node| called(&float.graph, node)));
                let all = first.as_ref().map_or(attempt.halves, |(first, _)| first.halves);
                needed = (all - attempt.halves + found.len()) as f64 / all as f64;
                if needed > MOST_KEPT && self.bounds.min_sqnr.is_none() {
                    break;
                }
                let said = first.as_ref().map_or(ratio, |(_, before)| worst(before));
                excluded.extend(nodes.into_iter().map(|node| (node, prevents(said))));
            }
            let next = self.attempt(&float, &fit, bodies, &mut excluded);
            let before = std::mem::replace(&mut attempt, next);
            if first.is_none() && (attempt.in_bodies || !before.in_bodies) {
                first = Some((before, std::mem::take(&mut outputs)));
            }
        }
        let last = worst(&outputs);
        if last < self.floor() && needed > 0.0 {
            // Float32 here and there does not help.
            if let Some((all, before)) = first.take().filter(|(_, before)| last < worst(before) + HELPS) {
                (attempt, outputs) = (all, before);
            }
            notes.push(everywhere(worst(&outputs), self.floor(), needed, &blamed));
        } else if needed > 0.0 && bytes(&attempt.model) >= bytes(&float) {
            // Weights that both types read are there twice.
            excluded.extend(sharing(&float.graph, &excluded).into_iter().map(|node| (node, SHARED.to_string())));
            let shared = self.attempt(&float, &fit, bodies, &mut excluded);
            let same = compare(&float, &shared.rehearsal, feeds, &*self.engine).ok();
            let same = same.filter(|outputs| worst(outputs) >= self.floor() && bytes(&shared.model) < bytes(&float));
            let is_free = self.bounds.min_sqnr.is_none();
            let nearly = |(all, before): &(Attempt, Vec<Quality>)| {
                is_free && bytes(&all.model) < bytes(&float) && worst(before) >= self.floor() - NEARLY
            };
            if let Some(same) = same {
                (attempt, outputs) = (shared, same);
            } else if let Some((all, before)) = first.take().filter(nearly) {
                notes.push(twice(worst(&before), self.floor(), &blamed));
                (attempt, outputs) = (all, before);
            }
        }
        self.bounds.check(&outputs).map_err(HalveError::Bounds)?;
        if attempt.halves == 0 && attempt.floats > 0 {
            match attempt.kept.iter().max_by_key(|kept| kept.nodes.len()) {
                Some(kept) => return Err(HalveError::Nothing { half: half.name(), why: kept.said() }),
                None => notes.push("nothing gains by halves: all is cheaper than the casts".into()),
            }
        }
        let Attempt { model: done, rehearsal, halves, floats, casts, kept, .. } = attempt;
        *model = done;
        let summary = Summary {
            half: self.half,
            halves,
            floats,
            casts,
            kept,
            made_up: false,
            measured: Measured::of(feeds.len(), outputs),
            notes: Vec::new(),
        };
        Ok((summary, Some(rehearsal)))
    }

    /// One way to do it that the target runs.
    fn attempt(&self, float: &Model, fit: &Fit, bodies: bool, excluded: &mut FxHashMap<NodeId, String>) -> Attempt {
        self.attempt_in(float, &Asked { bodies, ..self.asked(float, fit, &FxHashMap::default()) }, excluded)
    }

    /// What is asked of `float` where nothing but these nodes has to stay.
    fn asked<'a>(&self, float: &Model, fit: &'a Fit, excluded: &'a FxHashMap<NodeId, String>) -> Asked<'a> {
        Asked { opset: float.opset(), fit, io: self.io, bodies: true, excluded, layers: None }
    }

    /// What is `asked`, without the `excluded` nodes and those that the target lacks then, which join these.
    fn attempt_in(&self, float: &Model, asked: &Asked<'_>, excluded: &mut FxHashMap<NodeId, String>) -> Attempt {
        loop {
            let attempt = Attempt::new(float, &Asked { excluded: &*excluded, ..*asked });
            let lacking = self.lacking(float, &attempt.model);
            let known = excluded.len();
            excluded.extend(lacking);
            // Each turn excludes more, so that there is a last one.
            if excluded.len() == known {
                return attempt;
            }
        }
    }

    /// The nodes of `float` that have to stay float32, with the reason.
    pub(crate) fn staying(&self, float: &Model, fit: &Fit) -> FxHashMap<NodeId, String> {
        let mut excluded = FxHashMap::default();
        self.attempt(float, fit, true, &mut excluded);
        let cells = cells(&float.graph, &self.asked(float, fit, &excluded));
        cells.facts.into_iter().filter_map(|facts| Some((facts.node?, facts.stays?))).collect()
    }

    /// `float` with halves in those of its `layers` that are not `excluded`, and around these where they pay: the model,
    /// and what it computes in float32.
    pub(crate) fn halved(
        &self,
        float: &Model,
        fit: &Fit,
        layers: &FxHashSet<NodeId>,
        mut excluded: FxHashMap<NodeId, String>,
    ) -> [Model; 2] {
        let none = FxHashMap::default();
        let asked = Asked { layers: Some(layers), ..self.asked(float, fit, &none) };
        let attempt = self.attempt_in(float, &asked, &mut excluded);
        [attempt.model, attempt.rehearsal]
    }

    /// Calls that the target runs in `float` and not in `half`, with the reason.
    fn lacking(&self, float: &Model, half: &Model) -> Vec<(NodeId, String)> {
        let opset = float.opset();
        let lacks = |model: &Model, node: NodeId| {
            let call = CallView::new(&model.graph, node);
            let mut limits = self.target.limits().filter(|limit| limit.effect == Effect::Unsupported);
            limits.find(|limit| limit.holds(&call, opset)).map(|limit| limit.why)
        };
        let nodes = half.graph.nodes().filter(|&node| float.graph.has_node(node) && lacks(float, node).is_none());
        nodes.filter_map(|node| Some((node, lacks(half, node)?.to_string()))).collect()
    }

    fn measured(
        &self,
        float: &Model,
        half: &Model,
        feeds: &[Sample],
        notes: &mut Vec<String>,
    ) -> Result<Vec<Quality>, HalveError> {
        match compare(float, half, feeds, &*self.engine) {
            Ok(outputs) => Ok(outputs),
            Err(why) if self.bounds == Bounds::default() => {
                notes.push(format!("not compared with the float model: {why}"));
                Ok(Vec::new())
            }
            Err(why) => Err(HalveError::NotCompared(why)),
        }
    }
}

/// Whether what tensors hold decides on their sizes, as boxes that are found do.
fn sizes_follow_numbers(model: &Model, feeds: &[Sample]) -> bool {
    let Some(feed) = feeds.first() else { return false };
    let run = run_of(model, feed);
    let mut results = run.schedule(ScopeId::MAIN).into_iter().flat_map(|node| run.results(node).iter().flatten());
    results.any(|&value| run.value(value).ty.dtype().is_some() && of_type(&run.value(value).ty).is_none())
}

/// Bytes of a model's constants.
fn bytes(model: &Model) -> usize {
    let graph = &model.graph;
    graph.values().filter_map(|value| graph.constant(value)).map(Tensor::stored_bytes).sum()
}
