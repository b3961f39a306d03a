//! From a model in real numbers and samples to a model in integers, and what that costs.

use std::sync::Arc;

use serde::Serialize;

use crate::calibrate::{Feed, GatherError, Method, gather};
use crate::exec::{Cannot, Data, Executor};
use crate::model::Model;
use crate::quantize::{Choice, ChoiceError, NoStatistics, Quality, compare, emit, place, scales, Placement};
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
    /// How ranges are chosen.
    pub method: Method,
    /// What runs the model.
    pub engine: Arc<dyn Executor>,
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
        let held: Vec<Feed> = feeds.by_ref().take(HELD_OUT).collect::<Result<_, _>>().map_err(GatherError::from)?;
        let mut rest = held.clone().into_iter().map(Ok).chain(feeds).take(self.samples);
        let gathered = gather(model, &mut rest, &*self.engine, &|_| {})?;
        let scales = scales(&model.graph, &plan, &gathered, self.method)?;
        let placement = Placement::of(&model.graph, &self.policy, &plan, &scales);
        let float = model.clone();
        emit(&mut model.graph, &plan, &scales)?;
        let outputs = compare(&float, model, &held, &*self.engine)?;
        Ok(Summary { tensors: plan.sites.len(), weights: plan.weights.len(), samples: gathered.runs, placement, outputs })
    }
}
