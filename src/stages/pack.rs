//! Weights of few bits, as a stage.

use crate::error::Error;
use crate::lowbit::Packer;
use crate::model::Model;
use crate::passes::Widens;
use crate::stages::{Account, Around, Basis, Done, Needs, Place, Stage};

impl Stage for Packer {
    fn place(&self) -> Place {
        Place::Pack
    }

    /// What a runtime's own operators do with a weight is not known.
    fn needs(&self) -> Needs {
        Needs { plain: true, widens: Widens::Stored, ..Needs::default() }
    }

    fn opset_for(&self, from: i64) -> i64 {
        Packer::opset_for(self, from)
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.calibration, engine: self.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let packer = Packer { calibration: around.shared(&self.calibration), ..self.clone() };
        let (done, rehearsal) = packer.rehearsed(model, around.tell)?;
        Ok(Done { account: Account::LowBits(done), rehearsal })
    }
}
