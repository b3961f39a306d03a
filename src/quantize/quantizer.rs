//! From a model in real numbers and samples to a model in integers, and what that costs.

use std::sync::Arc;

use serde::Serialize;

use crate::calibrate::{Feed, GatherError, Method, gather};
use crate::exec::{Cannot, Data, Executor};
use crate::model::Model;
use crate::quantize::{NoStatistics, Quality, compare, emit, place, scales};

/// Says how a model gets integers; [`Quantizer::run`] does it.
#[derive(Clone)]
pub struct Quantizer {
    /// Samples of the model's inputs.
    pub data: Data,
    /// Samples that are used at most.
    pub samples: usize,
    /// How ranges are chosen.
    pub method: Method,
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
    /// How far outputs are from those of the model in real numbers.
    pub outputs: Vec<Quality>,
}

/// Samples that are kept apart to measure with.
const HELD_OUT: usize = 8;

impl Quantizer {
    /// Give `model` integers.
    ///
    /// # Errors
    /// When samples cannot be read, or a model cannot be run on them.
    pub fn run(&self, model: &mut Model) -> Result<Summary, QuantizeError> {
        let mut feeds = self.data.samples(model).map_err(GatherError::from)?;
        let held: Vec<Feed> = feeds.by_ref().take(HELD_OUT).collect::<Result<_, _>>().map_err(GatherError::from)?;
        let mut rest = held.clone().into_iter().map(Ok).chain(feeds).take(self.samples);
        let gathered = gather(model, &mut rest, &*self.engine, &|_| {})?;
        let plan = place(&model.graph);
        let scales = scales(&model.graph, &plan, &gathered, self.method)?;
        let float = model.clone();
        emit(&mut model.graph, &plan, &scales)?;
        let outputs = compare(&float, model, &held, &*self.engine)?;
        Ok(Summary { tensors: plan.sites.len(), weights: plan.weights.len(), samples: gathered.runs, outputs })
    }
}
