//! OpenVINO. Its reader takes every opset number (tried from 5 to 28 with release 2026.4) and looks operators up by
//! name, so nothing is gained by moving a model to another opset. What it lacks is what that release could not convert
//! or compile when it was given a node of every operator, and every node test of ONNX.

use crate::ir::{Attr, DType, Key, OpKind as O, Tensor};
use crate::ops::quant::BLOCK_SIZE;
use crate::ops::reduce::KEEPDIMS;
use crate::ops::schema::NEWEST_OPSET;
use crate::ops::slice::AXIS;
use crate::ops::{CallView, normalize_axis};
use crate::target::few_bits::PRODUCTS;
use crate::target::{Dynamics, FewBits, Limit, Profile, Subject};

/// OpenVINO on a CPU.
pub static OPENVINO: Profile = Profile {
    name: "openvino",
    oldest_opset: 1,
    newest_opset: NEWEST_OPSET as i64,
    avoids: SLOW,
    contrib: &[],
    limits: &[LIMITS],
    narrows: &[],
    policy: include_str!("policies/openvino.toml"),
    channel_multiple: 16,
    sparsity: "OpenVINO's CPU plugin packs int8 MatMul weights of many zeros (CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE, with AMX); nothing else is faster",
    dynamics: Dynamics::Weights,
    few_bits: &[INTEGERS.of(DType::I8), INTEGERS.of(DType::I4), INTEGERS.of(DType::U4)],
    notes: &[],
};

/// OV-R10: the CPU plugin of release 2026.4 keeps such weights as they are in its FullyConnected, and in Gather. A weight
/// \[K,N\] it transposes in every run, and that of a Conv it makes real numbers of in every run.
const INTEGERS: FewBits =
    FewBits { forms: PRODUCTS, by_output: true, negative_scales: true, ..FewBits::all(DType::I4) };

const LIMITS: &[Limit] = &[
    Limit::lacks(
        "OV-K1",
        &[
            O::Bernoulli,
            O::BitCast,
            O::CausalConvWithState,
            O::CumProd,
            O::DeformConv,
            O::Det,
            O::ImageDecoder,
            O::LinearAttention,
            O::MaxUnpool,
            O::MelWeightMatrix,
            O::STFT,
            O::SwiGLU,
            O::TensorScatter,
        ],
        "the reader has no conversion for it",
        "compute it before or after the model",
    ),
    Limit::lacks(
        "OV-K1",
        &[
            O::Optional,
            O::OptionalGetElement,
            O::OptionalHasElement,
            O::SequenceConstruct,
            O::SequenceInsert,
            O::SequenceMap,
            O::SplitToSequence,
        ],
        "there are tensors only, no sequences and no optional values",
        "export the model with Split, Concat and Gather in their place",
    ),
    Limit::lacks(
        "OV-K1",
        &[O::RegexFullMatch, O::StringConcat, O::StringNormalizer, O::StringSplit, O::TfIdfVectorizer],
        "the reader has no conversion for it",
        "treat text before the model",
    ),
    Limit::lacks("OV-K2", &[O::Mod], "the remainder of floats is that of fmod only", "export with fmod 1")
        .when(|call| call.dtype(0).is_some_and(DType::is_float) && FMOD.of(call.node()) == 0),
    Limit::lacks("OV-K3", &[O::Dropout], "there is no training", "export for inference")
        .when(|call| call.has(2) && call.constant(2).is_none_or(|t| t.integer() != Some(0))),
    Limit::lacks("OV-K4", &[O::GridSample], "samples are taken from images of 2 dimensions", "sample in 2 dimensions")
        .when(|call| call.rank(0).is_some_and(|rank| rank != 4)),
    Limit::lacks(
        "OV-K5",
        &[O::Resize],
        "these coordinates are not known to it",
        "export with half_pixel, pytorch_half_pixel, asymmetric or align_corners",
    )
    .when(|call| match call.node().attr("coordinate_transformation_mode") {
        Some(Attr::Str(mode)) => [&b"half_pixel_symmetric"[..], b"tf_crop_and_resize"].contains(&&**mode),
        _ => false,
    }),
    Limit::lacks("OV-K6", &[O::Pad], "there is no padding that wraps around", "pad with slices and Concat")
        .when(|call| matches!(call.node().attr("mode"), Some(Attr::Str(m)) if **m == *b"wrap")),
    Limit::lacks("OV-K7", &[O::Col2Im], "images have 2 dimensions", "fold in 2 dimensions")
        .when(|call| call.dims(1).and_then(|d| d.first()?.known()).is_some_and(|rank| rank != 2)),
    Limit::lacks(
        "OV-K8",
        &[O::QuantizeLinear],
        "it does not quantize to 16 bits in blocks",
        "quantize activations per tensor",
    )
    .when(|call| BLOCK_SIZE.of(call.node()) != 0 && call.result_ty(0).and_then(|t| t.dtype()) == Some(DType::I16)),
    Limit::about(
        "OV-K9",
        Subject::Types(&[
            DType::I2,
            DType::U2,
            DType::F8E4M3FNUZ,
            DType::F8E5M2FNUZ,
            DType::F6E2M3,
            DType::F6E3M2,
            DType::C64,
            DType::C128,
        ]),
        "the reader does not know this type",
        "quantize to int4 or int8",
    ),
    Limit::lacks("OV-K10", &[O::Equal], "strings are not compared", "compare text before the model")
        .when(|call| call.dtype(0) == Some(DType::String)),
    Limit::lacks("OV-K12", &[O::Resize], "antialiasing is left out", "resize without antialiasing")
        .when(|call| ANTIALIAS.of(call.node())),
    Limit::lacks(
        "OV-K12",
        &[O::Resize],
        "the aspect ratio is stretched whatever is asked for",
        "give the sizes that are meant",
    )
    .when(|call| matches!(call.node().attr("keep_aspect_ratio_policy"), Some(Attr::Str(p)) if **p != *b"stretch")),
    Limit::lacks(
        "OV-K13",
        &[O::GRU, O::LSTM, O::RNN],
        "the layout is taken for sequence first",
        "export with layout 0",
    )
    .when(|call| LAYOUT.of(call.node()) != 0),
    Limit::lacks("OV-K13", &[O::LSTM], "peepholes are left out", "export without peepholes").when(|call| call.has(7)),
    Limit::lacks("OV-K14", &[O::RoiAlign], "the maximum is taken of other samples", "export with mode avg")
        .when(|call| matches!(call.node().attr("mode"), Some(Attr::Str(m)) if **m == *b"max")),
    Limit::lacks("OV-K15", &[O::BitShift], "signed integers are not shifted as ONNX says", "shift unsigned integers")
        .when(|call| call.dtype(0).is_some_and(DType::is_signed_integer)),
    Limit::lacks(
        "OV-K16",
        &[O::Attention],
        "the causal mask does not count what was kept of earlier runs",
        "pass a mask instead of is_causal",
    )
    .when(|call| IS_CAUSAL.of(call.node()) && call.has(4)),
    Limit::lacks("OV-K16", &[O::Attention], "windows of keys are left out", "pass a mask for the window")
        .when(has_window),
    Limit::lacks(
        "OV-K17",
        &[O::NegativeLogLikelihoodLoss],
        "a class that is to be ignored is not",
        "leave losses out of the model",
    )
    .when(|call| call.node().attr("ignore_index").is_some()),
    Limit::lacks(
        "OV-K18",
        &[O::Squeeze, O::Unsqueeze],
        "with computed axes the rank is open, which no plugin takes",
        "export the model with fixed axes",
    )
    .when(|call| call.has(1) && call.constant(1).is_none()),
    Limit::lacks(
        "OV-K18",
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
        ],
        "with computed axes the rank is open, which no plugin takes",
        "export the model with fixed axes, or with keepdims",
    )
    .when(|call| call.has(1) && call.constant(1).is_none() && !KEEPDIMS.of(call.node()))
    .warns(),
    Limit::lacks(
        "OV-K21",
        &[O::ReduceL1, O::ReduceLogSum, O::ReduceLogSumExp],
        "in opsets 13 to 17 the reader takes no axes from an attribute, and reduces all of them",
        "write the model in opset 18: --opset 18",
    )
    .from(13)
    .to(17)
    .when(|call| call.has(1)),
    Limit::lacks("OV-K12", &[O::Resize], "what is outside is not excluded", "export without exclude_outside")
        .when(|call| EXCLUDE_OUTSIDE.of(call.node())),
    Limit::lacks("OV-K19", &[O::SpaceToDepth], "blocks come first whatever is asked for", "export with mode DCR")
        .when(|call| matches!(call.node().attr("mode"), Some(Attr::Str(m)) if **m == *b"CRD")),
    Limit::lacks("OV-K20", &[O::Celu], "it is not converted for half precision", "compute it in single precision")
        .when(|call| matches!(call.dtype(0), Some(DType::F16 | DType::BF16))),
    Limit::lacks(
        "OV-K23",
        &[O::Gather],
        "another order of channels is taken into the layers behind it the wrong way around",
        "take them by indices of two axes",
    )
    .when(turns_channels),
    Limit::about(
        "OV-K11",
        Subject::Foreign(&["com.microsoft"]),
        "the reader has no conversion for operators of this domain",
        "load the extension that has it, and pass --allow-unsupported",
    ),
    Limit::about(
        "OV-K11",
        Subject::Foreign(&[]),
        "the reader has no conversion for this operator of com.microsoft",
        "export the model with ONNX's own operators",
    )
    .when(|call| call.node().domain() == "com.microsoft" && !CONTRIB.contains(&call.node().op_name())),
    Limit::about(
        "OV-K21",
        Subject::Foreign(&[]),
        "it is converted for single precision alone",
        "compute it in single precision",
    )
    .when(|call| {
        call.node().domain() == "com.microsoft"
            && call.node().op_name() == "QuickGelu"
            && matches!(call.dtype(0), Some(DType::F16 | DType::BF16))
    }),
    Limit::about(
        "OV-K22",
        Subject::NoSuch(OF_ITS_OWN),
        "ONNX has no such operator",
        "export the model again: the converter left out what this operator is",
    ),
    Limit::lacks(
        "OV-R5",
        &[O::DequantizeLinear],
        "a weight with a zero point that is not zero is computed in single precision",
        "quantize weights symmetrically, to int8",
    )
    .when(|call| {
        matches!(call.dtype(0), Some(DType::U8 | DType::I8))
            && call.constant(0).is_some()
            && call.constant(2).is_some_and(|t| t.uniform_real() != Some(0.0))
    })
    .warns(),
    Limit::lacks(
        "OV-R3",
        &[O::ConvTranspose],
        "with a zero point that is not zero it is computed in single precision",
        "quantize its input and weight symmetrically",
    )
    .when(|call| (0..2).any(|slot| is_asymmetric(call, slot)))
    .warns(),
    Limit::lacks(
        "OV-R4",
        &[O::MatMul],
        "a product of two activations needs zero points of zero to be computed in integers",
        "quantize both symmetrically, to int8",
    )
    .when(|call| {
        let is_weight = call.is_weight(0) || call.is_weight(1);
        !is_weight && (0..2).any(|slot| is_asymmetric(call, slot))
    })
    .warns(),
];

const EXCLUDE_OUTSIDE: Key<bool> = Key::new("exclude_outside", false);
const ANTIALIAS: Key<bool> = Key::new("antialias", false);
const LAYOUT: Key<i64> = Key::new("layout", 0);
const IS_CAUSAL: Key<bool> = Key::new("is_causal", false);
const FMOD: Key<i64> = Key::new("fmod", 0);

/// Whether a `Gather` puts the whole of axis 1 in another order, which done twice is not the one from before: one that
/// is its own inverse is right whichever way around it is taken.
fn turns_channels(call: &CallView<'_>) -> bool {
    let is_second = call.rank(0).is_some_and(|rank| rank >= 3 && normalize_axis(AXIS.of(call.node()), rank) == Some(1));
    let Some(places) = call.constant(1).filter(|t| is_second && t.rank() == 1).and_then(Tensor::integers) else {
        return false;
    };
    let size = places.len();
    let of_axis = call.dims(0).and_then(|dims| dims.get(1)?.known());
    if of_axis.is_some_and(|of_axis| i64::try_from(size) != Ok(of_axis)) {
        return false;
    }
    let place = |&place: &i64| {
        let place = if place < 0 { place.checked_add(i64::try_from(size).ok()?)? } else { place };
        usize::try_from(place).ok().filter(|&place| place < size)
    };
    let Some(order) = places.iter().map(place).collect::<Option<Vec<usize>>>() else { return false };
    let mut seen = vec![false; size];
    let is_whole = order.iter().all(|&place| !std::mem::replace(&mut seen[place], true));
    is_whole && order.iter().enumerate().any(|(at, &place)| order[place] != at)
}

fn has_window(call: &CallView<'_>) -> bool {
    // Without an end a window is none.
    ["left_window_size", "right_window_size"]
        .iter()
        .any(|name| matches!(call.node().attr(name), Some(Attr::Int(size)) if *size >= 0))
}

/// Whether operand `slot` is dequantized with a zero point that is not zero.
fn is_asymmetric(call: &CallView<'_>, slot: usize) -> bool {
    let producer = call.operand(slot).and_then(|v| call.graph().producer(v));
    producer.is_some_and(|(node, _)| {
        let made = CallView::new(call.graph(), node);
        made.node().op == O::DequantizeLinear && made.constant(2).is_some_and(|t| t.uniform_real() != Some(0.0))
    })
}

/// Operators outside ONNX that the reader takes by their name alone.
const OF_ITS_OWN: &[&str] = &[
    "ATen",
    "Affine",
    "ConstantFill",
    "Crop",
    "DetectionOutput",
    "FakeQuantize",
    "GroupNorm",
    "ImageScaler",
    "Normalize",
    "PriorBox",
    "SimplifiedLayerNormalization",
    "Swish",
];

/// Operators of com.microsoft that the reader converts.
const CONTRIB: &[&str] = &[
    "Attention",
    "BiasAdd",
    "BiasGelu",
    "BifurcationDetector",
    "DequantizeLinear",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "EmbedLayerNormalization",
    "FastGelu",
    "FusedConv",
    "FusedGemm",
    "FusedMatMul",
    "GatherBlockQuantized",
    "GatherND",
    "Gelu",
    "GroupNorm",
    "GroupQueryAttention",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MultiHeadAttention",
    "Pad",
    "QLinearAdd",
    "QLinearAveragePool",
    "QLinearConcat",
    "QLinearLeakyRelu",
    "QLinearMul",
    "QLinearReduceMean",
    "QLinearSigmoid",
    "QLinearSoftmax",
    "QLinearWhere",
    "QuantizeLinear",
    "QuickGelu",
    "Range",
    "RotaryEmbedding",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
    "Trilu",
];

/// What takes longer than what it stands for. Measured on the CPU plugin of release 2026.4 in f32 with
/// benches/spellings.py, as processor time on one thread: HardSigmoid 1.2 to 2.0 times that of its Clip behind a Conv,
/// as nothing takes it up there, and Attention 1.0 to 1.1 times that of its products.
///
/// What else the rules bring in takes as long, give or take 0.03: the plugin finds it by itself.
const SLOW: &[O] = &[O::HardSigmoid, O::Attention];
