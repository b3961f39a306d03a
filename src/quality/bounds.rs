//! How good a result has to be.

use crate::quality::{Quality, in_decibels};

/// How good a result has to be: what is worse is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Every float output has this signal to quantization noise ratio at the least, in dB.
    pub min_sqnr: Option<f64>,
    /// The largest of a row of scores is another one in this share of the rows at most, in percent.
    pub max_drop: Option<f64>,
}

impl Bounds {
    /// Whether `outputs` are good enough.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(&self, outputs: &[Quality]) -> Result<(), OutOfBounds> {
        if let Some(least) = self.min_sqnr {
            let worst = outputs.iter().filter(|q| q.cosine.is_some()).min_by(|a, b| a.sqnr.total_cmp(&b.sqnr));
            if let Some(worst) = worst.filter(|q| q.sqnr < least) {
                return Err(OutOfBounds::Noisy { output: worst.output.clone(), sqnr: worst.sqnr, least });
            }
        }
        if let Some(most) = self.max_drop {
            let drops = outputs.iter().filter_map(|q| Some((q, 100.0 * (1.0 - q.agreement?))));
            match drops.max_by(|a, b| a.1.total_cmp(&b.1)) {
                None => return Err(OutOfBounds::NoScores),
                Some((q, drop)) if drop > most => {
                    return Err(OutOfBounds::Drops { output: q.output.clone(), drop, most });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// Why a result is not as good as it has to be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OutOfBounds {
    /// An output is further from what it was than it may be.
    #[error("output \"{output}\" is {} beside its quantization noise, and at least {least} dB are asked for", in_decibels(*.sqnr))]
    Noisy {
        /// The output.
        output: String,
        /// What it is, in dB.
        sqnr: f64,
        /// What was asked for, in dB.
        least: f64,
    },
    /// Too many rows of scores have another largest.
    #[error("output \"{output}\" says something else in {drop:.1} % of the samples, and at most {most} % may")]
    Drops {
        /// The output.
        output: String,
        /// In how many, in percent.
        drop: f64,
        /// In how many it may, in percent.
        most: f64,
    },
    /// Bounds were given, and no samples to keep them on.
    #[error("--min-sqnr and --max-drop need samples to compare float model and result on: --calib PLACE")]
    NothingToCompare,
    /// It was asked what scores say, and there are none.
    #[error(
        "no output looks like the scores of classes: a float tensor of two axes, the last of more than one element"
    )]
    NoScores,
}

impl OutOfBounds {
    /// What to try next, where it is the bound that nothing keeps.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            OutOfBounds::NoScores => Some("--min-sqnr DB is a bound on outputs of any kind"),
            OutOfBounds::Noisy { .. } | OutOfBounds::Drops { .. } | OutOfBounds::NothingToCompare => None,
        }
    }
}
