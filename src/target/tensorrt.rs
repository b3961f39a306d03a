//! NVIDIA TensorRT through its ONNX parser: the parser's lists of operators, types and restrictions for releases 8.6,
//! 10.1 and 10.15, and the ONNX opset guide and release notes of release 11. No row was tried on a device.

use crate::ir::{Attr, DType, Key, OpKind as O};
use crate::ops::CallView;
use crate::ops::quant::BLOCK_SIZE;
use crate::target::few_bits::PRODUCTS;
use crate::target::tensorrt_integers::INTEGERS;
use crate::target::{Dynamics, FewBits, Limit, Profile, Subject};

/// TensorRT, release 11.
pub static TENSORRT: Profile = Profile {
    name: "tensorrt",
    oldest_opset: 9,
    newest_opset: 25,
    avoids: &[],
    contrib: &[],
    limits: &[EVERY, INTEGERS],
    narrows: &[(DType::F64, DType::F32)],
    policy: include_str!("policies/tensorrt.toml"),
    channel_multiple: 8,
    sparsity: "TensorRT runs 2:4 zeros along input channels faster on Ampere and newer when built with --sparsity=enable; it is no faster for other zeros",
    dynamics: Dynamics::None,
    few_bits: &[INT8, INT4],
    notes: &[
        "an input with an open dimension needs a range when the engine is built: trtexec --minShapes, --optShapes, --maxShapes",
    ],
};

/// TensorRT, release 10.15.
pub static TENSORRT_10_15: Profile =
    Profile { name: "tensorrt:10.15", newest_opset: 24, limits: &[EVERY, INTEGERS, BEFORE_11], ..TENSORRT };

/// TensorRT, release 10.1.
pub static TENSORRT_10_1: Profile = Profile {
    name: "tensorrt:10.1",
    newest_opset: 20,
    // Types of 4 bits came with opset 21.
    few_bits: &[INT8],
    limits: &[EVERY, INTEGERS, BEFORE_11, BEFORE_10_15],
    ..TENSORRT
};

/// TensorRT, release 8.6.
pub static TENSORRT_8_6: Profile = Profile {
    name: "tensorrt:8.6",
    newest_opset: 17,
    few_bits: &[],
    limits: &[EVERY, INTEGERS, BEFORE_11, BEFORE_10_15, BEFORE_10],
    ..TENSORRT
};

/// TRT-T7: 4 bits in blocks of 64 or 128 only, around zero.
const INT4: FewBits =
    FewBits { groups: &[64, 128], channel: false, zero_points: false, forms: PRODUCTS, ..FewBits::all(DType::I4) };

/// TRT-T4: 8 bits with a scale for each output, around zero.
const INT8: FewBits = FewBits { groups: &[], channel: true, ..INT4.of(DType::I8) };

/// Types that no release has.
const FOREIGN_TYPES: &[DType] = &[
    DType::String,
    DType::C64,
    DType::C128,
    DType::I16,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::U4,
    DType::I2,
    DType::U2,
    DType::F8E4M3FNUZ,
    DType::F8E5M2,
    DType::F8E5M2FNUZ,
    DType::F6E2M3,
    DType::F6E3M2,
];

/// What no release runs.
const EVERY: &[Limit] = &[
    Limit::lacks(
        "TRT-T12",
        &[
            O::AffineGrid,
            O::Bernoulli,
            O::BitCast,
            O::BitShift,
            O::BitwiseAnd,
            O::BitwiseNot,
            O::BitwiseOr,
            O::BitwiseXor,
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
            O::SoftmaxCrossEntropyLoss,
            O::SwiGLU,
            O::Unique,
        ],
        "the parser has no layer for it",
        "compute it before or after the model, or replace it by a plugin",
    ),
    Limit::lacks(
        "TRT-T12",
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
        "TRT-T12",
        &[O::RegexFullMatch, O::StringConcat, O::StringNormalizer, O::StringSplit, O::TfIdfVectorizer],
        "there are no strings",
        "treat text before the model",
    ),
    Limit::lacks(
        "TRT-T12",
        &[O::ConvInteger, O::DynamicQuantizeLinear, O::MatMulInteger, O::QLinearConv, O::QLinearMatMul],
        "quantization is said with QuantizeLinear and DequantizeLinear only",
        "give a model that is quantized with QuantizeLinear and DequantizeLinear, symmetric and in int8",
    ),
    Limit::lacks(
        "TRT-T2",
        &[O::QuantizeLinear, O::DequantizeLinear],
        "quantization is symmetric: the zero point has to be a constant, and zero",
        "quantize the model symmetrically",
    )
    .when(has_zero_point),
    Limit::lacks(
        "TRT-T3",
        &[O::QuantizeLinear, O::DequantizeLinear],
        "quantized types are int8, int4 and the 8-bit and 4-bit floats; uint8 and 16 bits are not",
        "quantize the model to int8, with a zero point of that type",
    )
    .when(has_unsigned_zero_point),
    Limit::lacks(
        "TRT-T4",
        &[O::QuantizeLinear, O::DequantizeLinear],
        "scales have to be positive, and their shape known",
        "give constant, positive scales",
    )
    .when(has_open_scale),
    Limit::lacks(
        "TRT-T5",
        &[O::QuantizeLinear],
        "only constants have a scale per channel; activations have one scale",
        "quantize activations per tensor",
    )
    .when(|call| is_per_channel(call) && call.constant(0).is_none()),
    Limit::lacks(
        "TRT-T6",
        &[O::QuantizeLinear, O::DequantizeLinear],
        "a quantized tensor has at least one dimension",
        "leave scalars in floating point",
    )
    .when(|call| call.rank(0) == Some(0)),
    Limit::lacks(
        "TRT-T7",
        &[O::DequantizeLinear],
        "int4 weights have blocks of 64 or 128 along one of the last two dimensions",
        "quantize in blocks of 64 or 128",
    )
    .when(has_odd_blocks),
    Limit::about(
        "TRT-T9",
        Subject::Types(FOREIGN_TYPES),
        "it is of an element type that TensorRT has not",
        "cast to float, int32 or int64 before",
    ),
    Limit::about(
        "TRT-T9",
        Subject::Types(&[DType::F64]),
        "double precision is clamped to single",
        "export the model in single precision, inputs and outputs too",
    ),
    Limit::about(
        "TRT-T3",
        Subject::Inner(&[DType::U8]),
        "uint8 is a type of inputs and outputs only, to be cast at once",
        "cast to float right behind the input",
    )
    .when(|call| !matches!(call.node().op, O::Cast | O::QuantizeLinear | O::DequantizeLinear)),
    Limit::lacks(
        "TRT-T12",
        &[O::AveragePool, O::MaxPool, O::LpPool],
        "pooling is in 1, 2 or 3 dimensions",
        "reshape to fewer dimensions",
    )
    .when(|call| call.rank(0).is_some_and(|rank| !(3..=5).contains(&rank))),
    Limit::lacks(
        "TRT-T12",
        &[O::AveragePool, O::MaxPool, O::LpPool],
        "pooling has no dilations",
        "pool without dilations",
    )
    .when(|call| matches!(call.node().attr("dilations"), Some(Attr::Ints(d)) if d.iter().any(|&d| d != 1))),
    Limit::lacks("TRT-T12", &[O::MaxPool], "there is no Indices result", "compute the indices elsewhere")
        .when(|call| reads(call, 1)),
    Limit::lacks(
        "TRT-T12",
        &[O::LSTM, O::GRU, O::RNN],
        "the layout is sequence first",
        "export with layout 0",
    )
    .when(|call| LAYOUT.of(call.node()) != 0),
    Limit::lacks("TRT-T12", &[O::LSTM], "input_forget is not supported", "export with separate gates")
        .when(|call| INPUT_FORGET.of(call.node()) != 0),
    Limit::lacks("TRT-T12", &[O::TopK], "elements come sorted only", "ask for sorted elements")
        .when(|call| !SORTED.of(call.node())),
    Limit::lacks("TRT-T12", &[O::TopK], "k is less than 3840", "ask for fewer elements")
        .when(|call| call.known_ints(1).is_some_and(|k| k.first().is_some_and(|&k| k >= 3840))),
    Limit::lacks(
        "TRT-T12",
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
            O::CumSum,
        ],
        "axes have to be constant",
        "export the model with fixed axes",
    )
    .when(|call| is_computed(call, 1)),
    Limit::lacks("TRT-T12", &[O::Slice], "axes have to be constant", "export the model with fixed axes")
        .when(|call| is_computed(call, 3)),
    Limit::lacks("TRT-T12", &[O::OneHot], "the depth has to be constant", "export the model with a fixed depth")
        .when(|call| is_computed(call, 1)),
    Limit::lacks("TRT-T12", &[O::ScatterND], "there is no reduction", "scatter without a reduction")
        .when(|call| matches!(call.node().attr("reduction"), Some(Attr::Str(r)) if **r != *b"none")),
    Limit::lacks("TRT-T12", &[O::GridSample], "samples are taken from images of 2 dimensions", "sample in 2 dimensions")
        .when(|call| call.rank(0).is_some_and(|rank| rank != 4)),
    Limit::lacks(
        "TRT-T12",
        &[O::LayerNormalization],
        "only the first result is there",
        "compute mean and deviation elsewhere",
    )
    .when(|call| reads(call, 1) || reads(call, 2)),
    Limit::lacks("TRT-T12", &[O::Resize], "there is no antialiasing", "resize without antialiasing")
        .when(|call| ANTIALIAS.of(call.node())),
    Limit::lacks("TRT-T12", &[O::Resize], "the aspect ratio is stretched only", "give the sizes that are meant")
        .when(|call| matches!(call.node().attr("keep_aspect_ratio_policy"), Some(Attr::Str(p)) if **p != *b"stretch")),
    Limit::lacks(
        "TRT-T12",
        &[O::Resize],
        "coordinates are transformed by half_pixel, pytorch_half_pixel, tf_half_pixel_for_nn, asymmetric or align_corners",
        "export with one of these",
    )
    .when(|call| match call.node().attr("coordinate_transformation_mode") {
        Some(Attr::Str(mode)) => !COORDINATES.contains(&&**mode),
        _ => false,
    }),
    Limit::lacks(
        "TRT-T12",
        &[O::Resize],
        "cubic interpolation is not among what is documented",
        "export with linear interpolation, or try it on the release",
    )
    .when(|call| matches!(call.node().attr("mode"), Some(Attr::Str(m)) if **m == *b"cubic"))
    .warns(),
    Limit::lacks("TRT-T12", &[O::Dropout], "there is no training", "export for inference")
        .when(|call| call.has(2) && call.constant(2).is_none_or(|t| t.integer() != Some(0))),
    Limit::lacks(
        "TRT-T12",
        &[O::NonMaxSuppression, O::NonZero, O::RoiAlign],
        "the size of its result, or its speed, depends on the data",
        "leave it behind the model, or use the plugin EfficientNMS for suppression",
    )
    .warns(),
    Limit::about(
        "TRT-T12",
        Subject::Foreign(&[]),
        "an operator of ONNX Runtime alone",
        "export the model with ONNX's own operators, or give a plugin of this name and pass --allow-unsupported",
    )
    .when(|call| call.node().domain().starts_with("com.microsoft")),
    Limit::about(
        "TRT-T12",
        Subject::Foreign(&["com.microsoft", "com.microsoft.nchwc"]),
        "an operator of another domain needs a plugin",
        "load the plugin when the engine is built",
    )
    .warns(),
    Limit::about(
        "TRT-T12",
        Subject::NoSuch(&[]),
        "ONNX has no such operator: a plugin of this name is looked for",
        "load the plugin when the engine is built, or export the model again",
    )
    .warns(),
    Limit::about(
        "TRT-T11",
        Subject::OpenInputs,
        "an open dimension needs a range when the engine is built",
        "fix it with --input-shape, or pass trtexec --minShapes, --optShapes and --maxShapes",
    )
    .warns(),
];

/// What came with release 11.
const BEFORE_11: &[Limit] =
    &[Limit::lacks("TRT-T12", &[O::Swish], "it came with release 11", "use a newer release, or an opset below 24")];

/// What came between releases 10.1 and 10.15.
const BEFORE_10_15: &[Limit] = &[
    Limit::lacks(
        "TRT-T12",
        &[
            O::Attention,
            O::RMSNormalization,
            O::RotaryEmbedding,
            O::TensorScatter,
            O::BlackmanWindow,
            O::HammingWindow,
            O::HannWindow,
            O::STFT,
        ],
        "it came after release 10.1",
        "use release 10.15 or newer",
    ),
    Limit::lacks("TRT-T12", &[O::Pad], "axes have to be constant", "export the model with fixed axes")
        .when(|call| is_computed(call, 3)),
    Limit::about(
        "TRT-T9",
        Subject::Types(&[DType::F4E2M1]),
        "4-bit floats came with release 10.8",
        "use a newer release",
    ),
];

/// What came with releases 9 and 10.
const BEFORE_10: &[Limit] = &[
    Limit::lacks("TRT-T12", &[O::Hardmax], "it came after release 8.6", "use release 10 or newer"),
    Limit::lacks(
        "TRT-T12",
        &[O::Einsum],
        "there is no ellipsis, no diagonal and no broadcasting",
        "export a product or a sum in its place",
    )
    .when(has_ellipsis_or_diagonal),
    Limit::about(
        "TRT-T9",
        Subject::Types(&[DType::BF16, DType::F8E4M3FN, DType::I4, DType::F8E8M0]),
        "this type came with release 9 or 10",
        "use half or single precision, or a newer release",
    ),
    Limit::about(
        "TRT-T9",
        Subject::Types(&[DType::I64]),
        "64-bit integers are clamped to 32 bits",
        "nothing, unless some number is beyond 2147483647",
    )
    .warns(),
    Limit::lacks(
        "TRT-P8",
        &[O::DequantizeLinear],
        "weights that are quantized already are read from release 9 on",
        "keep the weight in single precision, with QuantizeLinear and DequantizeLinear behind it",
    )
    .when(|call| call.constant(0).is_some())
    .warns(),
];

const LAYOUT: Key<i64> = Key::new("layout", 0);
const INPUT_FORGET: Key<i64> = Key::new("input_forget", 0);
const SORTED: Key<bool> = Key::new("sorted", true);
const ANTIALIAS: Key<bool> = Key::new("antialias", false);
const AXIS: Key<i64> = Key::new("axis", 1);

const COORDINATES: &[&[u8]] =
    &[b"half_pixel", b"pytorch_half_pixel", b"tf_half_pixel_for_nn", b"asymmetric", b"align_corners"];

/// Whether somebody reads result `slot`.
fn reads(call: &CallView<'_>, slot: usize) -> bool {
    call.graph().result(call.id(), slot).is_some_and(|v| !call.graph().value(v).users().is_empty())
}

/// Whether operand `slot` is there and no constant.
fn is_computed(call: &CallView<'_>, slot: usize) -> bool {
    call.has(slot) && call.constant(slot).is_none()
}

fn has_zero_point(call: &CallView<'_>) -> bool {
    call.has(2) && call.constant(2).is_none_or(|t| t.uniform_real() != Some(0.0))
}

/// The type that the call quantizes to or from.
fn quantized_type(call: &CallView<'_>) -> Option<DType> {
    match call.node().op {
        O::QuantizeLinear => call.result_ty(0).and_then(|ty| ty.dtype()),
        _ => call.dtype(0),
    }
}

fn has_unsigned_zero_point(call: &CallView<'_>) -> bool {
    let accepted = [DType::I8, DType::I4, DType::F8E4M3FN, DType::F4E2M1];
    quantized_type(call).is_some_and(|t| !accepted.contains(&t))
}

fn has_open_scale(call: &CallView<'_>) -> bool {
    let open = call.dims(1).is_some_and(|dims| dims.iter().any(|d| d.known().is_none()));
    let negative = call.constant(1).and_then(|t| t.reals()).is_some_and(|s| s.iter().any(|s| s.is_nan() || *s <= 0.0));
    open || negative
}

fn is_per_channel(call: &CallView<'_>) -> bool {
    call.rank(1) == Some(1) && call.dims(1).is_some_and(|d| d[0].known() != Some(1))
}

fn has_odd_blocks(call: &CallView<'_>) -> bool {
    let block = BLOCK_SIZE.of(call.node());
    let from_back = |rank: usize| {
        let axis = AXIS.of(call.node());
        let rank = i64::try_from(rank).unwrap_or(i64::MAX);
        if axis < 0 { axis.saturating_neg() } else { rank - axis }
    };
    call.dtype(0) == Some(DType::I4)
        && block != 0
        && (![64, 128].contains(&block) || call.rank(0).is_some_and(|rank| !(1..=2).contains(&from_back(rank))))
}

fn has_ellipsis_or_diagonal(call: &CallView<'_>) -> bool {
    let Some(Attr::Str(equation)) = call.node().attr("equation") else { return false };
    let terms = equation.split(|b| matches!(b, b',' | b'-' | b'>'));
    equation.contains(&b'.')
        || terms.into_iter().any(|term| {
            let letters: Vec<u8> = term.iter().copied().filter(u8::is_ascii_alphabetic).collect();
            (1..letters.len()).any(|i| letters[..i].contains(&letters[i]))
        })
}
