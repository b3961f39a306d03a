//! Why a model is not optimized: what is wrong, where, and what to try.
//!
//! An [`Error`] displays as one line. [`Error::details`] are the lines below it, one per place, and [`Error::hint`]
//! says what to try next.

use crate::assign::AssignError;
use crate::edit::{Broken, EditFault};
use crate::exec::Cannot;
use crate::lowbit::LowBitError;
use crate::onnx::{ReadError, WriteError};
use crate::passes::pipeline::PassError;
use crate::precision::HalveError;
use crate::prune::PruneError;
use crate::quality::OutOfBounds;
use crate::quantize::QuantizeError;
use crate::sensitivity::SensitivityError;
use crate::sparsify::SparsifyError;
use crate::survey::{self, Finding};
use crate::target::Effect;

/// Why a model is not optimized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a model.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// An edit that was asked for cannot be made.
    #[error(transparent)]
    Edit(#[from] EditFault),
    /// An edit that was asked for does not do what it should on this model.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The model is not pruned.
    #[error(transparent)]
    Prune(#[from] PruneError),
    /// Weights do not get zeros.
    #[error(transparent)]
    Sparsify(#[from] SparsifyError),
    /// The model does not get integers.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The model does not get halves.
    #[error(transparent)]
    Halve(#[from] HalveError),
    /// The model's layers are not measured.
    #[error(transparent)]
    Sensitivity(#[from] SensitivityError),
    /// The model's layers get no precision.
    #[error(transparent)]
    Assign(#[from] AssignError),
    /// All stages together take the result further from the original than it may be.
    #[error("behind {stage}, with what was done before it: {why}")]
    Together {
        /// The stage with which it is too far.
        stage: &'static str,
        /// How far it is.
        why: OutOfBounds,
    },
    /// It cannot be told how far all stages together take the result from the original, and bounds were given.
    #[error("--min-sqnr and --max-drop cannot be kept behind {stage}: {why}")]
    NotCompared {
        /// The stage.
        stage: &'static str,
        /// Why it was not run.
        why: Cannot,
    },
    /// Weights do not get few bits.
    #[error(transparent)]
    LowBit(#[from] LowBitError),
    /// The target does not know an opset any more.
    #[error("the oldest opset that {target} runs is {oldest}, not {opset}")]
    OlderOpset {
        /// The opset that was asked for.
        opset: i64,
        /// The oldest that the target runs.
        oldest: i64,
        /// The target.
        target: &'static str,
    },
    /// The target cannot run the result.
    #[error("{target} cannot run {} of the model's nodes or inputs", survey::counts(.findings).0)]
    Unsupported {
        /// The target.
        target: &'static str,
        /// What it cannot run.
        findings: Vec<Finding>,
        /// Why rules that would have said it in other words did not.
        held_back: Vec<String>,
    },
    /// The target does not know an opset.
    #[error("the newest opset that {target} runs is {newest}, not {opset}")]
    NewerOpset {
        /// The opset that was asked for.
        opset: i64,
        /// The newest that the target runs.
        newest: i64,
        /// The target.
        target: &'static str,
    },
    /// A name that is neither a rule's nor a pass's.
    #[error("there is no rule or pass called \"{name}\"")]
    NoSuchRule {
        /// The name.
        name: String,
        /// Names that look like it.
        similar: Vec<String>,
    },
    /// A name that is not a pass's.
    #[error("there is no pass called \"{name}\"")]
    NoSuchPass {
        /// The name.
        name: String,
        /// Names that look like it.
        similar: Vec<String>,
    },
    /// A pass could not finish.
    #[error("a defect of onnx-slim in {0}")]
    Pass(#[from] PassError),
    /// The result computes something else than the original.
    #[error("the result computes something else than the original")]
    Different {
        /// The first edit that makes the difference, where it was found: a rule and a node.
        guilty: Option<Guilty>,
        /// Where and by how much the two differ.
        differences: Vec<String>,
    },
}

/// The first edit that makes a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guilty {
    /// What made it: a rule, or an action of a pass.
    pub rule: String,
    /// The node or value that it was applied to.
    pub at: String,
    /// The rule or pass to disable to go without it.
    pub disable: String,
}

impl Error {
    /// The places that are wrong, one line each.
    pub fn details(&self) -> Vec<String> {
        match self {
            Error::Different { guilty, differences } => {
                let guilty =
                    guilty.iter().map(|g| format!("the first difference comes from {} at \"{}\"", g.rule, g.at));
                guilty.chain(differences.iter().cloned()).collect()
            }
            Error::Unsupported { findings, held_back, .. } => {
                let unsupported = findings.iter().filter(|f| f.effect == Effect::Unsupported).cloned();
                let mut lines = survey::lines(&unsupported.collect::<Vec<_>>());
                lines.extend(held_back.iter().cloned());
                lines
            }
            Error::Broken(broken) => broken.differences.clone(),
            Error::Pass(_)
            | Error::Read(_)
            | Error::Write(_)
            | Error::Edit(_)
            | Error::Prune(_)
            | Error::Sparsify(_)
            | Error::Quantize(_)
            | Error::Halve(_)
            | Error::Sensitivity(_)
            | Error::Assign(_)
            | Error::Together { .. }
            | Error::NotCompared { .. }
            | Error::LowBit(_)
            | Error::OlderOpset { .. }
            | Error::NewerOpset { .. }
            | Error::NoSuchRule { .. }
            | Error::NoSuchPass { .. } => Vec::new(),
        }
    }

    /// What to try next, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Read(error) => error.hint().map(str::to_string),
            Error::Write(WriteError::TooLarge(_)) => Some("pass --external-data".into()),
            Error::Quantize(QuantizeError::Bounds(OutOfBounds::Noisy { .. } | OutOfBounds::Drops { .. })) => {
                Some("nothing was written; without the bound, --report table names the layers that err most".into())
            }
            Error::Quantize(QuantizeError::Bounds(bounds)) => bounds.hint().map(str::to_string),
            Error::Prune(error) => error.hint().map(str::to_string),
            Error::Halve(error) => error.hint().map(str::to_string),
            Error::LowBit(error) => error.hint().map(str::to_string),
            Error::Sensitivity(error) => error.hint().map(str::to_string),
            Error::Assign(error) => error.hint().map(str::to_string),
            Error::Together { .. } => {
                Some("nothing was written; each stage by itself keeps the bound, so do less in one of them".into())
            }
            Error::NotCompared { .. } => None,
            Error::Write(_) | Error::Sparsify(_) | Error::Quantize(_) => None,
            Error::Edit(fault) => fault.hint(),
            Error::Broken(broken) => Some(broken.why.into()),
            Error::OlderOpset { oldest, .. } => Some(format!("--opset {oldest}")),
            Error::Unsupported { .. } => {
                Some("nothing was written; --allow-unsupported writes the model all the same".into())
            }
            Error::NewerOpset { newest, .. } => Some(format!("--opset {newest}")),
            Error::NoSuchRule { similar, .. } | Error::NoSuchPass { similar, .. } => Some(match &similar[..] {
                [] => "onnx-slim explain lists them".into(),
                similar => format!("did you mean {}?", similar.join(" or ")),
            }),
            Error::Pass(error) => Some(format!("please report it; --disable {} goes around it", error.pass)),
            Error::Different { guilty, .. } => Some(match guilty {
                Some(guilty) => {
                    format!("a defect of onnx-slim, please report it; --disable {} goes around it", guilty.disable)
                }
                None => "a defect of onnx-slim, please report it".into(),
            }),
        }
    }
}
