//! TensorFlow Lite / LiteRT, through a converter that reads ONNX: what has no TensorFlow Lite operator and no
//! decomposition in the converter's table of operators. No row was tried on a device.

use crate::ir::{Attr, DType, Key, OpKind as O};
use crate::ops::CallView;
use crate::ops::schema::NEWEST_OPSET;
use crate::ops::window::GROUP;
use crate::target::{Dynamics, Limit, Profile, Subject};

/// TensorFlow Lite. The model is written as ONNX.
pub static TFLITE: Profile = Profile {
    name: "tflite",
    oldest_opset: 1,
    newest_opset: NEWEST_OPSET as i64,
    avoids: &[],
    contrib: &[],
    limits: &[LIMITS],
    narrows: &[(DType::F64, DType::F32)],
    policy: include_str!("policies/tflite.toml"),
    channel_multiple: 8,
    sparsity: "XNNPACK runs 1x1 convolutions of more than two thirds zeros faster; nothing else is",
    dynamics: Dynamics::None,
    few_bits: &[],
    notes: &["the model is written as ONNX, for a converter to .tflite to read"],
};

const LIMITS: &[Limit] = &[
    Limit::lacks(
        "TFL-T1",
        &[
            O::Optional,
            O::OptionalGetElement,
            O::OptionalHasElement,
            O::ConcatFromSequence,
            O::SequenceAt,
            O::SequenceConstruct,
            O::SequenceEmpty,
            O::SequenceErase,
            O::SequenceInsert,
            O::SequenceLength,
            O::SequenceMap,
            O::SplitToSequence,
        ],
        "there are tensors only, no sequences and no optional values",
        "export the model with Split, Concat and Gather in their place",
    ),
    Limit::lacks(
        "TFL-T1",
        &[O::RegexFullMatch, O::StringConcat, O::StringNormalizer, O::StringSplit, O::TfIdfVectorizer],
        "there is no operator for it",
        "treat text before the model",
    ),
    Limit::lacks(
        "TFL-T1",
        &[
            O::AffineGrid,
            O::Bernoulli,
            O::BitCast,
            O::CausalConvWithState,
            O::CenterCropPad,
            O::Col2Im,
            O::Compress,
            O::CumProd,
            O::DFT,
            O::Det,
            O::ImageDecoder,
            O::LinearAttention,
            O::MaxRoiPool,
            O::MaxUnpool,
            O::MelWeightMatrix,
            O::Multinomial,
            O::NegativeLogLikelihoodLoss,
            O::STFT,
            O::SoftmaxCrossEntropyLoss,
            O::TensorScatter,
            O::Unique,
        ],
        "there is no operator for it",
        "compute it before or after the model",
    ),
    Limit::lacks(
        "TFL-T2",
        &[O::Attention, O::RMSNormalization, O::RotaryEmbedding, O::SwiGLU, O::Swish],
        "the converter has no row for it",
        "write an opset below 23",
    ),
    Limit::lacks(
        "TFL-T3",
        &[O::ConvTranspose],
        "a transposed convolution has one group and no dilations",
        "export with group 1 and dilations of 1",
    )
    .when(|call| GROUP.of(call.node()) != 1 || is_dilated(call)),
    Limit::lacks("TFL-T3", &[O::Conv], "a convolution in 3 dimensions has one group", "export with group 1")
        .when(|call| call.rank(0) == Some(5) && GROUP.of(call.node()) != 1),
    Limit::lacks(
        "TFL-T4",
        &[O::AveragePool, O::MaxPool, O::LpPool],
        "pooling has no dilations",
        "pool without dilations",
    )
    .when(is_dilated),
    Limit::lacks("TFL-T4", &[O::MaxPool], "there are no indices of maxima", "compute the indices elsewhere")
        .when(|call| call.graph().result(call.id(), 1).is_some_and(|v| !call.graph().value(v).users().is_empty())),
    Limit::lacks(
        "TFL-T5",
        &[
            O::ReduceL1,
            O::ReduceL2,
            O::ReduceLogSum,
            O::ReduceLogSumExp,
            O::ReduceMax,
            O::ReduceMean,
            O::ReduceMin,
            O::ReduceProd,
            O::ReduceSum,
            O::ReduceSumSquare,
            O::Squeeze,
            O::Unsqueeze,
        ],
        "axes have to be constant",
        "export the model with fixed axes",
    )
    .when(|call| call.has(1) && call.constant(1).is_none()),
    Limit::lacks("TFL-T6", &[O::GRU, O::LSTM, O::RNN], "the layout is sequence first", "export with layout 0")
        .when(|call| LAYOUT.of(call.node()) != 0),
    Limit::lacks(
        "TFL-T7",
        &[O::QuantizeLinear, O::DequantizeLinear],
        "scale and zero point have to be constant",
        "calibrate ahead of the run",
    )
    .when(|call| (1..3).any(|slot| call.has(slot) && call.constant(slot).is_none())),
    Limit::lacks(
        "TFL-T7",
        &[O::DynamicQuantizeLinear, O::MatMulInteger, O::ConvInteger],
        "scales that are found during the run are not in the model's words",
        "let the converter quantize dynamically, or calibrate ahead of the run",
    ),
    Limit::about(
        "TFL-T8",
        Subject::Types(&[
            DType::F64,
            DType::C128,
            DType::BF16,
            DType::F8E4M3FN,
            DType::F8E4M3FNUZ,
            DType::F8E5M2,
            DType::F8E5M2FNUZ,
            DType::F8E8M0,
            DType::F4E2M1,
            DType::F6E2M3,
            DType::F6E3M2,
            DType::U64,
        ]),
        "there are next to no kernels for this type",
        "use single precision, or int8",
    ),
    Limit::about(
        "TFL-T9",
        Subject::Foreign(&[]),
        "the converter does not know the domain",
        "export the model with ONNX's own operators",
    ),
    Limit::about(
        "TFL-T11",
        Subject::NoSuch(&[]),
        "ONNX has no such operator",
        "export the model again: the converter left out what this operator is",
    ),
    Limit::lacks(
        "TFL-T10",
        &[O::NonMaxSuppression, O::RoiAlign, O::GridSample, O::DeformConv, O::If, O::Loop, O::Scan],
        "it is decomposed under constraints, or becomes a custom operator",
        "look at what the converter makes of it",
    )
    .warns(),
];

const LAYOUT: Key<i64> = Key::new("layout", 0);

fn is_dilated(call: &CallView<'_>) -> bool {
    matches!(call.node().attr("dilations"), Some(Attr::Ints(d)) if d.iter().any(|&d| d != 1))
}
