//! Why layers get no precision.

use crate::choice::ChoiceError;
use crate::exec::Cannot;
use crate::lowbit::LowBitError;
use crate::quality::OutOfBounds;
use crate::quantize::QuantizeError;
use crate::sensitivity::{Precision, SensitivityError};

/// Why layers get no precision.
#[derive(Debug, thiserror::Error)]
pub enum AssignError {
    /// Layers are not measured.
    #[error(transparent)]
    Sensitivity(#[from] SensitivityError),
    /// The model does not get integers.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// Weights do not get few bits.
    #[error(transparent)]
    LowBit(#[from] LowBitError),
    /// A model does not run.
    #[error(transparent)]
    Run(#[from] Cannot),
    /// A pattern matches nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The result is not as good as it has to be.
    #[error(transparent)]
    Bounds(OutOfBounds),
    /// Nothing says how far to go.
    #[error("how far to go is not said: a bound (--min-sqnr DB, --max-drop PERCENT) or a budget (--budget bytes=50%)")]
    NoGoal,
    /// Nothing costs so little.
    #[error("the budget of {most} is less than the least that there is: {least}")]
    TooLittle {
        /// What was asked for.
        most: String,
        /// What there is.
        least: String,
    },
    /// Nothing is known of the target's times.
    #[error("nothing is known of how long {target} takes")]
    NoLatency {
        /// The target.
        target: String,
    },
    /// What a pattern matches multiplies nothing.
    #[error("nothing that \"{pattern}\" matches is a layer: what multiplies by weights or two computed tensors")]
    NoLayer {
        /// The pattern.
        pattern: String,
    },
    /// A layer cannot have what it was to have.
    #[error("\"{layer}\" cannot be {precision}: {why}")]
    Refused {
        /// The layer.
        layer: String,
        /// What it was to compute in.
        precision: Precision,
        /// Why not.
        why: String,
    },
}

impl AssignError {
    /// What to try next, where that is known and not said already.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            AssignError::Sensitivity(error) => error.hint(),
            AssignError::LowBit(error) => error.hint(),
            AssignError::Bounds(OutOfBounds::Noisy { .. } | OutOfBounds::Drops { .. }) => {
                Some("nothing was written; --budget or --layer-precision has to leave layers more bits")
            }
            AssignError::Bounds(bounds) => bounds.hint(),
            AssignError::TooLittle { .. } => {
                Some("ask for that, or name narrower precisions: --candidates int8-weights,int4,int2")
            }
            AssignError::NoLatency { .. } => {
                Some("--minimize bytes or bitops, --budget bytes=50% or bitops=50%; --target says what will run it")
            }
            AssignError::NoLayer { .. } => Some("onnx-slim sensitivity lists the layers"),
            AssignError::Refused { .. } => Some("another precision, or a pattern that does not name it alone"),
            AssignError::Quantize(_) | AssignError::Run(_) | AssignError::Choice(_) | AssignError::NoGoal => None,
        }
    }
}
