//! One precision for all layers, for each that there is: what an assignment is beside them.
//!
//! They are judged as assignments are, on few samples; one of them that costs less than what was found and keeps the
//! bound is taken in its place, so that an assignment is never dearer than one of these.

use crate::assign::account::{Costed, Uniform, costed};
use crate::assign::realize::{Depth, Realized};
use crate::assign::search::{Picks, Search};
use crate::assign::units::Unit;
use crate::assign::verdict::Verdict;
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
            let uniform = Uniform {
                precision,
                layers,
                costs: written(search, &realized),
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

    /// What was found, or the cheapest of one precision for all that keeps the bounds and costs less as it is written: a
    /// layer may have none of the integers that it was to have, where its neighbours have none.
    ///
    /// # Errors
    /// When a model cannot be made or run.
    pub(super) fn cheapest(
        &self,
        search: &mut Search<'_>,
        plain: &mut [Plain],
        (realized, verdict, picks): (Realized, Verdict, Picks),
    ) -> Result<(Realized, Verdict, Picks), AssignError> {
        let float = vec![Precision::Fp32; search.measured.layers.len()];
        let float = costed(search.measured, search.costs, &float);
        let paid = |costs: &Costed| costs.counted(search.cost, &float);
        let now = paid(&written(search, &realized));
        let mut order: Vec<usize> = (0..plain.len()).filter(|&at| paid(&plain[at].uniform.costs) < now).collect();
        order.sort_by(|&a, &b| paid(&plain[a].uniform.costs).total_cmp(&paid(&plain[b].uniform.costs)));
        for at in order {
            let plain = &mut plain[at];
            // Corrections take back what integers of activations lose.
            let may_be_corrected = plain.uniform.precision == Precision::Int8 && plain.excess <= HOPELESS;
            if plain.uniform.meets || may_be_corrected {
                let (realized, verdict) = search.verified(&plain.picks)?;
                plain.uniform.meets = verdict.meets(&self.bounds);
                if plain.uniform.meets {
                    // Corrections bring biases.
                    plain.uniform.costs = written(search, &realized);
                    return Ok((realized, verdict, plain.picks.clone()));
                }
            }
        }
        Ok((realized, verdict, picks))
    }
}

/// What a model costs as it is written.
fn written(search: &Search<'_>, realized: &Realized) -> Costed {
    let bytes = census::quick(&realized.model).parameter_bytes;
    Costed { bytes, ..costed(search.measured, search.costs, &realized.precisions) }
}
