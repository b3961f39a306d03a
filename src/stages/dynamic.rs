//! Integers whose ranges a run tells, as a stage.

use crate::error::Error;
use crate::model::Model;
use crate::passes::Widens;
use crate::quantize::Dynamic;
use crate::stages::quantize::SCALES_PER_CHANNEL;
use crate::stages::{Account, Around, Basis, Done, Needs, Place, Stage};

impl Stage for Dynamic {
    fn place(&self) -> Place {
        Place::QuantizeDynamically
    }

    /// Integers are for operators of ONNX.
    fn needs(&self) -> Needs {
        Needs { plain: true, widens: Widens::Floats, ..Needs::default() }
    }

    fn opset_for(&self, from: i64) -> i64 {
        from.max(SCALES_PER_CHANNEL)
    }

    fn basis(&self) -> Basis<'_> {
        Basis { calibration: &self.calibration, engine: self.engine.clone(), bounds: self.bounds }
    }

    fn run(&self, model: &mut Model, around: &Around<'_>) -> Result<Done, Error> {
        let dynamic = Dynamic { calibration: around.shared(&self.calibration), ..self.clone() };
        Ok(Account::Quantization(dynamic.run(model)?).into())
    }
}
