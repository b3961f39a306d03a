//! One precision for all layers, for each that there is: what an assignment is beside them.
//!
//! They are judged as assignments are, on few samples; one of them that costs less than what was found and keeps the
//! bound is taken in its place, so that an assignment is never dearer than one of these.

use crate::assign::account::{Costed, Uniform, costed};
use crate::assign::realize::Depth;
use crate::assign::search::{Picks, Search};
use crate::assign::units::Unit;
use crate::assign::{AssignError, Assigner};
use crate::census;
use crate::sensitivity::Precision;

/// One precision for all layers that can have it.
pub(super) struct Plain {
    pub picks: Picks,
    /// What layers' losses sum up to.
    pub predicted: f64,
    /// How much is lost beside what bounds allow.
    pub excess: f64,
    pub uniform: Uniform,
}

/// What loses so many times as much as it may before it is corrected is not corrected to see whether it may then.
const HOPELESS: f64 = 4.0;

impl Assigner {
    /// One precision for all layers, for each that there is.
    ///
    /// # Errors
    /// When a model cannot be made or run.
    pub(super) fn uniform(&self, search: &mut Search<'_>) -> Result<Vec<Plain>, AssignError> {
        let mut found = Vec::new();
        for &precision in &self.sensitivity.candidates {
            let pick = |unit: &Unit| unit.choices.iter().position(|choice| choice.precision == precision).unwrap_or(0);
            let picks: Picks = search.units.iter().map(pick).collect();
            let precisions = search.precisions(&picks);
            let layers = precisions.iter().filter(|p| **p == precision).count();
            if layers == 0 {
                continue;
            }
            let (realized, verdict) = search.tried(&picks, Depth::Written)?;
            let bytes = census::quick(&realized.model).parameter_bytes;
            let uniform = Uniform {
                precision,
                layers,
                costs: Costed { bytes, ..costed(search.measured, search.costs, &precisions) },
                loss: verdict.loss,
                drop: verdict.drop,
                sqnr: Some(verdict.sqnr).filter(|ratio| ratio.is_finite()),
                meets: verdict.meets(&self.bounds),
            };
            let (predicted, excess) = (search.predicted(&picks), verdict.excess(&self.bounds));
            found.push(Plain { picks, predicted, excess, uniform });
        }
        Ok(found)
    }

    /// The cheapest of these that keeps the bounds and costs less than `picks`, or `picks`.
    ///
    /// # Errors
    /// When a model cannot be made or run.
    pub(super) fn cheapest(
        &self,
        search: &mut Search<'_>,
        plain: &mut [Plain],
        picks: Picks,
    ) -> Result<Picks, AssignError> {
        plain.sort_by_key(|plain| search.layers_price(&plain.picks));
        for plain in plain.iter_mut() {
            if search.layers_price(&plain.picks) >= search.layers_price(&picks) || plain.excess > HOPELESS {
                continue;
            }
            // Corrections take back what integers of activations lose, and all samples say it more exactly.
            if !plain.uniform.meets && plain.uniform.precision == Precision::Int8 {
                let (_, verdict) = search.verified(&plain.picks)?;
                plain.uniform.meets = verdict.meets(&self.bounds);
            }
            if plain.uniform.meets {
                return Ok(plain.picks.clone());
            }
        }
        Ok(picks)
    }
}
