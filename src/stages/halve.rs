//! Half the bits in the place of float32, as a stage.

use crate::error::Error;
use crate::model::Model;
use crate::passes::Widens;
use crate::precision::{Half, Halver};
use crate::stages::{Account, Around, Basis, Done, Needs, Place, Stage};

impl Stage for Halver {
    fn place(&self) -> Place {
        Place::Halve
    }

    /// What types a runtime's own operators take is not known.
    fn needs(&self) -> Needs {
        let widens = match self.half {
            // Computed in float32, whatever it was in.
            Half::Weights => Widens::All,
            half => Widens::Others(half.dtype()),
        };
        Needs { plain: true, widens, ..Needs::default() }
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
