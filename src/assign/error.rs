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
    #[error("nothing is known of how long {target} takes: minimize bytes or bitops")]
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
