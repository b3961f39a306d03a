//! From a model in float32 to one whose weights have few bits, and what that costs.

use std::sync::Arc;

use crate::calibrate::{Calibration, CalibrationError};
use crate::choice::{Choice, ChoiceError};
use crate::exec::{Cannot, Executor};
use crate::ir::{Tensor, TensorError};
use crate::lowbit::codes::{Codes, Matrix, Search};
use crate::lowbit::emit::Emitter;
use crate::lowbit::grid::Grid;
use crate::lowbit::levels::{Group, Integers, Method};
use crate::lowbit::sites::{Site, sites};
use crate::lowbit::summary::{Kept, Summary, Weight};
use crate::model::Model;
use crate::quality::{Bounds, OutOfBounds, compare};
use crate::target::{self, FewBits, Profile};

/// Says how weights get few bits; [`Packer::run`] does it.
#[derive(Clone)]
pub struct Packer {
    /// What stands for weights.
    pub integers: Integers,
    /// Weights that share a scale, where another number is asked for than [`Integers::group`].
    pub group: Option<Group>,
    /// Whether zero is the middle of the integers, where something else is asked for than
    /// [`Integers::is_symmetric`].
    pub symmetric: Option<bool>,
    /// How integers are found.
    pub method: Method,
    /// What will run the result, and so in which form the integers are written.
    pub target: &'static Profile,
    /// What of the model may have integers.
    pub choice: Choice,
    /// Samples to choose integers with, and to compare on. There may be none.
    pub calibration: Calibration,
    /// What runs them.
    pub engine: Arc<dyn Executor>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

/// Why weights do not get few bits.
#[derive(Debug, thiserror::Error)]
pub enum LowBitError {
    /// A pattern matches nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Samples cannot be read.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The target takes no such weights.
    #[error("{target} takes no weights in {integers}{others}")]
    NotTaken {
        /// The target.
        target: &'static str,
        /// What was asked for.
        integers: &'static str,
        /// What it takes.
        others: String,
    },
    /// The target takes zero in the middle only.
    #[error("{0} takes weights around zero only: --symmetric")]
    Asymmetric(&'static str),
    /// No weight can have them.
    #[error("no weight can be {integers}{why}")]
    Nothing {
        /// What was asked for.
        integers: &'static str,
        /// The reason of the first.
        why: String,
    },
    /// The model does not run on the samples.
    #[error("the model with weights of few bits does not run: {0}")]
    Run(#[from] Cannot),
    /// Integers cannot be written, which is a defect.
    #[error("a defect of onnx-slim: {0}")]
    Tensor(#[from] TensorError),
    /// The result is not as good as it has to be.
    #[error(transparent)]
    Bounds(OutOfBounds),
    /// The result cannot be compared, and bounds were given.
    #[error("--min-sqnr and --max-drop cannot be kept: {0}")]
    NotCompared(Cannot),
}

impl Packer {
    /// These integers for every model, with nothing else asked for.
    pub fn new(integers: Integers, engine: Arc<dyn Executor>) -> Packer {
        Packer {
            integers,
            group: None,
            symmetric: None,
            method: Method::Auto,
            target: &target::ONNX,
            choice: Choice::default(),
            calibration: Calibration::default(),
            engine,
            bounds: Bounds::default(),
        }
    }

    /// The opset that a model of opset `from` is written in: integers of 4 bits and scales of groups came with 21, those
    /// of 2 bits with 25. Operators of com.microsoft are of no opset.
    pub fn opset_for(&self, from: i64) -> i64 {
        let is_plain = |row: &FewBits| row.forms.iter().any(|(_, form)| *form == target::Form::Dequantized);
        match self.target.few_bits(self.integers.dtype()) {
            Some(row) if is_plain(row) => from.max(match (self.integers, self.group) {
                (Integers::Int2, _) => 25,
                (Integers::Int8, None | Some(Group::Channel)) => 13,
                _ => 21,
            }),
            _ => from,
        }
    }

    /// Give the weights of `model` few bits. `tell` hears how many weights of how many are done.
    ///
    /// # Errors
    /// Where the target takes none or no weight can have any, for a pattern of the choice that matches nothing, for
    /// samples that cannot be read, and for a result that is not as good as it has to be.
    pub fn run(&self, model: &mut Model, tell: &dyn Fn(u64, u64)) -> Result<Summary, LowBitError> {
        self.rehearsed(model, tell).map(|(summary, _)| summary)
    }

    /// As [`Packer::run`], with what `model` then computes said in float32, where there are samples to run it on.
    ///
    /// # Errors
    /// As [`Packer::run`].
    pub fn rehearsed(
        &self,
        model: &mut Model,
        tell: &dyn Fn(u64, u64),
    ) -> Result<(Summary, Option<Model>), LowBitError> {
        let row = self.row()?;
        let is_symmetric = self.symmetric.unwrap_or(self.integers.is_symmetric());
        if !is_symmetric && !row.zero_points {
            return Err(LowBitError::Asymmetric(self.target.name));
        }
        let excluded = self.choice.excluded(&model.graph)?;
        let wanted = self.group.unwrap_or(self.integers.group());
        let (sites, left) = sites(&model.graph, row, wanted, &excluded);
        let mut summary = Summary {
            integers: self.integers,
            weights: Vec::with_capacity(sites.len()),
            kept: left.into_iter().map(|(why, nodes)| Kept { why, nodes }).collect(),
            bytes: [0; 2],
            samples: 0,
            held_out: 0,
            outputs: Vec::new(),
            notes: Vec::new(),
        };
        let probe = match &self.calibration.source {
            Some(_) => self.calibration.probe(model, &*self.engine, &|_| MOST_SAMPLES)?,
            None => crate::calibrate::Probe::default(),
        };
        let mut rehearsal = (!probe.held_out.is_empty()).then(|| model.clone());
        let float = rehearsal.clone();
        for (done, site) in sites.iter().enumerate() {
            tell(done as u64, sites.len() as u64);
            let Some((matrix, weight)) = matrix(model, site) else { continue };
            let grid = Grid::of(self.integers.bits(), is_symmetric, false, weight.dtype());
            let (method, search) = match self.method {
                Method::Nearest => (Method::Nearest, Search::Nearest),
                _ => (Method::Refined, Search::Refined(None)),
            };
            let codes = Codes::of(&matrix, &grid, site.group, self.integers.bits(), search);
            let Some(codes) = codes else { continue };
            if let Some(rehearsal) = &mut rehearsal
                && let Some(back) = codes.given_back(&matrix, weight.dims())
            {
                rehearsal.graph.set_constant(site.weight, back);
            }
            summary.weights.push(Weight {
                layer: site.readers.first().map(|reader| model.graph.label(reader.node)).unwrap_or_default(),
                readers: site.readers.len(),
                sizes: [site.outputs, site.columns],
                bits: self.integers.bits(),
                group: site.group,
                method,
            });
            summary.bytes[0] += weight.stored_bytes() as u64;
            summary.bytes[1] += codes.bytes(weight.dtype()) as u64;
            Emitter::new(&mut model.graph, &mut model.files, self.integers, row.by_output).write(site, &codes)?;
            if weight.stored_bytes() >= LARGE {
                model.files.release();
            }
        }
        tell(sites.len() as u64, sites.len() as u64);
        if summary.weights.is_empty() {
            let why = summary.kept.iter().max_by_key(|kept| kept.nodes.len());
            let why = why.map(|kept| format!(": \"{}\": {}", kept.nodes.first().map_or("", |n| n), kept.why));
            return Err(LowBitError::Nothing { integers: self.integers.dtype().name(), why: why.unwrap_or_default() });
        }
        model.import_domains();
        if let (Some(float), Some(rehearsal)) = (&float, &rehearsal) {
            match compare(float, rehearsal, &probe.held_out, &*self.engine) {
                Ok(outputs) => (summary.outputs, summary.held_out) = (outputs, probe.held_out.len()),
                Err(why) if self.bounds == Bounds::default() => {
                    summary.notes.push(format!("not compared with the float model: {why}"));
                }
                Err(why) => return Err(LowBitError::NotCompared(why)),
            }
            summary.notes.extend(probe.notes);
        } else {
            summary.notes.push("not compared with the float model: there are no samples: --calib".into());
        }
        self.bounds.check(&summary.outputs).map_err(LowBitError::Bounds)?;
        Ok((summary, rehearsal))
    }

    /// How the target takes these integers.
    pub(super) fn row(&self) -> Result<&'static FewBits, LowBitError> {
        self.target.few_bits(self.integers.dtype()).ok_or_else(|| {
            let others: Vec<&str> = self.target.few_bits.iter().map(|row| row.dtype.name()).collect();
            let others = if others.is_empty() { String::new() } else { format!(", but in {}", others.join(", ")) };
            LowBitError::NotTaken { target: self.target.name, integers: self.integers.dtype().name(), others }
        })
    }
}

/// Samples that are taken.
const MOST_SAMPLES: usize = 256;

/// Weights of so many bytes are let go of when they have been read.
const LARGE: usize = 1 << 20;

fn matrix(model: &Model, site: &Site) -> Option<(Matrix, Tensor)> {
    let weight = model.graph.constant(site.weight)?.clone();
    Some((Matrix::of(&weight, site.outputs, site.columns, site.is_by_output)?, weight))
}
