//! From a model to one with zeros in its weights, layer by layer, and what that costs.

use std::sync::Arc;

use serde::Serialize;

use crate::calibrate::{Calibration, CalibrationError};
use crate::exec::stepper::{Stepper, held_bytes};
use crate::exec::{Cannot, Executor};
use crate::gram::layer::WEIGHT;
use crate::gram::{Patches, Sums};
use crate::ir::ScopeId;
use crate::model::Model;
use crate::quality::{Bounds, Measured, OutOfBounds, compare};
use crate::sparsify::{Pattern, smallest, sweep};

/// Says how weights get zeros; [`Sparsifier::run`] does it.
#[derive(Clone)]
pub struct Sparsifier {
    /// Which.
    pub pattern: Pattern,
    /// Samples; without any, the smallest weights go.
    pub calibration: Calibration,
    /// What runs models.
    pub engine: Arc<dyn Executor>,
    /// How good the result has to be.
    pub bounds: Bounds,
    /// What the target gains from it, in words.
    pub gain: &'static str,
}

/// Why weights do not get zeros.
#[derive(Debug, thiserror::Error)]
pub enum SparsifyError {
    /// Samples cannot be read.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// A model does not run.
    #[error("the sparse model does not run: {0}")]
    Run(#[from] Cannot),
    /// No layer fits the pattern.
    #[error("no layer can have {0} sparse weights{1}")]
    Nothing(Pattern, String),
    /// Quality is not what was asked for.
    #[error(transparent)]
    Bounds(OutOfBounds),
}

/// A layer whose weight has zeros now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The layer.
    pub layer: String,
    /// The share of zeros in its weight.
    pub zeros: f64,
}

/// What became of a model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// How zeros lie.
    pub pattern: String,
    /// Samples that weights were made up for with.
    pub samples: usize,
    /// Layers with zeros.
    pub layers: Vec<Layer>,
    /// Layers without, and why.
    pub left: Vec<(String, &'static str)>,
    /// What the target gains.
    pub gain: &'static str,
    /// How far outputs are from what they were, on samples that both models were run on.
    #[serde(flatten)]
    pub measured: Measured,
}

/// Bytes that tensors of all samples may take.
const MOST_BYTES: u128 = 1 << 30;

/// Rows of patches that a layer is looked at with.
const ROWS: usize = 12_000;

/// Columns whose second moments are held; layers that read more lose their smallest weights.
const MOST_COLUMNS: usize = 8192;

/// Samples that are taken.
const MOST_SAMPLES: usize = 512;

impl Sparsifier {
    /// Give the weights of `model` zeros; `tell` hears how many layers of how many are done.
    ///
    /// # Errors
    /// When no layer fits the pattern, when samples cannot be read or a model cannot be run, and when the result is not
    /// as good as it has to be.
    pub fn run(&self, model: &mut Model, tell: &dyn Fn(u64, u64)) -> Result<Summary, SparsifyError> {
        let mut probe = self.calibration.probe(model, &*self.engine, &|_| MOST_SAMPLES)?;
        if probe.tried.is_empty() {
            probe.tried.clone_from(&probe.held_out);
        }
        let dense = model.clone();
        if let Some(first) = probe.tried.first() {
            let room = usize::try_from(MOST_BYTES / held_bytes(&dense, first).max(1)).unwrap_or(usize::MAX).max(2);
            probe.tried.truncate(room);
        }
        let mut summary = Summary {
            pattern: self.pattern.to_string(),
            samples: probe.tried.len(),
            gain: self.gain,
            ..Summary::default()
        };
        let mut stepper = match probe.tried.is_empty() {
            true => None,
            false => Some(Stepper::new(model, &probe.tried, &*self.engine)?),
        };
        let nodes = model.graph.schedule(ScopeId::MAIN);
        for (done, &node) in nodes.iter().enumerate() {
            tell(done as u64, nodes.len() as u64);
            let Ok(layer) = crate::gram::Layer::of(&model.graph, node) else { continue };
            let label = model.graph.label(node);
            if let Err(why) = self.fits(&layer) {
                summary.left.push((label, why));
                continue;
            }
            let weight = model.graph.operand(node, WEIGHT);
            if weight.is_some_and(|w| model.graph.value(w).users().len() > 1) {
                summary.left.push((label, "others read its weight too"));
                continue;
            }
            let Some(mut matrix) = weight.and_then(|w| layer.matrix(model.graph.constant(w)?)) else { continue };
            let taps = layer.taps.max(1);
            // Kernels lie within channels; runs are along the channels, at one tap of the kernel.
            let columns = layer.columns();
            let order: Vec<usize> = (0..columns).map(|i| i % (columns / taps) * taps + i / (columns / taps)).collect();
            let square = match &mut stepper {
                Some(stepper) if columns <= MOST_COLUMNS && layer.groups == 1 => {
                    stepper.advance_to(model, node)?;
                    let read = stepper.operand(model, node, 0);
                    read.and_then(|read| Patches::of(&layer, read, ROWS, 1)).map(|patches| {
                        let mut sums = Sums::new(columns, 0);
                        for rows in patches.blocks() {
                            let block = patches.block(rows, 0);
                            let nothing = ndarray::Array2::zeros((block.nrows(), 0));
                            sums.add(block, nothing.view());
                        }
                        sums.moments().about_zero().square
                    })
                }
                _ => None,
            };
            let before = matrix.clone();
            let swept = square.and_then(|square| sweep(&mut matrix, &square, self.pattern, &order));
            if swept.is_none() {
                matrix = before;
                smallest(&mut matrix, self.pattern, &order);
            }
            let zeros = matrix.iter().filter(|x| **x == 0.0).count() as f64 / matrix.len().max(1) as f64;
            if layer.put(&mut model.graph, matrix.view(), None).is_some() {
                summary.layers.push(Layer { layer: label, zeros });
            }
        }
        tell(nodes.len() as u64, nodes.len() as u64);
        if summary.layers.is_empty() {
            let why = summary.left.first().map(|(layer, why)| format!(": {layer}: {why}")).unwrap_or_default();
            return Err(SparsifyError::Nothing(self.pattern, why));
        }
        drop(stepper);
        if !probe.held_out.is_empty() {
            let outputs = compare(&dense, model, &probe.held_out, &*self.engine)?;
            summary.measured = Measured { held_out: probe.held_out.len(), outputs };
        }
        self.bounds.check(&summary.measured.outputs).map_err(SparsifyError::Bounds)?;
        Ok(summary)
    }

    /// Whether a layer's weight can have the pattern.
    fn fits(&self, layer: &crate::gram::Layer) -> Result<(), &'static str> {
        let per_group = layer.columns() / layer.taps.max(1);
        match self.pattern {
            // TensorRT's kernels want whole runs of one group; others have nothing for it either.
            Pattern::Structured { of, .. } if layer.groups > 1 || !per_group.is_multiple_of(of) => {
                Err("its input channels are no multiple of the pattern's run")
            }
            Pattern::Structured { .. } | Pattern::Unstructured(_) if per_group < 2 => {
                Err("it is a depthwise convolution")
            }
            _ => Ok(()),
        }
    }
}

impl Summary {
    /// What was done, in lines.
    pub fn lines(&self) -> Vec<String> {
        let zeros = self.layers.iter().map(|l| l.zeros).sum::<f64>() / self.layers.len().max(1) as f64;
        let how = match self.samples {
            0 => "the smallest went".to_string(),
            n => format!("made up for on {n} samples"),
        };
        let left = if self.left.is_empty() { String::new() } else { format!(", {} layers left", self.left.len()) };
        vec![
            format!(
                "{} sparse weights in {} layers ({:.0} % zeros), {how}{left}",
                self.pattern,
                self.layers.len(),
                100.0 * zeros
            ),
            format!("sparsity: {}", self.gain),
        ]
    }
}
