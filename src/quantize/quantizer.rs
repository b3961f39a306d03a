//! From a model in real numbers and samples to a model in integers, and what that costs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustc_hash::FxHashSet;
use serde::Serialize;

use crate::calibrate::{Calibration, CalibrationError, Early, Fingerprint, Gathered, Method, Sample, Wanted};
use crate::census;
use crate::choice::{Choice, ChoiceError};
use crate::exec::demand::run_of;
use crate::exec::race::{Race, RaceError};
use crate::exec::stepper::held_bytes;
use crate::exec::{Cannot, Executor};
use crate::ir::ValueId;
use crate::model::Model;
use crate::quality::{Bounds, Given, Layer, Measured, OutOfBounds, compare_outputs, given_with_layers};
use crate::quantize::correct::{Bench, Limits, Setting, shown, wanted};
use crate::quantize::measured::measure;
use crate::quantize::{
    Coverage, Estimate, Extent, Measurement, NoStatistics, Paying, Placement, Plan, Ranges, Step, coverage, emit,
    integer_nodes, place, scales, unfit,
};
use crate::target::Policy;

/// Says how a model gets integers; [`Quantizer::run`] does it.
#[derive(Clone)]
pub struct Quantizer {
    /// How the target wants its integers.
    pub policy: Policy,
    /// What of the model may have them.
    pub choice: Choice,
    /// Where it is known from what the model's tensors hold.
    pub calibration: Calibration,
    /// How ranges are chosen; `None` measures what is best.
    pub method: Option<Method>,
    /// Whether they are given where they do not pay, too.
    pub everywhere: bool,
    /// Where it is measured how far they pay; then `everywhere` does not count.
    pub race: Option<Race>,
    /// Corrections that are left out, by name.
    pub without: BTreeSet<String>,
    /// What runs the model.
    pub engine: Arc<dyn Executor>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

/// Why a model does not get integers.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A pattern matches nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Its tensors are not known.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// A tensor is not known.
    #[error(transparent)]
    NoStatistics(#[from] NoStatistics),
    /// The result does not run.
    #[error("the model cannot be run on samples: {0}")]
    Run(#[from] Cannot),
    /// It cannot be measured how long it takes.
    #[error(transparent)]
    Race(#[from] RaceError),
    /// The result is not as good as it has to be.
    #[error(transparent)]
    Bounds(#[from] OutOfBounds),
    /// A tensor cannot be made.
    #[error("a defect of onnx-slim: {0}")]
    Tensor(#[from] crate::ir::TensorError),
}

/// What became of a model that got integers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Tensors that a run computes, as integers.
    pub tensors: usize,
    /// Weights as integers.
    pub weights: usize,
    /// Samples that were run.
    pub samples: u64,
    /// Samples that were not, as ranges had settled.
    pub samples_left: u64,
    /// Samples were made up: ranges are not real, and neither is what was measured.
    pub made_up: bool,
    /// What corrections brought.
    pub corrections: Vec<Step>,
    /// What has integers and what not, and why.
    pub placement: Placement,
    /// What a run takes, with the sizes of the first sample; `None` where nothing is known of the target's costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// How long the target's runtime takes, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measurement: Option<Measurement>,
    /// How much of the result is computed in integers, with the sizes of the first sample.
    pub coverage: Coverage,
    /// How far outputs are from those of the model in real numbers, on samples that both were run on.
    #[serde(flatten)]
    pub measured: Measured,
    /// The layers in integers whose results are furthest from what they were, the worst first.
    pub layers: Vec<Layer>,
    /// What there is to say of the samples, and what was not done for want of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Samples that corrections are tried on, for models of few multiplications; for larger ones as many as make
/// [`TRIED_MACS`], but no fewer than [`FEW`]. Where channels get scales of their own behind a bound, the largest of few
/// samples is exceeded by others.
pub(crate) const TRIED: u64 = 64;

/// Multiplications of all samples that corrections are tried on.
pub(crate) const TRIED_MACS: u64 = 40_000_000_000;

/// Samples that corrections are tried on at the least.
pub(crate) const FEW: u64 = 8;

/// Multiplications of the samples that decide which of two models is better, and how many samples these are at the
/// least: the same samples are run with both, so few tell which it is.
pub(crate) const JUDGED: (u64, u64) = (16_000_000_000, 4);

/// The same for samples that the outputs of the result are compared on, unless it has bounds to keep.
const PROVEN: (u64, u64) = (16_000_000_000, 4);

/// The same for samples that ranges are chosen on, and how many these are at the most. Of a small model the few that are
/// held out would let a single one decide.
const RANGED: (u64, u64) = (2_000_000_000, 64);

/// The same for samples that layers are compared on, and how many these are at the least.
const LAYERED: (u64, u64) = (8_000_000_000, 1);

/// The same for samples that go through the model layer by layer, with and without integers; fewer say little of means.
const STEPPED: (u64, u64) = (12_000_000_000, 8);

/// Bytes of tensors that are held meanwhile.
const STEPPED_BYTES: u128 = 256 << 20;

/// How many of so many samples like this one go through the model layer by layer.
pub(crate) fn stepped(model: &Model, sample: &Sample, samples: usize) -> usize {
    let (macs, least) = STEPPED;
    let fit = STEPPED_BYTES / (2 * held_bytes(model, sample)).max(1);
    let most = affordable(model, sample, macs, 1, TRIED).min(usize::try_from(fit).unwrap_or(usize::MAX)).min(samples);
    if most as u64 >= least { most } else { 0 }
}

/// How many samples like this one have so many multiplications together; between two numbers.
pub(crate) fn affordable(model: &Model, sample: &Sample, macs: u64, least: u64, most: u64) -> usize {
    let each = census::macs(&run_of(model, sample)).unwrap_or(macs / (2 * least));
    usize::try_from((macs / each.max(1)).clamp(least, most)).unwrap_or(usize::MAX)
}

/// What was not given integers for the sake of time, in words.
fn told(estimate: &Estimate) -> Option<String> {
    let &Estimate { float_ns, integer_ns, everywhere_ns, taken_out } = estimate;
    (taken_out > 0).then(|| {
        let operators = if taken_out == 1 { "1 operator stays".into() } else { format!("{taken_out} operators stay") };
        format!(
            "{operators} in real numbers as integers do not pay there: a run takes about {:.0} µs, without integers \
             {:.0} µs, with all of them {:.0} µs",
            integer_ns / 1000.0,
            float_ns / 1000.0,
            everywhere_ns / 1000.0
        )
    })
}

impl Quantizer {
    /// Give `model` integers. Statistics in files are of the model with the fingerprint `given`; `tell` hears how many
    /// runs of how many on samples are done.
    ///
    /// # Errors
    /// When samples or statistics cannot be read, a model cannot be run, or the result is not as good as it has to be.
    pub fn run(
        &self,
        model: &mut Model,
        given: Option<&Fingerprint>,
        tell: &dyn Fn(u64, u64),
    ) -> Result<Summary, QuantizeError> {
        let plan = place(&model.graph, &self.policy, model.opset(), &self.choice)?;
        if plan.is_empty() {
            return Ok(self.nothing(model, &plan, None));
        }
        let mut probe = self
            .calibration
            .probe(model, &*self.engine, &|sample| affordable(model, sample, TRIED_MACS, FEW, TRIED))?;
        // Otherwise they are the first of those that statistics are gathered of.
        let is_apart = probe.tried.is_empty();
        if is_apart {
            probe.tried.clone_from(&probe.held_out);
        }
        let paying = |model: &Model, unfit: &FxHashSet<ValueId>, everywhere: bool| {
            let run = probe.tried.first().map(|feed| run_of(model, feed));
            let paying = Paying {
                graph: &model.graph,
                run: run.as_ref(),
                policy: &self.policy,
                opset: model.opset(),
                choice: &self.choice,
                everywhere,
            };
            paying.place(unfit)
        };
        let measurement = match &self.race {
            None => None,
            Some(race) => {
                let place = |unfit: &FxHashSet<ValueId>, everywhere| Ok(paying(model, unfit, everywhere)?);
                Some(measure(race, model, &probe, &*self.engine, &place)?)
            }
        };
        let extent = measurement.as_ref().map(|measurement| measurement.kept);
        let everywhere = extent.map_or(self.everywhere, |extent| extent == Extent::Everywhere);
        let (plan, mut estimate) = paying(model, &FxHashSet::default(), everywhere)?;
        if let Some(measurement) = measurement.as_ref().filter(|m| m.kept == Extent::Nowhere) {
            let mut summary = self.nothing(model, &Plan::default(), None);
            summary.notes = vec![format!("INTEGERS DO NOT PAY HERE: {}", measurement.told())];
            return Ok(Summary { estimate, measurement: Some(measurement.clone()), ..summary });
        }
        if plan.is_empty() {
            return Ok(self.nothing(model, &plan, estimate));
        }
        let mut known = self.known(model, &plan, given, tell)?;
        let held = &probe.held_out;
        // What is loaded for the first of the runs makes the others as well, as long as the model stays as it is.
        let mut begun = None;
        let mut first = match (&known, held.is_empty()) {
            (Some(known), _) => known.clone(),
            (None, false) => {
                let of_plan = wanted(&model.graph, &plan, Wanted::only([]));
                let shown = begun.insert(shown(model, &of_plan, &*self.engine)?);
                shown.add(&mut probe.tried.iter().cloned().map(Ok), &|_| {}).map_err(CalibrationError::from)?;
                shown.so_far()
            }
            (None, true) => return Err(CalibrationError::Nothing.into()),
        };
        let mut replaced = |model: &Model, plan: Plan, gathered: &Gathered| match unfit(&model.graph, gathered) {
            unfit if unfit.is_empty() => Ok(plan),
            unfit => paying(model, &unfit, everywhere).map(|(plan, new)| {
                estimate = new;
                plan
            }),
        };
        let is_first = !is_apart && unfit(&model.graph, &first).is_empty();
        let plan = replaced(model, plan, &first)?;
        let float = model.clone();
        let mut corrections = Vec::new();
        let mut notes = probe.notes.clone();
        let mut samples_left = 0;
        let bounded = |(macs, least): (u64, u64)| match held.first() {
            Some(sample) => affordable(&float, sample, macs, least, u64::MAX).min(held.len()),
            None => 0,
        };
        let bench = match held.is_empty() {
            true => None,
            false => {
                let stepped = stepped(&float, &held[0], probe.tried.len());
                let judged = bounded(JUDGED);
                let (macs, most) = RANGED;
                // Without a method that is given, and where there are others than those held out.
                let further = match is_apart || self.method.is_some() {
                    true => 0,
                    false => affordable(&float, &held[0], macs, 1, most).saturating_sub(judged),
                };
                let is_free = self.bounds == Bounds::default() && !self.calibration.verifies;
                let proven = if is_free { bounded(PROVEN).max(judged) } else { held.len() };
                let limits = Limits { judged, proven, further, stepped };
                let setting =
                    Setting { engine: &*self.engine, probe: &probe, plan: &plan, without: &self.without, limits };
                Some(match &mut begun {
                    Some(shown) => Bench::with(&float, setting, shown)?,
                    None => Bench::new(&float, setting)?,
                })
            }
        };
        match &bench {
            None => notes.push("without samples nothing was corrected, and nothing is known of the result".into()),
            // Statistics from files are of the model as it was.
            Some(_) if !self.calibration.stats.is_empty() => {}
            Some(bench) => {
                let ranges = Ranges::Method(self.method.unwrap_or(Method::MinMax));
                bench.equalize(model, &mut first, ranges, &mut corrections)?;
                if corrections.iter().any(|step| step.kept) {
                    (known, begun) = (None, None);
                }
            }
        }
        let gathered = match known {
            Some(known) => known,
            None => {
                let engine = &*self.engine;
                let macs = probe.tried.first().and_then(|sample| census::macs(&run_of(model, sample)));
                let early = Early { first: probe.tried.len(), macs: macs.unwrap_or(0) };
                // A method that was asked for has them all.
                let early = self.method.is_none().then_some(early);
                let runs = match begun.filter(|_| is_first) {
                    Some(begun) => self.calibration.gathered_on(begun, model, engine, tell, early)?,
                    None => {
                        let wanted = wanted(&model.graph, &plan, Wanted::only([]));
                        let before = is_first.then_some(first);
                        self.calibration.gathered(model, &wanted, engine, tell, before, early)?
                    }
                };
                notes.extend(runs.note());
                samples_left = runs.samples.saturating_sub(runs.gathered.runs);
                runs.gathered
            }
        };
        let plan = replaced(model, plan.clone(), &gathered)?;
        let plan = plan.evened(&model.graph, &gathered).searched(&model.graph);
        notes.extend(match &measurement {
            Some(measurement) => Some(measurement.told()),
            None => estimate.as_ref().and_then(told),
        });
        // Computes the same as the float model, and its tensors are those of the result.
        let equalized = model.clone();
        let bench = bench.as_ref().map(|bench| bench.planned(&plan));
        let (scales, known) = match (&bench, self.method) {
            (Some(bench), None) => {
                let (scales, known, _) = bench.choose_ranges(model, &gathered, &mut corrections)?;
                (scales, known)
            }
            (_, method) => (scales(&model.graph, &plan, &gathered, method.unwrap_or(Method::MinMax))?, None),
        };
        let proven = bench.as_ref().map_or(0, |bench| bench.outputs().len());
        let placement = Placement::of(&model.graph, &self.policy, &plan, &scales);
        let written = |model: &Model| -> Result<(Model, Given), QuantizeError> {
            let mut model = model.clone();
            emit(&mut model.graph, &plan, &scales)?;
            let Some(bench) = &bench else { return Ok((model, Given::default())) };
            let (beside, nodes) = (bench.scores_in(&model.graph), integer_nodes(&model));
            let feeds = (&held[..proven], bounded(LAYERED));
            let given = given_with_layers(&equalized, (&model, &beside), &nodes, feeds, &*self.engine)?;
            Ok((model, given))
        };
        let mut result = None;
        match &bench {
            None => {}
            Some(bench) if !bench.is_long() => {
                bench.correct_biases(model, &gathered, &scales, known, &mut corrections)?;
            }
            // The result is run anyway, and tells how good the biases are.
            Some(bench) => {
                if let Some((changed, changes)) = bench.with_biases(model, &gathered) {
                    let before = match known {
                        Some(known) => known,
                        None => bench.quantized(model, &scales)?,
                    };
                    let (with, mut given) = written(&changed)?;
                    let step = bench.told_of_biases(before, std::mem::take(&mut given.beside), changes)?;
                    result = step.kept.then_some((with, given));
                    corrections.push(step);
                }
            }
        }
        let (with, given) = match result {
            Some(result) => result,
            None => written(model)?,
        };
        *model = with;
        // Nothing is known without samples, and nothing is said.
        let outputs = match &bench {
            None if self.bounds != Bounds::default() => return Err(OutOfBounds::NothingToCompare.into()),
            None => Vec::new(),
            Some(bench) => compare_outputs(&float, bench.outputs(), &given.outputs),
        };
        self.bounds.check(&outputs)?;
        Ok(Summary {
            tensors: plan.sites.len(),
            weights: plan.weights.len(),
            samples: gathered.runs,
            samples_left,
            made_up: gathered.made_up,
            corrections,
            placement,
            estimate,
            measurement,
            coverage: coverage(&held.first().map_or_else(|| model.graph.clone(), |feed| run_of(model, feed))),
            measured: Measured { held_out: proven, outputs },
            layers: given.layers,
            notes,
        })
    }

    /// What there is to say where nothing gets integers.
    fn nothing(&self, model: &Model, plan: &Plan, estimate: Option<Estimate>) -> Summary {
        let is_done = plan.already > 0 && plan.kept.iter().all(|kept| kept.rule.is_empty());
        let lost = estimate.as_ref().filter(|estimate| estimate.taken_out > 0);
        let note = match lost {
            _ if is_done => "the model has integers already, and is left as it is".to_string(),
            Some(Estimate { float_ns, everywhere_ns, .. }) => format!(
                "INTEGERS DO NOT PAY HERE: a run would take about {:.0} µs with them and {:.0} µs without, so the \
                 result computes in real numbers; --quantize-all gives it integers all the same",
                everywhere_ns / 1000.0,
                float_ns / 1000.0
            ),
            None => "nothing of the model gets integers; the report says why of each operator".to_string(),
        };
        let placement = Placement::of(&model.graph, &self.policy, plan, &BTreeMap::new());
        let coverage = coverage(&model.graph);
        Summary { placement, estimate, coverage, notes: vec![note], ..Summary::default() }
    }

    /// What is known of `model`'s tensors beforehand: from files, or because it is to be written to one.
    fn known(
        &self,
        model: &Model,
        plan: &Plan,
        given: Option<&Fingerprint>,
        tell: &dyn Fn(u64, u64),
    ) -> Result<Option<Gathered>, CalibrationError> {
        let Some(given) = given else { return Ok(None) };
        let gathered = match self.calibration.saved(given)? {
            Some(saved) => saved,
            // Another target may want other tensors.
            None => {
                let wanted = wanted(&model.graph, plan, Wanted::all());
                self.calibration.gathered(model, &wanted, &*self.engine, tell, None, None)?.gathered
            }
        };
        self.calibration.save(given, &gathered)?;
        Ok(Some(gathered))
    }
}
