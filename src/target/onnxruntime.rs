//! ONNX Runtime. Opsets as accepted by release 1.31: 26 loads, 27 is refused; old ones are accepted back to 1, and
//! guaranteed from 7.

use crate::target::Profile;

/// ONNX Runtime, any of its execution providers.
pub static ONNXRUNTIME: Profile =
    Profile { name: "onnxruntime", oldest_opset: 1, newest_opset: 26, avoids: &[], limits: &[], notes: &[] };
