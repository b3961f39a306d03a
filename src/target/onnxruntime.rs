//! ONNX Runtime on a CPU. Opsets as accepted by release 1.31: 26 loads, 27 is refused; of opsets before 7 it has kernels
//! for a few operators only. What it lacks is what its own registry of kernels lacks, asked in that release, and what it
//! refused when every node test of ONNX was loaded.

use crate::ir::{DType, Key, OpKind as O};
use crate::ops::CallView;
use crate::target::{Limit, Profile, Subject};

/// ONNX Runtime with its CPU provider.
pub static ONNXRUNTIME: Profile = Profile {
    name: "onnxruntime",
    oldest_opset: 7,
    newest_opset: 26,
    avoids: SLOWER,
    limits: &[LIMITS],
    narrows: &[],
    notes: &[],
};

/// Operators whose kernels release 1.31 does not vectorize, or spells out itself: on one core they take from 1.2 times
/// (`Selu`) to 14 times (`ReduceLogSumExp`) as long as what they stand for.
const SLOWER: &[O] = &[
    O::Elu,
    O::GroupNormalization,
    O::LpNormalization,
    O::PRelu,
    O::ReduceL1,
    O::ReduceL2,
    O::ReduceLogSum,
    O::ReduceLogSumExp,
    O::ReduceSumSquare,
    O::Selu,
];

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
        "there is no kernel for 8-bit and 16-bit integers",
        "cast to int32 before and back after",
    )
    .when(|call| matches!(call.dtype(0), Some(DType::I8 | DType::U8 | DType::I16 | DType::U16))),
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
