//! ONNX Runtime on a CPU. Opsets as accepted by release 1.31: 26 loads, 27 is refused; of opsets before 7 it has kernels
//! for a few operators only. What it lacks is what its own registry of kernels lacks, asked in that release, and what it
//! refused when every node test of ONNX was loaded.

use crate::ir::{Attr, DType, Key, OpKind as O};
use crate::ops::CallView;
use crate::target::{Limit, Profile, Subject};

/// ONNX Runtime with its CPU provider.
pub static ONNXRUNTIME: Profile = Profile {
    name: "onnxruntime",
    oldest_opset: 7,
    newest_opset: 26,
    avoids: &[],
    limits: &[LIMITS],
    narrows: &[],
    notes: &[],
};

const LIMITS: &[Limit] = &[
    Limit::lacks("ORT-K1", &[O::ImageDecoder], "there is no kernel for it", "decode images before the model"),
    Limit::lacks(
        "ORT-K2",
        &[
            O::Bernoulli,
            O::GlobalLpPool,
            O::MaxRoiPool,
            O::Multinomial,
            O::RandomNormal,
            O::RandomNormalLike,
            O::RandomUniform,
            O::RandomUniformLike,
            O::RoiAlign,
        ],
        "there are kernels for opsets up to 21 only",
        "write the model in opset 21: --opset 21",
    )
    .from(22),
    Limit::lacks("ORT-K3", &[O::GRU, O::LSTM, O::RNN], "the layout is sequence first", "export with layout 0")
        .when(|call| LAYOUT.of(call.node()) != 0),
    Limit::lacks(
        "ORT-K4",
        NO_DOUBLE,
        "the CPU provider has no kernel of it for double precision",
        "compute in single precision",
    )
    .when(|call| call.dtype(0) == Some(DType::F64)),
    Limit::about(
        "ORT-K5",
        Subject::Inner(&[DType::BF16]),
        "the CPU provider has no kernel of it for bfloat16",
        "compute in single precision; for another provider, pass --allow-unsupported",
    )
    .when(|call| !BFLOAT16.contains(&call.node().op) && call.node().domain().is_empty()),
    Limit::lacks(
        "ORT-K6",
        &[O::Max, O::Min],
        "there is no kernel for 16-bit integers",
        "cast to int32 before and back after",
    )
    .when(|call| matches!(call.dtype(0), Some(DType::I16 | DType::U16))),
    Limit::lacks("ORT-K6", &[O::BitShift], "there is no kernel for 16-bit integers", "cast to uint32 before")
        .when(|call| matches!(call.dtype(0), Some(DType::I16 | DType::U16))),
    Limit::lacks("ORT-K6", &[O::Pow], "there is no kernel for unsigned exponents", "cast the exponent to int64")
        .when(|call| matches!(call.dtype(1), Some(DType::U32 | DType::U64))),
    Limit::lacks("ORT-K6", &[O::TopK], "there is no kernel for uint64", "cast to int64 before")
        .when(|call| call.dtype(0) == Some(DType::U64)),
    Limit::lacks("ORT-K6", &[O::BitCast], "there is no kernel for booleans", "cast to uint8 before")
        .when(|call| call.dtype(0) == Some(DType::Bool)),
    Limit::lacks("ORT-K9", &[O::Swish], "it runs in opset 24 only", "write the model in opset 24: --opset 24").from(25),
    Limit::lacks("ORT-K10", &[O::Mod], "the remainder of floats is that of fmod only", "export with fmod 1")
        .when(|call| call.dtype(0).is_some_and(DType::is_float) && FMOD.of(call.node()) == 0),
    Limit::lacks("ORT-K11", &[O::Attention], "it does not know windows of keys", "pass a mask for the window")
        .when(has_window),
    Limit::lacks(
        "ORT-K12",
        &[O::Attention],
        "the causal mask does not count what was kept of earlier runs",
        "pass a mask instead of is_causal",
    )
    .when(|call| IS_CAUSAL.of(call.node()) && call.has(4)),
    Limit::about(
        "ORT-K7",
        Subject::Types(&[DType::F4E2M1, DType::F8E8M0, DType::F6E2M3, DType::F6E3M2]),
        "there are no kernels for this type",
        "quantize to int4 or int8",
    ),
    Limit::about(
        "ORT-K8",
        Subject::Foreign(&["com.microsoft", "com.microsoft.nchwc", "ai.onnx.ml"]),
        "an operator of this domain is not built in",
        "register the library that has it, and pass --allow-unsupported",
    ),
    Limit::about(
        "ORT-F10",
        Subject::Inner(&[DType::F16]),
        "the CPU provider computes in single precision and casts before and after",
        "keep the model in single precision",
    )
    .when(is_work)
    .warns(),
];

const LAYOUT: Key<i64> = Key::new("layout", 0);
const FMOD: Key<i64> = Key::new("fmod", 0);
const IS_CAUSAL: Key<bool> = Key::new("is_causal", false);

fn has_window(call: &CallView<'_>) -> bool {
    // Without an end a window is none.
    ["left_window_size", "right_window_size"]
        .iter()
        .any(|name| matches!(call.node().attr(name), Some(Attr::Int(size)) if *size >= 0))
}

/// Operators with a kernel for single precision and none for double.
const NO_DOUBLE: &[O] = &[
    O::Acos,
    O::Acosh,
    O::Asin,
    O::Asinh,
    O::Atan,
    O::Atanh,
    O::Attention,
    O::AveragePool,
    O::Celu,
    O::Col2Im,
    O::Conv,
    O::ConvTranspose,
    O::Cosh,
    O::DequantizeLinear,
    O::Det,
    O::Elu,
    O::Erf,
    O::Gelu,
    O::GlobalAveragePool,
    O::GlobalLpPool,
    O::GlobalMaxPool,
    O::HardSigmoid,
    O::HardSwish,
    O::Hardmax,
    O::InstanceNormalization,
    O::LRN,
    O::LeakyRelu,
    O::LpPool,
    O::MaxRoiPool,
    O::MaxUnpool,
    O::Mean,
    O::MeanVarianceNormalization,
    O::Mish,
    O::Multinomial,
    O::NonZero,
    O::PRelu,
    O::QLinearMatMul,
    O::QuantizeLinear,
    O::RNN,
    O::Resize,
    O::RotaryEmbedding,
    O::Selu,
    O::Sinh,
    O::Softplus,
    O::Softsign,
    O::Tan,
    O::ThresholdedRelu,
];

/// Operators with a kernel for bfloat16.
const BFLOAT16: &[O] = &[
    O::BitCast,
    O::Cast,
    O::CastLike,
    O::Compress,
    O::Concat,
    O::ConcatFromSequence,
    O::Constant,
    O::ConstantOfShape,
    O::Flatten,
    O::Gather,
    O::GatherElements,
    O::GatherND,
    O::Identity,
    O::If,
    O::IsInf,
    O::IsNaN,
    O::LayerNormalization,
    O::Loop,
    O::Optional,
    O::OptionalGetElement,
    O::OptionalHasElement,
    O::RandomNormalLike,
    O::RandomUniformLike,
    O::Reshape,
    O::ReverseSequence,
    O::Scan,
    O::ScatterElements,
    O::ScatterND,
    O::SequenceAt,
    O::SequenceConstruct,
    O::SequenceEmpty,
    O::SequenceErase,
    O::SequenceInsert,
    O::SequenceLength,
    O::Shape,
    O::Shrink,
    O::Sign,
    O::Slice,
    O::Split,
    O::SplitToSequence,
    O::Squeeze,
    O::TensorScatter,
    O::Transpose,
    O::Unsqueeze,
];

/// Whether the call computes what half precision would have made faster.
fn is_work(call: &CallView<'_>) -> bool {
    matches!(call.node().op, O::Conv | O::ConvTranspose | O::Gemm | O::MatMul | O::LSTM | O::GRU | O::RNN)
}
