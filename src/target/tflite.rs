//! TensorFlow Lite / LiteRT, through a converter that reads ONNX.

use crate::ops::schema::NEWEST_OPSET;
use crate::target::Profile;

/// TensorFlow Lite. The model is written as ONNX.
pub static TFLITE: Profile = Profile {
    name: "tflite",
    oldest_opset: 1,
    newest_opset: NEWEST_OPSET as i64,
    avoids: &[],
    contrib: &[],
    notes: &["the model is written as ONNX, for a converter to .tflite to read"],
};
