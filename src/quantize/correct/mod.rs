//! Corrections that make integers lose less, without training.
//!
//! Each is a step of its own with a name, can be left out by that name, and is kept only where outputs on samples that
//! no range was chosen from come closer to those of the model in real numbers.
//!
//! | step | what it does |
//! | --- | --- |
//! | `equalize-channels` | channels between layers get ranges alike |
//! | `smooth-activations` | so do those behind normalizations |

mod classes;
mod equalize;
mod factors;
mod observe;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::calibrate::{CalibrationError, Method, Sample, Wanted, gather};
use crate::exec::{Cannot, Executor};
use crate::ir::Tensor;
use crate::model::Model;
use crate::quantize::correct::equalize::{Kind, equalize};
use crate::quantize::{Plan, QuantizeError, emit, scales};

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
    /// Samples that corrections are made from.
    pub probe: &'a [Sample],
    /// Samples that they are measured on.
    pub held: &'a [Sample],
    /// The outputs of the model in real numbers on those.
    reference: Vec<Vec<Tensor>>,
    /// What gets integers.
    plan: &'a dyn Fn(&Model) -> Plan,
    /// How ranges are chosen.
    method: Method,
    /// Corrections that are left out.
    without: &'a BTreeSet<String>,
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
        [probe, held]: [&'a [Sample]; 2],
        plan: &'a dyn Fn(&Model) -> Plan,
        method: Method,
        without: &'a BTreeSet<String>,
    ) -> Result<Bench<'a>, Cannot> {
        let mut session = engine.load(float)?;
        let reference = held.iter().map(|feed| session.run(feed)).collect::<Result<_, _>>()?;
        Ok(Bench { engine, probe, held, reference, plan, method, without })
    }

    /// How close the outputs of `integer` are to those of the model in real numbers: the mean over outputs of signal
    /// over noise, in dB.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub fn sqnr(&self, integer: &Model) -> Result<f64, Cannot> {
        let mut session = self.engine.load(integer)?;
        let mut powers: Vec<(f64, f64)> = Vec::new();
        for (feed, reference) in self.held.iter().zip(&self.reference) {
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

    /// How good `float` is with the plan's integers and ranges from the samples for corrections.
    fn quantized(&self, float: &Model) -> Result<f64, QuantizeError> {
        let plan = (self.plan)(float);
        let wanted = Wanted::only(plan.sites.iter().map(|site| site.value));
        let mut samples = self.probe.iter().cloned().map(Ok);
        let gathered = gather(float, &wanted, &mut samples, self.engine, &|_| {}).map_err(CalibrationError::from)?;
        let scales = scales(&float.graph, &plan, &gathered, self.method)?;
        let mut integer = float.clone();
        emit(&mut integer.graph, &plan, &scales)?;
        Ok(self.sqnr(&integer)?)
    }

    /// Correct the weights of `float`, before ranges are chosen.
    ///
    /// # Errors
    /// When the engine cannot run a model that it could run before.
    pub fn equalized(&self, float: &mut Model) -> Result<Vec<Step>, QuantizeError> {
        let mut steps = Vec::new();
        let mut before = None;
        for (name, kind) in [("equalize-channels", Kind::Channels), ("smooth-activations", Kind::Activations)] {
            if self.without.contains(name) {
                continue;
            }
            let mut changed = float.clone();
            let plan = (self.plan)(&changed);
            let changes = equalize(&mut changed, &plan, kind, self)?;
            if changes == 0 {
                continue;
            }
            let was = match before {
                Some(before) => before,
                None => self.quantized(float)?,
            };
            let after = self.quantized(&changed)?;
            let kept = after > was;
            if kept {
                *float = changed;
            }
            before = Some(was.max(after));
            steps.push(Step { name, before: was, after, kept, changes });
        }
        Ok(steps)
    }
}
