//! Why a model is not pruned.

use crate::calibrate::CalibrationError;
use crate::exec::Cannot;
use crate::prune::account::StopAccount;
use crate::prune::importance::Criterion;
use crate::prune::surgery::Refused;
use crate::quality::OutOfBounds;
use crate::selecting::NoMatch;

/// Why a model is not pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A pattern matches nothing.
    #[error(transparent)]
    NoMatch(#[from] NoMatch),
    /// A cut cannot be made.
    #[error("{0}; {hint}", hint = .0.hint)]
    Refused(#[from] Refused),
    /// Samples cannot be read.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// A model does not run.
    #[error("the pruned model does not run: {0}")]
    Run(#[from] Cannot),
    /// Nothing can go.
    #[error("no channel of the model can be removed: {}", because(.0, *.1))]
    Nothing(Vec<StopAccount>, usize),
    /// The criterion needs samples.
    #[error("importance {0} is told by samples: --calib PLACE")]
    NoSamples(Criterion),
    /// The criterion says nothing of the model.
    #[error("importance {0} says nothing of this model: no group has a weight that it reads")]
    NoScores(Criterion),
    /// What is left computes something else than the original without the removed channels.
    #[error("a defect of onnx-slim: the pruned model is not the masked original: {}", .0.join("; "))]
    Different(Vec<String>),
    /// Quality is not what was asked for.
    #[error(transparent)]
    Bounds(#[from] OutOfBounds),
}

impl PruneError {
    /// What to try next, where that is known and not said already.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            PruneError::Bounds(OutOfBounds::Noisy { .. } | OutOfBounds::Drops { .. }) => {
                Some("nothing was written; --prune auto removes as many channels as the bound allows")
            }
            PruneError::Bounds(bounds) => bounds.hint(),
            PruneError::NoScores(_) => Some("--importance l2 reads every weight, and with --calib obs does"),
            PruneError::Run(_) => Some("--engine ort may run it"),
            _ => None,
        }
    }
}

/// Why nothing can go: operators that nothing is known of, and how many classes no other is like.
fn because(stops: &[StopAccount], alone: usize) -> String {
    let ops: Vec<&str> = stops.iter().map(|stop| &*stop.op).collect();
    let mut reasons = Vec::new();
    if !ops.is_empty() {
        reasons.push(format!("nothing is known of the channels of {}", ops.join(", ")));
    }
    if alone > 0 {
        reasons.push(format!(
            "what can only be removed together is all that there is of its kind ({alone} times; a shuffle of channels \
             between convolutions in groups ties them so, and so do sums over parts of others)"
        ));
    }
    if reasons.is_empty() {
        reasons.push(
            "the inputs, the outputs and what is normalized, sorted or reduced over its channels fix all of them"
                .into(),
        );
    }
    reasons.join("; ")
}
