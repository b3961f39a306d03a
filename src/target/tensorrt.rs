//! NVIDIA TensorRT through its ONNX parser. Opsets from the ONNX opset guide of release 11 and the parser's list of
//! operators (9 to 25; 10.15 goes to 24, 10.0 to 20, 8.6 to 17). That list has no `Compress`.

use crate::ir::OpKind::Compress;
use crate::target::Profile;

/// TensorRT, release 11.
pub static TENSORRT: Profile = Profile {
    name: "tensorrt",
    oldest_opset: 9,
    newest_opset: 25,
    avoids: &[Compress],
    notes: &[
        "an input with an open dimension needs a range when the engine is built: trtexec --minShapes, --optShapes, --maxShapes",
    ],
};
