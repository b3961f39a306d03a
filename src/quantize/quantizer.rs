//! From a model in real numbers and samples to a model in integers, and what that costs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::calibrate::{Feed, GatherError, Method, gather};
use crate::exec::{Cannot, Data, Executor};
use crate::model::Model;
use crate::quantize::correct::Bench;
use crate::quantize::{NoStatistics, Quality, Step, compare, emit, place, scales};

/// Says how a model gets integers; [`Quantizer::run`] does it.
#[derive(Clone)]
pub struct Quantizer {
    /// Samples of the model's inputs.
    pub data: Data,
    /// Samples that are used at most.
    pub samples: usize,
    /// How ranges are chosen.
    pub method: Method,
    /// Corrections that are left out, by name.
    pub without: BTreeSet<String>,
    /// What runs the model.
    pub engine: Arc<dyn Executor>,
}

/// Why a model does not get integers.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// Its tensors are not known.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// A tensor is not known.
    #[error(transparent)]
    NoStatistics(#[from] NoStatistics),
    /// The result does not run.
    #[error("the quantized model does not run: {0}")]
    Run(#[from] Cannot),
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
    /// What corrections brought.
    pub corrections: Vec<Step>,
    /// How far outputs are from those of the model in real numbers.
    pub outputs: Vec<Quality>,
}

/// Samples that are kept apart to measure with.
const HELD_OUT: usize = 8;

/// Samples that corrections are made from.
const PROBE: usize = 16;

impl Quantizer {
    /// Give `model` integers.
    ///
    /// # Errors
    /// When samples cannot be read, or a model cannot be run on them.
    pub fn run(&self, model: &mut Model) -> Result<Summary, QuantizeError> {
        let mut feeds = self.data.samples(model).map_err(GatherError::from)?;
        let mut take = |count| -> Result<Vec<Feed>, GatherError> {
            feeds.by_ref().take(count).collect::<Result<_, _>>().map_err(GatherError::from)
        };
        let held = take(HELD_OUT)?;
        let probe = take(PROBE.min(self.samples.saturating_sub(HELD_OUT)))?;
        let float = model.clone();
        let plan = |model: &Model| place(&model.graph);
        let probe = if probe.is_empty() { held.clone() } else { probe };
        let bench = Bench::new(&float, &*self.engine, [&probe, &held], &plan, self.method, &self.without)?;
        let corrections = bench.equalized(model)?;
        let first = held.iter().chain(&probe).cloned().map(Ok);
        let mut all = first.chain(feeds).take(self.samples);
        let gathered = gather(model, &mut all, &*self.engine, &|_| {})?;
        let plan = plan(model);
        let scales = scales(&model.graph, &plan, &gathered, self.method)?;
        emit(&mut model.graph, &plan, &scales)?;
        let outputs = compare(&float, model, &held, &*self.engine)?;
        Ok(Summary {
            tensors: plan.sites.len(),
            weights: plan.weights.len(),
            samples: gathered.runs,
            corrections,
            outputs,
        })
    }
}
