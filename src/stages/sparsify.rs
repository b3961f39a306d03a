//! Zeros in weights, as a stage.

use crate::error::Error;
use crate::model::Model;
use crate::passes::Widens;
use crate::sparsify::Sparsifier;
use crate::stages::{Account, Around, Basis, Done, Needs, Place, Stage};

impl Stage for Sparsifier {
    fn place(&self) -> Place {
        Place::Sparsify
    }

    fn needs(&self) -> Needs {
        Needs { widens: Widens::All, ..Needs::default() }
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.calibration, engine: self.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let sparsifier = Sparsifier { calibration: around.shared(&self.calibration), ..self.clone() };
        Ok(Account::Sparsity(sparsifier.run(model, around.tell)?).into())
    }
}
