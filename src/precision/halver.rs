//! From a model in float32 to one in halves, and what that costs.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::calibrate::{Calibration, CalibrationError, Sample, Source, Wanted};
use crate::choice::{Choice, ChoiceError};
use crate::exec::demand::{of_type, run_of};
use crate::exec::{Cannot, Executor};
use crate::ir::{DType, Graph, NodeId, OpKind, ScopeId};
use crate::model::Model;
use crate::ops::CallView;
use crate::precision::cells::{Asked, Cells, FLOAT, cells};
use crate::precision::emit::emit;
use crate::precision::rehearse::rehearse;
use crate::precision::repair::noisiest;
use crate::precision::sides::sides;
use crate::precision::{Fit, store};
use crate::quality::{Bounds, Measured, OutOfBounds, Quality, compare};
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

/// Why a model does not get halves.
#[derive(Debug, thiserror::Error)]
pub enum HalveError {
    /// A pattern matches nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Samples cannot be read.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The result is not as good as it has to be.
    #[error(transparent)]
    Bounds(OutOfBounds),
    /// The result cannot be compared, and bounds were given.
    #[error("--min-sqnr and --max-drop cannot be kept: {0}")]
    NotCompared(Cannot),
    /// Nothing became a half.
    #[error("nothing of the model can be {half}: {why}")]
    Nothing {
        /// The type.
        half: &'static str,
        /// The reason of the first call that matters.
        why: String,
    },
}

/// Nodes of one operator that stay float32 for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Their operator.
    pub op: String,
    /// The reason.
    pub why: String,
    /// Their names, in order.
    pub nodes: Vec<String>,
}

/// What became of a model that got halves.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What took the place of float32.
    pub half: Half,
    /// Calls that have halves; weights that are stored so.
    pub halves: usize,
    /// Calls of float tensors that stay float32.
    pub floats: usize,
    /// `Cast`s that came in.
    pub casts: usize,
    /// What had to stay float32, and why.
    pub kept: Vec<Kept>,
    /// Samples were made up: what tensors hold in use is not known, and neither is what was measured.
    pub made_up: bool,
    /// How far outputs are from those of the float model, on samples that both were run on.
    #[serde(flatten)]
    pub measured: Measured,
    /// What there is to say of the samples and of what was not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Samples that are made up where there are none.
const MADE_UP: usize = 2;

/// Outputs are to have so much signal over their noise, in dB, where nothing else is asked for: nodes that prevent it
/// stay float32.
const FLOOR: f64 = 50.0;

/// The same on made-up samples, which tell less.
const FLOOR_MADE_UP: f64 = 45.0;

/// How often nodes are looked for that keep outputs from being good.
const REPAIRS: usize = 4;

/// Calls stay float32 for this gain in dB, where they do not make an output as good as it has to be.
const HELPS: f64 = 6.0;

/// One way to do it.
pub(super) struct Attempt {
    model: Model,
    /// What it computes, in float32.
    pub rehearsal: Model,
    halves: usize,
    floats: usize,
    casts: usize,
    kept: Vec<Kept>,
    /// Calls that have halves.
    pub half_nodes: Vec<NodeId>,
    in_bodies: bool,
}

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

    /// Weights alone.
    fn stored(&self, model: &mut Model, feeds: &[Sample], notes: &mut Vec<String>) -> Result<Summary, HalveError> {
        let float = model.clone();
        let (stored, left) = store(&mut model.graph);
        let mut kept = Kepts::default();
        for (value, why) in left {
            let Some(tensor) = float.graph.constant(value) else { continue };
            kept.add(tensor.to_string(), why, float.graph.value_label(value));
        }
        let outputs = self.measured(&float, model, feeds, notes)?;
        Ok(Summary {
            half: self.half,
            halves: stored,
            floats: kept.count(),
            casts: stored,
            kept: kept.list(),
            made_up: false,
            measured: Measured::of(feeds.len(), outputs),
            notes: Vec::new(),
        })
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
            DType::F16 => match calibration.gathered(model, &Wanted::all(), &*self.engine, tell, None) {
                Ok(gathered) => Fit::of(half, &model.graph, &gathered),
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
        let is_real = self.calibration.source.as_ref().is_some_and(Source::is_real);
        let made_up = self.calibration.source.is_none();
        let floor = self.bounds.min_sqnr.unwrap_or(if is_real { FLOOR } else { FLOOR_MADE_UP });
        let mut attempt = self.attempt(&float, &fit, bodies, &mut excluded);
        let mut outputs = Vec::new();
        let mut first: Option<(Attempt, Vec<Quality>)> = None;
        for round in 0..=REPAIRS {
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
            let worst = worst(&outputs);
            if worst >= floor || outputs.is_empty() || half == DType::BF16 {
                break;
            }
            // What is found or not of inputs that mean nothing says little of halves, and may take long.
            if made_up && sizes_follow_numbers(&float, feeds) {
                notes.push(format!(
                    "{worst:.1} dB on made-up inputs; what brings the noise in was not looked for: sizes follow what \
                     tensors hold: --calib"
                ));
                break;
            }
            if round == REPAIRS {
                // Float32 here and there does not help: noise comes from everywhere.
                if let Some((all, before)) = first.take().filter(|(_, before)| worst < self::worst(before) + HELPS) {
                    notes.push(format!(
                        "{worst:.1} dB is what float32 in {} more calls would give: noise comes from everywhere",
                        attempt.floats - all.floats
                    ));
                    (attempt, outputs) = (all, before);
                }
                break;
            }
            if attempt.in_bodies && bodies {
                bodies = false;
            } else {
                let Ok(found) = noisiest(&float, &attempt, feeds, &*self.engine, 1 << round) else { break };
                if found.is_empty() {
                    break;
                }
                for node in found {
                    excluded.insert(node, format!("an output had {worst:.1} dB of signal over its noise with it"));
                }
            }
            let next = self.attempt(&float, &fit, bodies, &mut excluded);
            let before = std::mem::replace(&mut attempt, next);
            if first.is_none() && worst.is_finite() {
                first = Some((before, std::mem::take(&mut outputs)));
            }
        }
        self.bounds.check(&outputs).map_err(HalveError::Bounds)?;
        if attempt.halves == 0 && attempt.floats > 0 {
            match attempt.kept.iter().max_by_key(|kept| kept.nodes.len()) {
                Some(kept) => return Err(HalveError::Nothing { half: half.name(), why: said(kept) }),
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
        loop {
            let attempt = attempt(float, fit, self.io, bodies, excluded);
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
        let asked = Asked { opset: float.opset(), fit, io: self.io, bodies: true, excluded: &excluded };
        let cells = cells(&float.graph, &asked);
        cells.facts.into_iter().filter_map(|facts| Some((facts.node?, facts.stays?))).collect()
    }

    /// `float` with halves wherever they pay, but in `excluded` nodes: the model, and what it computes in float32.
    pub(crate) fn halved(&self, float: &Model, fit: &Fit, mut excluded: FxHashMap<NodeId, String>) -> [Model; 2] {
        let attempt = self.attempt(float, fit, true, &mut excluded);
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
            Ok(outputs) => {
                self.bounds.check(&outputs).map_err(HalveError::Bounds)?;
                Ok(outputs)
            }
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

/// The least ratio of the float outputs, in dB.
fn worst(outputs: &[Quality]) -> f64 {
    outputs.iter().filter(|q| q.cosine.is_some()).map(|q| q.sqnr).fold(f64::INFINITY, f64::min)
}

fn said(kept: &Kept) -> String {
    format!("{} \"{}\": {}", kept.op, kept.nodes.first().map_or("", |n| n), kept.why)
}

fn attempt(float: &Model, fit: &Fit, io: Io, bodies: bool, excluded: &FxHashMap<NodeId, String>) -> Attempt {
    let mut model = float.clone();
    let asked = Asked { opset: model.opset(), fit, io, bodies, excluded };
    let cells = cells(&model.graph, &asked);
    let is_half = sides(&model.graph, &cells);
    let kept = kept(&model.graph, &cells);
    let nodes = |is: bool| {
        let of = cells.facts.iter().enumerate().filter(move |(cell, _)| *cell != FLOAT);
        of.filter(|(cell, _)| is_half[*cell] == is).filter_map(|(_, facts)| facts.node).collect::<Vec<NodeId>>()
    };
    let (half_nodes, floats) = (nodes(true), nodes(false).len());
    let in_bodies = half_nodes.iter().any(|&n| model.graph.node(n).scope() != ScopeId::MAIN);
    let mut rehearsal = model.clone();
    rehearse(&mut rehearsal.graph, &cells, &is_half, fit);
    let written = emit(&mut model.graph, &cells, &is_half, fit);
    Attempt { model, rehearsal, halves: half_nodes.len(), floats, casts: written.casts, kept, half_nodes, in_bodies }
}

/// What had to stay.
fn kept(graph: &Graph, cells: &Cells) -> Vec<Kept> {
    let mut kept = Kepts::default();
    for facts in &cells.facts {
        let (Some(node), Some(why)) = (facts.node, &facts.stays) else { continue };
        kept.add(graph.node(node).op_name().to_string(), why.clone(), graph.label(node));
    }
    kept.list()
}

/// Gathers nodes by operator and reason.
#[derive(Default)]
struct Kepts(BTreeMap<(String, String), Vec<String>>);

impl Kepts {
    fn add(&mut self, op: String, why: String, node: String) {
        self.0.entry((op, why)).or_default().push(node);
    }

    fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    fn list(self) -> Vec<Kept> {
        self.0.into_iter().map(|((op, why), nodes)| Kept { op, why, nodes }).collect()
    }
}
