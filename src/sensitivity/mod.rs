//! What each layer of a model loses by computing in fewer bits, as the model's outputs tell it.
//!
//! ```text
//! Model ─ ground (one pass over the samples: ranges, what fits halves) ─▶ layers × precisions ─ meter ─▶ losses
//! ```
//!
//! One layer at a time gets the numbers that it would have in a precision, and the rest of the model runs on from there;
//! the loss is what outputs lose by that. Measured on small and large networks: losses of layers are close to additive,
//! so sums of them say what a model loses with several layers changed; how far a layer's weights are from what they were
//! says nothing of it, or the opposite.

mod cache;
pub(crate) mod dress;
pub(crate) mod ground;
pub(crate) mod layer;
pub(crate) mod measure;
pub(crate) mod meter;
pub(crate) mod packed;
pub mod plot;
mod precision;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;

pub use cache::CacheError;
pub use measure::Measure;
pub use meter::Effect;
pub use precision::Precision;

use crate::calibrate::{Calibration, Sample};
use crate::choice::Choice;
use crate::exec::stepper::held_bytes;
use crate::exec::{Cannot, Executor};
use crate::model::Model;
use crate::precision::Halver;
use crate::quality::loss::Heads;
use crate::quantize::QuantizeError;
use crate::quantize::quantizer::affordable;
use crate::sensitivity::cache::Cache;
use crate::sensitivity::ground::Ground;
use crate::sensitivity::layer::{Layer, layers};
use crate::sensitivity::meter::{Effects, Effort, Meter};
use crate::target::{Policy, Profile};

/// Says how layers are measured; [`Sensitivity::run`] does it.
#[derive(Clone)]
pub struct Sensitivity {
    /// What will run the model.
    pub target: &'static Profile,
    /// How it wants its integers.
    pub policy: Policy,
    /// Precisions that are tried, as far as the target has them for a layer.
    pub candidates: Vec<Precision>,
    /// Which layers.
    pub choice: Choice,
    /// Samples to run.
    pub calibration: Calibration,
    /// What runs the model.
    pub engine: Arc<dyn Executor>,
    /// What a loss is.
    pub measure: Measure,
    /// Where to keep what was measured.
    pub cache: Option<PathBuf>,
}

/// Why layers are not measured.
#[derive(Debug, thiserror::Error)]
pub enum SensitivityError {
    /// Nothing is known of the model's tensors.
    #[error(transparent)]
    Ground(#[from] QuantizeError),
    /// It does not run.
    #[error(transparent)]
    Run(#[from] Cannot),
    /// The file for what was measured cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// There is nothing to measure.
    #[error(
        "the model has no layers: nothing multiplies by weights or two computed tensors, or looks up rows of a table"
    )]
    NoLayers,
    /// There is nothing to tell losses by.
    #[error("the model has no outputs of floats to tell losses by")]
    NoOutputs,
}

impl SensitivityError {
    /// What to try next, where that is known and not said already.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            SensitivityError::NoLayers => Some("--precision fp16 takes whatever calls there are"),
            SensitivityError::NoOutputs => {
                Some("--outputs NAME ends the model at a tensor of floats; --precision int4 needs no losses")
            }
            SensitivityError::Ground(_) | SensitivityError::Run(_) | SensitivityError::Cache(_) => None,
        }
    }
}

/// What was measured of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// The node's name, or its first result's.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Multiply-accumulates of a run.
    pub macs: u64,
    /// Elements of its weights.
    pub weights: u64,
    /// What each precision does.
    pub effects: BTreeMap<Precision, Effect>,
    /// Precisions that it cannot have, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub without: BTreeMap<Precision, String>,
}

impl LayerReport {
    /// The largest loss among precisions.
    pub fn worst(&self) -> f64 {
        self.effects.values().map(|effect| effect.loss).fold(0.0, f64::max)
    }
}

/// What was measured of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What a loss is: `kl`, `nmse` or both.
    pub measure: &'static str,
    /// The layers, the most sensitive first.
    pub layers: Vec<LayerReport>,
    /// Samples that each layer was measured on.
    pub samples: usize,
    /// Samples were made up: what was measured is not real.
    pub made_up: bool,
    /// Runs of the whole model on one sample that measuring took, by multiply-accumulates.
    pub forwards: f64,
    /// Runs on samples before that: statistics, ranges.
    pub ground_runs: u64,
    /// Candidates so close that nothing behind their layer was run.
    pub skipped: usize,
    /// Seconds of one pass over the samples that statistics are gathered of.
    pub pass_seconds: f64,
    /// Seconds of everything.
    pub seconds: f64,
    /// What there is to say of the samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Samples that layers are measured on at the most, and at the least where there are that many.
const SAMPLES: (u64, u64) = (16, 4);

/// Multiply-accumulates of a run on all of them, for models of many multiplications.
const MACS: u64 = 64_000_000_000;

/// Bytes of tensors that are held for a layer that is measured.
const BYTES: u128 = 256 << 20;

/// Everything that was measured of a model.
pub(crate) struct Measured {
    pub ground: Ground,
    pub layers: Vec<Layer>,
    /// By layer: what it may compute in.
    pub candidates: Vec<Vec<Precision>>,
    pub effects: Vec<Effects>,
    pub heads: Heads,
    pub effort: Effort,
    pub samples: usize,
}

impl Sensitivity {
    /// Measure the layers of `model`, of which shapes have been inferred. `tell` hears how many runs on samples of how
    /// many are done, and then how many layers.
    ///
    /// # Errors
    /// When samples cannot be read, the model cannot be run, or it has no layers.
    pub fn run(&self, model: &Model, tell: &dyn Fn(u64, u64)) -> Result<Summary, SensitivityError> {
        let start = Instant::now();
        let measured = self.measured(model, tell, true)?;
        let mut reports = measured.reports();
        reports.sort_by(|a, b| b.worst().total_cmp(&a.worst()));
        let made_up = Ground::is_made_up(self);
        let Measured { ground, heads, effort, samples, .. } = measured;
        Ok(Summary {
            measure: match self.measure {
                Measure::Local => "local",
                Measure::Weights => "weights",
                Measure::Auto | Measure::Kl | Measure::Nmse => heads.name(),
            },
            layers: reports,
            samples,
            made_up,
            forwards: effort.forwards,
            ground_runs: ground.runs,
            skipped: effort.skipped,
            pass_seconds: ground.pass_seconds,
            seconds: start.elapsed().as_secs_f64(),
            notes: ground.probe.notes,
        })
    }

    /// The opset in which a model of opset `from` may have all candidates that the target has.
    pub fn opset_for(&self, from: i64) -> i64 {
        let few = self.candidates.iter().filter_map(|precision| precision.few_bits());
        let few = few.map(|integers| self.packer(integers).opset_for(from)).fold(from, i64::max);
        let halves = self.candidates.iter().filter_map(|precision| precision.half());
        halves.map(|half| Halver::new(half, self.engine.clone()).opset_for(from)).fold(few, i64::max)
    }

    /// Measure the layers of `model`; find out no more than what they can have, where no `effects` are wanted.
    ///
    /// # Errors
    /// As [`Sensitivity::run`].
    pub(crate) fn measured(
        &self,
        model: &Model,
        tell: &dyn Fn(u64, u64),
        effects: bool,
    ) -> Result<Measured, SensitivityError> {
        let mut measured = self.prepared(model, tell)?;
        if effects {
            self.measure(&mut measured, SAMPLES.0)?;
        }
        Ok(measured)
    }

    /// What layers of `model` can have; nothing is measured of them.
    ///
    /// # Errors
    /// As [`Sensitivity::run`].
    pub(crate) fn prepared(&self, model: &Model, tell: &dyn Fn(u64, u64)) -> Result<Measured, SensitivityError> {
        // Nothing is run for nothing.
        if layers(model, None).is_empty() {
            return Err(SensitivityError::NoLayers);
        }
        let ground = Ground::of(self, model, tell)?;
        let feed = ground.probe.tried.first().map(|sample| &**sample);
        let layers = layers(&ground.model, feed);
        if layers.is_empty() {
            return Err(SensitivityError::NoLayers);
        }
        let heads = self.measure.heads(&ground.model);
        if heads.values().is_empty() {
            return Err(SensitivityError::NoOutputs);
        }
        let candidates: Vec<Vec<Precision>> = layers
            .iter()
            .map(|layer| self.candidates.iter().copied().filter(|p| ground.refuses(layer, *p).is_none()).collect())
            .collect();
        let effects = vec![Effects::new(); layers.len()];
        Ok(Measured { ground, layers, candidates, effects, heads, effort: Effort::default(), samples: 0 })
    }

    /// Measure each layer on no more than `most` of the samples to try things on, the first of these.
    ///
    /// # Errors
    /// When the model cannot be run, or the cache not be used.
    pub(crate) fn measure(&self, measured: &mut Measured, most: u64) -> Result<(), SensitivityError> {
        let Measured { ground, layers, heads, candidates, .. } = &*measured;
        let samples = samples(&ground.model, &ground.probe.tried, self.candidates.len(), most);
        let cache = match &self.cache {
            Some(file) => {
                Some(Mutex::new(Cache::open(file, cache::key(ground, samples, self.measure, self.target.name))?))
            }
            None => None,
        };
        let known = match &cache {
            Some(cache) => cache.lock().unwrap_or_else(PoisonError::into_inner).known(layers.len()),
            None => Vec::new(),
        };
        let failed: Mutex<Option<CacheError>> = Mutex::new(None);
        let keep = |layer: usize, effects: &Effects| {
            let Some(cache) = &cache else { return };
            let kept = cache.lock().unwrap_or_else(PoisonError::into_inner).add(layer, effects);
            if let Err(error) = kept {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        };
        let meter = Meter { engine: &*self.engine, ground, layers, samples, measure: self.measure, heads };
        let (effects, effort) = meter.measure(candidates, &known, &keep)?;
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error.into());
        }
        (measured.effects, measured.effort, measured.samples) = (effects, effort, samples);
        Ok(())
    }
}

impl Measured {
    /// What was measured of each layer, in the order of the model.
    pub(crate) fn reports(&self) -> Vec<LayerReport> {
        let report = |(layer, effects): (&Layer, &Effects)| LayerReport {
            node: layer.name.clone(),
            op: layer.op.name().to_string(),
            macs: layer.macs,
            weights: layer.elements(),
            effects: effects.clone(),
            without: Precision::ALL.into_iter().filter_map(|p| Some((p, self.ground.refuses(layer, p)?))).collect(),
        };
        self.layers.iter().zip(&self.effects).map(report).collect()
    }
}

/// How many of the samples to try things on each layer is measured on.
fn samples(model: &Model, tried: &[Sample], candidates: usize, most: u64) -> usize {
    let Some(first) = tried.first() else { return 0 };
    let least = SAMPLES.1;
    let fit =
        usize::try_from(BYTES / ((candidates as u128 + 1) * held_bytes(model, first)).max(1)).unwrap_or(usize::MAX);
    affordable(model, first, MACS, least, most).min(fit).max(1).min(tried.len())
}

#[cfg(all(test, feature = "tract"))]
pub(crate) mod tests;
