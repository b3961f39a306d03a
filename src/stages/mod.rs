//! What a model goes through behind the pipeline of passes: stages that change what it computes, each by as much as its
//! options and bounds allow, in the order of [`Place`].
//!
//! ```text
//! model ─ pipeline ─ proof ─▶ original ─ prune ─ sparsify ─ assign, quantize ─ halve ─ pack ─ restore ─▶ result
//!                                │                    │         Course: size, work, memory and quality against
//!                                └── samples, once ───┴──────────────── the original, behind each
//! ```
//!
//! To add one: a place in [`Place`], a file here that implements [`Stage`], and a field of [`Accounts`] for what it
//! tells.

mod assign;
mod course;
mod dynamic;
mod halve;
mod pack;
mod prune;
mod quantize;
mod restore;
mod sparsify;

use std::sync::Arc;

use serde::Serialize;

use crate::calibrate::{Calibration, Fingerprint, Pool};
use crate::error::Error;
use crate::exec::Executor;
use crate::model::Model;
use crate::passes::Widens;
use crate::quality::{Bounds, Measured};
use crate::target::Policy;
use crate::{assign as assignment, lowbit, precision, prune as pruning, quantize as integers, sparsify as sparsity};

pub use course::{Course, Stand};
pub(crate) use restore::Restore;

/// Where a stage stands among the others: their order is the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Channels go.
    Prune,
    /// Weights become zeros.
    Sparsify,
    /// Layers get a precision each.
    Assign,
    /// Tensors become integers.
    Quantize,
    /// Tensors become integers while the model runs.
    QuantizeDynamically,
    /// Tensors become halves.
    Halve,
    /// Weights become integers of few bits.
    Pack,
    /// What was in halves is again.
    Restore,
}

impl Place {
    /// What progress and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Place::Prune => "prune",
            Place::Sparsify => "sparsify",
            Place::Assign => "assign",
            Place::Quantize | Place::QuantizeDynamically => "quantize",
            Place::Halve => "halve",
            Place::Pack => "pack",
            Place::Restore => "restore",
        }
    }
}

/// What a stage asks of the runs of the pipeline before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    /// Operators of ONNX alone: none that only the target has may be brought in.
    pub plain: bool,
    /// Products with an activation in one are taken apart.
    pub splits_products: bool,
    /// What of half precision is said in single precision for it.
    pub widens: Widens,
    /// Rules whose names begin like one of these wait.
    pub holds_back: &'static [&'static str],
}

impl Needs {
    /// Of what gives integers to operators of ONNX, as `policy` places them: a runtime fuses integers itself.
    fn of_integers(policy: &Policy) -> Needs {
        let holds_back: &[&str] = if policy.keeps_axes { &["flatten-rows"] } else { &[] };
        Needs { plain: true, splits_products: true, widens: Widens::Floats, holds_back }
    }
}

/// What a stage's result is measured with.
#[derive(Clone)]
pub struct Basis<'a> {
    /// Samples.
    pub calibration: &'a Calibration,
    /// What runs them.
    pub engine: Arc<dyn Executor>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

/// What changes what a model computes.
pub trait Stage: Send + Sync {
    /// Where it stands. An optimizer has one for each place.
    fn place(&self) -> Place;

    /// What it asks of what runs before it.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// The opset in which a model of opset `from` is best written for it.
    fn opset_for(&self, from: i64) -> i64 {
        from
    }

    /// Whether what it leaves is optimized once more.
    fn leaves_work(&self) -> bool {
        false
    }

    /// What its result is measured with.
    fn basis(&self) -> Basis<'_>;

    /// Change `model`.
    ///
    /// # Errors
    /// When it cannot be changed, samples cannot be read, or the result is not as good as it has to be.
    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error>;
}

/// What surrounds a stage: the same for all of a run.
pub struct Around<'a> {
    /// Tells the model apart that saved statistics are of; only where a calibration reads or writes any.
    pub given: Option<&'a Fingerprint>,
    /// What computes what the model does and any engine runs, where an engine may not run the model.
    pub rehearsal: Option<&'a Model>,
    /// Samples that are read once for all stages.
    pub pool: &'a Pool,
    /// Hears how many of how many steps are done.
    pub tell: &'a dyn Fn(u64, u64),
}

impl Around<'_> {
    /// `calibration`, with what other stages read already.
    pub fn shared(&self, calibration: &Calibration) -> Calibration {
        Calibration { pool: Some(self.pool.clone()), ..calibration.clone() }
    }
}

/// What a stage did.
pub struct Done {
    /// In its own words.
    pub account: Account,
    /// A model that computes what the result does and that any engine runs, where that is another.
    pub rehearsal: Option<Model>,
}

/// What a stage tells of itself.
pub enum Account {
    /// Channels went.
    Pruning(pruning::Summary),
    /// Weights became zeros.
    Sparsity(sparsity::Summary),
    /// Layers got a precision each.
    Assignment(assignment::Summary),
    /// Tensors became integers.
    Quantization(integers::Summary),
    /// Tensors became halves.
    Precision(precision::Summary),
    /// Weights became integers of few bits.
    LowBits(lowbit::Summary),
}

impl From<Account> for Done {
    fn from(account: Account) -> Done {
        Done { account, rehearsal: None }
    }
}

impl Account {
    /// What the stage measured against the model that it was given.
    pub fn measured(&self) -> &Measured {
        match self {
            Account::Pruning(done) => &done.measured,
            Account::Sparsity(done) => &done.measured,
            Account::Assignment(done) => &done.measured,
            Account::Quantization(done) => &done.measured,
            Account::Precision(done) => &done.measured,
            Account::LowBits(done) => &done.measured,
        }
    }
}

/// What all stages of a run tell.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Accounts {
    /// What became of a model that was pruned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruning: Option<pruning::Summary>,
    /// What became of a model whose weights got zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<sparsity::Summary>,
    /// What became of a model whose layers got a precision each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignment: Option<assignment::Summary>,
    /// What became of a model that got integers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<integers::Summary>,
    /// What became of a model that got halves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<precision::Summary>,
    /// What became of a model whose weights got few bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_bits: Option<lowbit::Summary>,
}

impl Accounts {
    /// What one more stage tells.
    pub fn add(&mut self, account: Account) {
        match account {
            Account::Pruning(done) => self.pruning = Some(done),
            Account::Sparsity(done) => self.sparsity = Some(done),
            Account::Assignment(done) => self.assignment = Some(done),
            Account::Quantization(done) => self.quantization = Some(done),
            Account::Precision(done) => self.precision = Some(done),
            Account::LowBits(done) => self.low_bits = Some(done),
        }
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests;
