//! Half the bits in the place of float32, as a stage.

use crate::error::Error;
use crate::model::Model;
use crate::passes::Widens;
use crate::precision::Halver;
use crate::stages::{Account, Around, Basis, Done, Needs, Place, Stage};

impl Stage for Halver {
    fn place(&self) -> Place {
        Place::Halve
    }

    /// What types a runtime's own operators take is not known.
    fn needs(&self) -> Needs {
        Needs { plain: true, widens: Widens::Stored, ..Needs::default() }
    }

    fn opset_for(&self, from: i64) -> i64 {
        Halver::opset_for(self, from)
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.calibration, engine: self.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let halver = Halver { calibration: around.shared(&self.calibration), ..self.clone() };
        let (done, rehearsal) = halver.rehearsed(model, around.tell)?;
        Ok(Done { account: Account::Precision(done), rehearsal })
    }
}
