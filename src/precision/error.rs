//! Why a model does not get halves.

use crate::calibrate::CalibrationError;
use crate::choice::ChoiceError;
use crate::exec::Cannot;
use crate::quality::OutOfBounds;

/// Why a model does not get halves.
#[derive(Debug, thiserror::Error)]
pub enum HalveError {
    /// A pattern matches nothing.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Samples cannot be read.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// The result is not as good as it has to be.
    #[error(transparent)]
    Bounds(OutOfBounds),
    /// The result cannot be compared, and bounds were given.
    #[error("--min-sqnr and --max-drop cannot be kept: {0}")]
    NotCompared(Cannot),
    /// Nothing became a half.
    #[error("nothing of the model can be {half}: {why}")]
    Nothing {
        /// The type.
        half: &'static str,
        /// The reason of the first call that matters.
        why: String,
    },
}

impl HalveError {
    /// What to try next, where that is known and not said already.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            HalveError::Bounds(OutOfBounds::Noisy { .. } | OutOfBounds::Drops { .. }) => {
                Some("nothing was written; --precision auto --candidates fp16 leaves those layers that lose most")
            }
            HalveError::Bounds(bounds) => bounds.hint(),
            HalveError::NotCompared(_) => {
                Some("nothing was written; it is without the bound, and --engine ort may run it")
            }
            HalveError::Choice(_) | HalveError::Calibration(_) | HalveError::Nothing { .. } => None,
        }
    }
}
