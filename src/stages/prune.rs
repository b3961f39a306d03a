//! Channels that a model needs least, as a stage.

use crate::error::Error;
use crate::model::Model;
use crate::passes::Widens;
use crate::prune::{Criterion, Pruner};
use crate::stages::{Account, Around, Basis, Done, Needs, Place, Stage};

impl Stage for Pruner {
    fn place(&self) -> Place {
        Place::Prune
    }

    /// What importance is told by must still be there, and nothing is known of the channels of a runtime's own operators.
    fn needs(&self) -> Needs {
        let holds_back: &[&str] = if self.criterion == Some(Criterion::BatchNorm) { &["fold-batchnorm"] } else { &[] };
        Needs { plain: true, widens: Widens::All, holds_back, ..Needs::default() }
    }

    /// Constants that were made private are equal again.
    fn leaves_work(&self) -> bool {
        true
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.calibration, engine: self.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let pruner = Pruner { calibration: around.shared(&self.calibration), ..self.clone() };
        Ok(Account::Pruning(pruner.run(model, around.tell)?).into())
    }
}
