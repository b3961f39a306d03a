//! Corrections that make integers lose less, without training.
//!
//! Each is a step of its own with a name, can be left out by that name, and is kept only where outputs on samples that
//! no range was chosen from come closer to those of the model in real numbers.
//!
//! | step | what it does |
//! | --- | --- |
//! | `equalize-channels` | channels between layers get ranges alike |
//! | `smooth-activations` | so do those behind normalizations |
//! | `choose-ranges` | ranges cut off as much as outputs are better for |
//! | `correct-biases` | biases take back what rounding weights adds to the mean of outputs |

mod bench;
mod biases;
mod classes;
mod equalize;
mod factors;
mod in_order;
mod judge;
mod simulation;
#[cfg(all(test, feature = "tract"))]
mod tests;

use serde::Serialize;

pub use bench::{Bench, Limits, Setting};
pub use simulation::Scales;

use crate::calibrate::{CalibrationError, Gathered, Gathering, Probe, Wanted, gather};
use crate::exec::Executor;
use crate::ir::{Graph, ScopeId, ValueId};
use crate::model::Model;
use crate::ops::{CallView, Channels, def};
use crate::quality::loss::scores;
use crate::quantize::correct::equalize::measures;
use crate::quantize::{Plan, WeightSite};

/// What one correction brought.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The correction.
    pub name: &'static str,
    /// How close outputs were before it: their signal to quantization noise ratio in dB, the mean of samples and outputs.
    pub before: f64,
    /// And with it.
    pub after: f64,
    /// Whether it was kept: it made outputs better.
    pub kept: bool,
    /// How many places it changed.
    pub changes: usize,
}

/// `model` with `values` for its outputs.
fn giving(model: &Model, values: &[ValueId]) -> Model {
    let mut model = model.clone();
    for (index, &value) in values.iter().enumerate() {
        if model.graph.has_value(value) {
            model.graph.set_output(ScopeId::MAIN, index, value);
        }
    }
    model.graph.remove_dead();
    model
}

/// `float`, loaded to see what is `wanted` of it; beside that it gives its outputs, and then what is compared of each.
pub(crate) fn shown<'e>(
    float: &Model,
    wanted: &Wanted,
    engine: &'e dyn Executor,
) -> Result<Gathering<'e>, CalibrationError> {
    let outputs = float.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value);
    let beside: Vec<ValueId> = outputs.chain(scores(&float.graph)).collect();
    Ok(Gathering::new(float, wanted, &beside, engine, Gathered::default())?)
}

/// What the tensors of `plan` hold in `float`, on the few samples that corrections are tried on.
///
/// # Errors
/// When the engine cannot run it.
pub fn seen(float: &Model, plan: &Plan, probe: &Probe, engine: &dyn Executor) -> Result<Gathered, CalibrationError> {
    let wanted = wanted(&float.graph, plan, Wanted::only([]));
    Ok(gather(float, &wanted, &mut probe.tried.iter().cloned().map(Ok), engine, &|_| {}, Gathered::default())?)
}

/// `wanted` and what corrections and scales of `plan` need.
pub fn wanted(graph: &Graph, plan: &Plan, wanted: Wanted) -> Wanted {
    let wanted = plan.sites.iter().fold(wanted, |wanted, site| wanted.with(site.value));
    let measured = measures(graph, plan);
    channels_of_layers(graph, plan)
        .into_iter()
        .chain(measured)
        .fold(wanted, |wanted, (value, axis)| wanted.with_channels(value, i64::try_from(axis).unwrap_or_default()))
}

/// What the plan's layers read, with the axis of its channels.
fn channels_of_layers(graph: &Graph, plan: &Plan) -> Vec<(ValueId, usize)> {
    let layer = |site: &WeightSite| {
        let call = CallView::new(graph, site.node);
        let Channels::Mixed { weight, input, .. } = (def(call.node().op).channels)(&call) else { return None };
        call.operand(input.0).filter(|_| weight == site.slot).map(|value| (value, input.1))
    };
    let mut found: Vec<(ValueId, usize)> = plan.weights.iter().filter_map(layer).collect();
    found.sort_unstable();
    found.dedup_by_key(|(value, _)| *value);
    found
}
