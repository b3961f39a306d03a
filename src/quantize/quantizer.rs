//! From a model in real numbers and samples to a model in integers, and what that costs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::calibrate::{Feed, GatherError, Method, gather};
use crate::exec::demand::run_of;
use crate::exec::{Cannot, Data, Executor};
use crate::model::Model;
use crate::quantize::correct::Bench;
use crate::quantize::{
    Choice, ChoiceError, Coverage, Layer, NoStatistics, Placement, Quality, Ranges, Step, compare, coverage, emit,
    in_decibels, integer_nodes, layers, place, scales,
};
use crate::target::Policy;

/// Says how a model gets integers; [`Quantizer::run`] does it.
#[derive(Clone)]
pub struct Quantizer {
    /// How the target wants its integers.
    pub policy: Policy,
    /// What of the model may have them.
    pub choice: Choice,
    /// Samples of the model's inputs.
    pub data: Data,
    /// Samples that are used at most.
    pub samples: usize,
    /// How ranges are chosen; `None` measures what is best.
    pub method: Option<Method>,
    /// Corrections that are left out, by name.
    pub without: BTreeSet<String>,
    /// What runs the model.
    pub engine: Arc<dyn Executor>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

/// How good a result has to be: what is worse is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Every float output has this signal to quantization noise ratio at the least, in dB.
    pub min_sqnr: Option<f64>,
    /// The largest of a row of scores is another one in this share of the rows at most, in percent.
    pub max_drop: Option<f64>,
}

impl Bounds {
    /// Whether `outputs` are good enough.
    pub(super) fn check(&self, outputs: &[Quality]) -> Result<(), QuantizeError> {
        if let Some(least) = self.min_sqnr {
            let worst = outputs.iter().filter(|q| q.cosine.is_some()).min_by(|a, b| a.sqnr.total_cmp(&b.sqnr));
            if let Some(worst) = worst.filter(|q| q.sqnr < least) {
                return Err(QuantizeError::Noisy { output: worst.output.clone(), sqnr: worst.sqnr, least });
            }
        }
        if let Some(most) = self.max_drop {
            let drops = outputs.iter().filter_map(|q| Some((q, 100.0 * (1.0 - q.agreement?))));
            match drops.max_by(|a, b| a.1.total_cmp(&b.1)) {
                None => return Err(QuantizeError::NoScores),
                Some((q, drop)) if drop > most => {
                    return Err(QuantizeError::Drops { output: q.output.clone(), drop, most });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Why a model does not get integers.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// A pattern matches nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Its tensors are not known.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// A tensor is not known.
    #[error(transparent)]
    NoStatistics(#[from] NoStatistics),
    /// The result does not run.
    #[error("the quantized model does not run: {0}")]
    Run(#[from] Cannot),
    /// An output is further from what it was than it may be.
    #[error("output \"{output}\" is {} beside its quantization noise, and at least {least} dB are asked for", in_decibels(*.sqnr))]
    Noisy {
        /// The output.
        output: String,
        /// What it is, in dB.
        sqnr: f64,
        /// What was asked for, in dB.
        least: f64,
    },
    /// Too many rows of scores have another largest.
    #[error("output \"{output}\" says something else in {drop:.1} % of the samples, and at most {most} % may")]
    Drops {
        /// The output.
        output: String,
        /// In how many, in percent.
        drop: f64,
        /// In how many it may, in percent.
        most: f64,
    },
    /// Bounds were given, and no samples to keep them on.
    #[error("--min-sqnr and --max-drop need samples to compare float model and result on: --calib PLACE")]
    NothingToCompare,
    /// It was asked what scores say, and there are none.
    #[error(
        "no output looks like the scores of classes: a float tensor of two axes, the last of more than one element"
    )]
    NoScores,
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
    /// What has integers and what not, and why.
    pub placement: Placement,
    /// What corrections brought.
    pub corrections: Vec<Step>,
    /// Samples that float model and result were both run on.
    pub held_out: usize,
    /// How much of the result is computed in integers, with the sizes of the first sample.
    pub coverage: Coverage,
    /// How far outputs are from those of the model in real numbers.
    pub outputs: Vec<Quality>,
    /// The layers in integers whose results are furthest from what they were, the worst first.
    pub layers: Vec<Layer>,
}

/// Samples that are kept apart to measure with.
const HELD_OUT: usize = 8;

/// Samples that corrections are made from, at most.
const PROBE: usize = 64;

/// Bytes of samples that are held in memory for corrections.
const PROBE_BYTES: usize = 64 << 20;

impl Quantizer {
    /// Give `model` integers.
    ///
    /// # Errors
    /// When samples cannot be read, or a model cannot be run on them.
    pub fn run(&self, model: &mut Model) -> Result<Summary, QuantizeError> {
        let plan = place(&model.graph, &self.policy, model.opset(), &self.choice)?;
        if plan.is_empty() {
            if plan.already > 0 && plan.kept.iter().all(|kept| kept.rule.is_empty()) {
                model.notes.push("the model has integers already, and is left as it is".into());
            } else {
                model.notes.push("nothing of the model gets integers; the report says why of each operator".into());
            }
            let placement = Placement::of(&model.graph, &self.policy, &plan, &std::collections::BTreeMap::new());
            return Ok(Summary { placement, ..Summary::default() });
        }
        let mut feeds = self.data.samples(model).map_err(GatherError::from)?;
        let mut held: Vec<Feed> = Vec::new();
        let mut probe: Vec<Feed> = Vec::new();
        let mut bytes = 0;
        while held.len() + probe.len() < self.samples.min(HELD_OUT + PROBE) && (bytes < PROBE_BYTES || probe.is_empty())
        {
            let Some(feed) = feeds.next() else { break };
            let feed = feed.map_err(GatherError::from)?;
            bytes += feed.iter().map(|(_, tensor)| tensor.stored_bytes()).sum::<usize>();
            if held.len() < HELD_OUT { held.push(feed) } else { probe.push(feed) }
        }
        // Few samples serve for both.
        if probe.len() < held.len() {
            probe.extend(held.iter().cloned());
        }
        let float = model.clone();
        let bench = Bench::new(&float, &*self.engine, [&probe, &held], &plan, &self.without)?;
        let mut corrections = Vec::new();
        let mut gathered = bench.equalize(model, &mut corrections)?;
        // Computes the same as the float model, and its tensors are those of the result.
        let equalized = model.clone();
        let used = held.len() + probe.len();
        let mut rest = feeds.take(self.samples.saturating_sub(used)).peekable();
        if rest.peek().is_some() {
            gathered.merge(&gather(model, &mut rest, &*self.engine, &|_| {})?);
        }
        let ranges = match self.method {
            Some(method) => Ranges::Method(method),
            None => bench.choose_ranges(model, &gathered, &mut corrections)?,
        };
        bench.correct_biases(model, &gathered, ranges, &mut corrections)?;
        let scales = scales(&model.graph, &plan, &gathered, ranges)?;
        let placement = Placement::of(&model.graph, &self.policy, &plan, &scales);
        emit(&mut model.graph, &plan, &scales)?;
        let outputs = compare(&float, model, &held, &*self.engine)?;
        self.bounds.check(&outputs)?;
        Ok(Summary {
            tensors: plan.sites.len(),
            weights: plan.weights.len(),
            samples: gathered.runs,
            placement,
            corrections,
            held_out: held.len(),
            coverage: coverage(&held.first().map_or_else(|| model.graph.clone(), |feed| run_of(model, feed))),
            outputs,
            layers: layers(&equalized, model, &integer_nodes(model), &held, &*self.engine)?,
        })
    }
}
