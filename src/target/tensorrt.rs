//! NVIDIA TensorRT through its ONNX parser: the parser's lists of operators and types of releases 8.5, 10.0, 10.1 and
//! 10.15, the ONNX opset guide and the notes of release 11.

use crate::ir::OpKind as O;
use crate::target::{Limit, Profile, Subject};

/// TensorRT, release 11.
pub static TENSORRT: Profile = Profile {
    name: "tensorrt",
    oldest_opset: 9,
    newest_opset: 25,
    avoids: &[],
    limits: &[EVERY],
    notes: &[
        "an input with an open dimension needs a range when the engine is built: trtexec --minShapes, --optShapes, --maxShapes",
    ],
};

/// TensorRT, release 10.15.
pub static TENSORRT_10_15: Profile = Profile { name: "tensorrt:10.15", newest_opset: 24, limits: &[EVERY], ..TENSORRT };

/// TensorRT, release 10.1.
pub static TENSORRT_10_1: Profile = Profile { name: "tensorrt:10.1", newest_opset: 20, limits: &[EVERY], ..TENSORRT };

/// TensorRT, release 8.6.
pub static TENSORRT_8_6: Profile = Profile { name: "tensorrt:8.6", newest_opset: 17, limits: &[EVERY], ..TENSORRT };

/// What no release runs.
const EVERY: &[Limit] = &[
    Limit::lacks("TRT-T12", &[O::Compress], "there is no layer for it", "compute it ahead of the model"),
    Limit::about("TRT-T12", Subject::Foreign(&[]), "it needs a plugin", "load the plugin").warns(),
];
