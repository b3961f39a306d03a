//! Any runtime that follows the ONNX specification: the model keeps its opset, and nothing is assumed.

use crate::ir::DType;
use crate::ops::schema::NEWEST_OPSET;
use crate::target::{Dynamics, FewBits, Profile};

/// No runtime in particular.
pub static ONNX: Profile = Profile {
    name: "onnx",
    oldest_opset: 1,
    newest_opset: NEWEST_OPSET as i64,
    avoids: &[],
    contrib: &[],
    limits: &[],
    narrows: &[],
    policy: include_str!("policies/onnxruntime.toml"),
    // Vectors of eight floats are what most processors have, and slower than whole ones no part of one is.
    channel_multiple: 8,
    sparsity: "what a runtime gains from zeros in weights depends on it: most gain nothing",
    dynamics: Dynamics::Operators { lstm: false },
    few_bits: &[INTEGERS.of(DType::I8), INTEGERS.of(DType::I4), INTEGERS.of(DType::U4), INTEGERS.of(DType::I2)],
    notes: &[],
};

/// Whatever the format has. onnxruntime may be what runs it, which rounds what it reads beside integers in this form.
const INTEGERS: FewBits = FewBits { rounds: true, ..FewBits::all(DType::I4) };
