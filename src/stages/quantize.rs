//! Integers whose ranges samples tell, as a stage.

use crate::error::Error;
use crate::model::Model;
use crate::quantize::Quantizer;
use crate::stages::{Account, Around, Basis, Done, Needs, Place, Stage};

/// Scales per channel came with this opset.
pub(super) const SCALES_PER_CHANNEL: i64 = 13;

impl Stage for Quantizer {
    fn place(&self) -> Place {
        Place::Quantize
    }

    fn needs(&self) -> Needs {
        Needs::of_integers(&self.policy)
    }

    fn opset_for(&self, from: i64) -> i64 {
        from.max(SCALES_PER_CHANNEL)
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.calibration, engine: self.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let quantizer = Quantizer { calibration: around.shared(&self.calibration), ..self.clone() };
        // Statistics in files are of the model that was given.
        let given = around.given.filter(|_| self.calibration.has_files());
        Ok(Account::Quantization(quantizer.run(model, given, around.tell)?).into())
    }
}
