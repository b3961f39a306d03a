//! A precision for each layer, as a stage.

use crate::assign::{Assigner, searching};
use crate::error::Error;
use crate::model::Model;
use crate::stages::quantize::SCALES_PER_CHANNEL;
use crate::stages::{Account, Around, Basis, Done, Needs, Place, Stage};

impl Stage for Assigner {
    fn place(&self) -> Place {
        Place::Assign
    }

    /// Layers may get integers, as what is quantized.
    fn needs(&self) -> Needs {
        Needs::of_integers(&self.sensitivity.policy)
    }

    fn opset_for(&self, from: i64) -> i64 {
        self.sensitivity.opset_for(from.max(SCALES_PER_CHANNEL))
    }

    fn basis(&self) -> Basis<'_> {
        let asked = &self.sensitivity;
        Basis { calibration: &asked.calibration, engine: asked.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let mut assigner = self.clone();
        assigner.sensitivity.calibration = searching(around.shared(&self.sensitivity.calibration));
        let (done, rehearsal) = assigner.rehearsed(model, around.tell)?;
        Ok(Done { account: Account::Assignment(done), rehearsal: Some(rehearsal) })
    }
}
