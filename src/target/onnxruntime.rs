//! ONNX Runtime on a CPU. Opsets as accepted by release 1.31: 26 loads, 27 is refused; of opsets before 7 it has kernels
//! for a few operators only. What it lacks is what its own registry of kernels lacks, asked in that release, and what it
//! refused when every node test of ONNX was loaded.
//!
//! A newer opset is not always a faster one: with its optimizer off, release 1.31 takes 8 to 13 times as long for an
//! AveragePool of opset 19 or later as for an earlier one. Models are raised only where the user asks for it.

use crate::ir::{Attr, DType, Key, OpKind as O};
use crate::ops::CallView;
use crate::target::few_bits::CONTRIB;
use crate::target::{Dynamics, FewBits, Limit, Profile, Subject};

/// ONNX Runtime with its CPU provider.
pub static ONNXRUNTIME: Profile = Profile {
    name: "onnxruntime",
    oldest_opset: 7,
    newest_opset: 26,
    avoids: SLOW,
    contrib: FUSED,
    limits: &[LIMITS],
    narrows: &[],
    policy: include_str!("policies/onnxruntime.toml"),
    channel_multiple: 8,
    sparsity: "onnxruntime is no faster for zeros in weights; the file compresses better",
    dynamics: Dynamics::Operators { lstm: true },
    few_bits: &[ROUNDED.of(DType::I8), ROUNDED.of(DType::I4), ROUNDED.of(DType::U4), INTEGERS.of(DType::I2)],
    notes: &[],
};

/// What takes longer than what it stands for, on one core of the CPU provider of release 1.31. Where kernels are not
/// vectorized or spell out the operator themselves: from 1.2 times (`Selu`) to 24 times (`ReduceLogSum` of an inner axis). Measured with
/// benches/spellings.py with its optimizer on and off: Softplus 5.2 to 5.5 and 5.2 to 5.4 times that of its logarithm,
/// and Swish 1.8 to 1.9 and 1.2 times that of its product.
///
/// What else the rules bring in takes as long or less: LayerNormalization 1.00 and 0.34 to 0.45, RMSNormalization 0.99
/// and 0.30 to 0.40, Gelu 1.00 and 0.58 to 0.62, the one by Tanh 0.36 to 0.39, HardSwish and HardSigmoid 0.38 to 0.6,
/// Mish 1.00, Attention 0.82 to 1.00, Split 1.00 and 0.81 to 0.96, Gemm 1.00 and 0.95 to 1.00.
const SLOW: &[O] = &[
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
    O::Softplus,
    O::Swish,
];

/// What it makes of a model by itself while it loads it, if it is let; written into the file, the model is that small
/// without. Measured likewise, with its optimizer on and off, relative to what they stand for: FusedConv 0.99 to 1.01
/// (0.90 for a sum) and 0.87 to 0.99, FusedGemm 1.00 and 0.96 to 1.00, QuickGelu 1.00 and 0.67 to 0.69, Gelu 1.00 and
/// 0.58 to 0.62, FastGelu 0.36 to 0.39, FusedMatMul 0.98 to 1.00 and 0.85 to 0.94, MultiHeadAttention 0.94 to 1.02 and
/// 0.90 to 0.99 (and 1.02 to 1.11 times that of Attention, which opset 23 has).
///
/// Left out, as they take longer: SkipLayerNormalization 1.3 to 2.7 times, SkipSimplifiedLayerNormalization 1.04 to
/// 1.13, BiasGelu up to 1.09.
const FUSED: &[&str] =
    &["FusedConv", "FusedGemm", "FusedMatMul", "QuickGelu", "Gelu", "FastGelu", "MultiHeadAttention"];

/// Release 1.31 runs MatMulNBits and GatherBlockQuantized of 2, 4 and 8 bits in groups of 16 to 256, with or without zero
/// points. A DequantizeLinear that it finds in a file becomes a MatMulNBits where the weight is \[K,N\] and in blocks along
/// K, but not behind a Transpose or in a Gemm with transB; in front of a Gather or a Conv it runs by itself in every run.
const INTEGERS: FewBits = FewBits { forms: CONTRIB, channel: false, negative_scales: true, ..FewBits::all(DType::I4) };

/// The kernels of `MatMulNBits` that round what they read (`accuracy_level` 4) take 0.5 times as long as a product of
/// float32 for one row, and 0.8 to 0.9 times for many, measured with 768 columns and outputs, and up to 1.3 times with
/// 128. Without, 4 bits take 1.0 to 2.6 times as long, most for few rows, and 8 bits 1.3 to 32 times: they make float32 of
/// the weight in every run.
const ROUNDED: FewBits = FewBits { rounds: true, ..INTEGERS };

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
        "ORT-K13",
        Subject::NoSuch(&[
            "Affine",
            "Crop",
            "DynamicSlice",
            "ImageScaler",
            "ParametricSoftplus",
            "Scale",
            "ScaledTanh",
            "SimplifiedLayerNormalization",
        ]),
        "ONNX has no such operator",
        "export the model again: the converter left out what this operator is",
    ),
    Limit::about(
        "ORT-F10",
        Subject::Inner(&[DType::F16]),
        "the CPU provider computes in single precision and casts before and after",
        "compute in single precision: --precision fp16-weights keeps the file as small",
    )
    .when(is_work)
    .warns(),
    // Found in 1.31: between calls without kernels for halves it makes float32 of such a call, with a Cast before its
    // scales, and packs its integers before it knows these; where all optimizations are on, the Cast is gone by then.
    Limit::about(
        "ORT-F11",
        Subject::Inner(&[DType::F16]),
        "the CPU provider may compute it wrongly where not all graph optimizations are on",
        "leave them on, or give it weights of few bits after --precision fp16-weights",
    )
    .when(|call| call.node().op_name() == "MatMulNBits" && ACCURACY_LEVEL.of(call.node()) == 4)
    .warns(),
];

const ACCURACY_LEVEL: Key<i64> = Key::new("accuracy_level", 0);

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
