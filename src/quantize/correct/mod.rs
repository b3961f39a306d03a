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

mod biases;
mod classes;
mod equalize;
mod factors;
mod observe;
mod ranges;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::calibrate::{Calibration, CalibrationError, Gathered, Probe, Wanted};
use crate::exec::{Cannot, Executor};
use crate::ir::{Graph, Tensor, ValueId};
use crate::model::Model;
use crate::ops::{CallView, Channels, def};
use crate::quantize::correct::biases::correct_biases;
use crate::quantize::correct::equalize::{Kind, equalize};
use crate::quantize::correct::ranges::LADDER;
pub use crate::quantize::correct::ranges::careful;
use crate::quantize::{Plan, QuantizeError, Ranges, WeightSite, emit, scales};

/// What one correction brought.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The correction.
    pub name: &'static str,
    /// The outputs' signal to quantization noise ratio before it in dB, their mean.
    pub before: f64,
    /// And with it.
    pub after: f64,
    /// Whether it was kept: it made outputs better.
    pub kept: bool,
    /// How many places it changed.
    pub changes: usize,
}

/// What corrections are measured with.
pub struct Bench<'a> {
    /// What runs models.
    pub engine: &'a dyn Executor,
    /// Where more is known from of what tensors hold.
    pub calibration: &'a Calibration,
    /// Samples that corrections are made from, and others that they are measured on.
    pub probe: &'a Probe,
    /// What gets integers.
    pub plan: &'a Plan,
    /// Corrections that are left out.
    pub without: &'a BTreeSet<String>,
    /// The outputs of the model in real numbers.
    reference: Vec<Vec<Tensor>>,
}

/// Outputs that are all but equal count as this good, in dB.
const BEST: f64 = 100.0;

impl<'a> Bench<'a> {
    /// A bench for `float`.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub fn new(
        float: &Model,
        engine: &'a dyn Executor,
        calibration: &'a Calibration,
        probe: &'a Probe,
        plan: &'a Plan,
        without: &'a BTreeSet<String>,
    ) -> Result<Bench<'a>, Cannot> {
        let mut session = engine.load(float)?;
        let reference = probe.held_out.iter().map(|feed| session.run(feed)).collect::<Result<_, _>>()?;
        Ok(Bench { engine, calibration, probe, plan, without, reference })
    }

    /// How close the outputs of `integer` are to those of the model in real numbers: the mean over outputs of signal
    /// over noise, in dB.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub fn sqnr(&self, integer: &Model) -> Result<f64, Cannot> {
        let mut session = self.engine.load(integer)?;
        let mut powers: Vec<(f64, f64)> = Vec::new();
        for (feed, reference) in self.probe.held_out.iter().zip(&self.reference) {
            let outputs = session.run(feed)?;
            powers.resize(outputs.len(), (0.0, 0.0));
            for ((x, y), (signal, noise)) in reference.iter().zip(&outputs).zip(&mut powers) {
                let (Some(x), Some(y)) = (x.reals(), y.reals()) else { continue };
                for (x, y) in x.iter().zip(&y).filter(|(x, _)| x.is_finite()) {
                    *signal += x * x;
                    *noise += (x - y) * (x - y);
                }
            }
        }
        let decibels = |(signal, noise): &(f64, f64)| match signal / noise {
            ratio if ratio.is_nan() && *signal == 0.0 && *noise == 0.0 => BEST,
            ratio if ratio.is_nan() => -BEST,
            ratio => (10.0 * ratio.log10()).clamp(-BEST, BEST),
        };
        Ok(powers.iter().map(decibels).sum::<f64>() / powers.len().max(1) as f64)
    }

    /// How good `float` is with the plan's integers and these ranges.
    fn quantized(&self, float: &Model, gathered: &Gathered, ranges: Ranges) -> Result<f64, QuantizeError> {
        let scales = scales(&float.graph, self.plan, gathered, ranges)?;
        let mut integer = float.clone();
        emit(&mut integer.graph, self.plan, &scales)?;
        Ok(self.sqnr(&integer)?)
    }

    /// What the plan's tensors hold in `float`.
    fn seen(&self, float: &Model) -> Result<Gathered, CalibrationError> {
        let wanted = Wanted::only(self.plan.sites.iter().map(|site| site.value));
        let wanted = channels_of_layers(&float.graph, self.plan)
            .into_iter()
            .fold(wanted, |wanted, (value, axis)| wanted.with_channels(value, i64::try_from(axis).unwrap_or_default()));
        self.calibration.gathered(float, &wanted, self.engine, &|_, _| {})
    }

    /// Correct the weights of `float`, whose tensors hold what was `gathered`.
    ///
    /// Nothing is done where statistics come from files: they are of the model as it was.
    ///
    /// # Errors
    /// When the engine cannot run a model that it could run before.
    pub fn equalize(
        &self,
        float: &mut Model,
        gathered: &mut Gathered,
        ranges: Ranges,
        steps: &mut Vec<Step>,
    ) -> Result<(), QuantizeError> {
        if !self.calibration.stats.is_empty() {
            return Ok(());
        }
        let mut before = None;
        for (name, kind) in [("equalize-channels", Kind::Channels), ("smooth-activations", Kind::Activations)] {
            if self.without.contains(name) {
                continue;
            }
            let mut changed = float.clone();
            let changes = equalize(&mut changed, kind, gathered, self)?;
            if changes == 0 {
                continue;
            }
            let was = match before {
                Some(before) => before,
                None => self.quantized(float, gathered, ranges)?,
            };
            let seen = self.seen(&changed)?;
            let after = self.quantized(&changed, &seen, ranges)?;
            let kept = after > was;
            if kept {
                *float = changed;
                *gathered = seen;
            }
            before = Some(was.max(after));
            steps.push(Step { name, before: was, after, kept, changes });
        }
        Ok(())
    }

    /// The ranges that cut off as much as is good for the outputs.
    ///
    /// # Errors
    /// As [`Bench::equalize`].
    pub fn choose_ranges(
        &self,
        float: &Model,
        gathered: &Gathered,
        steps: &mut Vec<Step>,
    ) -> Result<Ranges, QuantizeError> {
        const NAME: &str = "choose-ranges";
        let first = LADDER[0];
        if self.without.contains(NAME) || self.plan.sites.is_empty() {
            return Ok(first);
        }
        let before = self.quantized(float, gathered, first)?;
        let mut best = (before, first);
        for &ranges in &LADDER[1..] {
            let found = self.quantized(float, gathered, ranges)?;
            if found > best.0 {
                best = (found, ranges);
            } else if found < best.0 - SLACK {
                break;
            }
        }
        let kept = best.1 != first;
        steps.push(Step { name: NAME, before, after: best.0, kept, changes: self.plan.sites.len() });
        Ok(best.1)
    }

    /// Correct the biases of `float` for these ranges.
    ///
    /// # Errors
    /// As [`Bench::equalize`].
    pub fn correct_biases(
        &self,
        float: &mut Model,
        gathered: &Gathered,
        ranges: Ranges,
        steps: &mut Vec<Step>,
    ) -> Result<(), QuantizeError> {
        const NAME: &str = "correct-biases";
        if self.without.contains(NAME) {
            return Ok(());
        }
        let mut changed = float.clone();
        let changes = correct_biases(&mut changed, self.plan, gathered);
        if changes == 0 {
            return Ok(());
        }
        let before = self.quantized(float, gathered, ranges)?;
        let after = self.quantized(&changed, gathered, ranges)?;
        let kept = after > before;
        if kept {
            *float = changed;
        }
        steps.push(Step { name: NAME, before, after, kept, changes });
        Ok(())
    }
}

/// What the plan's layers read, with the axis of its channels.
pub fn channels_of_layers(graph: &Graph, plan: &Plan) -> Vec<(ValueId, usize)> {
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

/// The ladder is left where outputs are this much worse than on a rung before, in dB.
const SLACK: f64 = 0.5;
