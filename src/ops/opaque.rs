//! Operators of other domains of which some facts are known though nothing here computes or rewrites them.
//!
//! All are carried through untouched, but for what a pruner takes of their heads and channels. That they are
//! deterministic lets equal calls be merged; a type of the result lets inference go on behind them.

use crate::ir::{DType, Int, Key, Shape, Type};
use crate::ops::elementwise::broadcast;
use crate::ops::matmul::{multiply, multiply_turned};
use crate::ops::{
    CallView, Channels, End, Infer, OpDef, Outcome, Tie, Ties, contrib, conv, gather, image, matmul, pool, quant, rnn,
    shape, slice, ties,
};

/// Deterministic, and nothing else is known. What it costs is not.
static PURE: OpDef = OpDef { deterministic: |_| true, ..OpDef::UNKNOWN };
/// Result 0 has operand 0's type; elements depend on their neighbours.
static LIKE_FIRST: OpDef = OpDef { infer: Some(|c| like(c, 0, 0)), macs: |_| Some(Int::from(0)), ..PURE };
/// Result 0 has operand 0's type, element by element.
static ACTIVATION: OpDef = OpDef { channels: |_| Channels::Tied, ..LIKE_FIRST };
/// An activation behind the addition of a bias along the last axis, which never widens operand 0.
static BIASED: OpDef = OpDef { ties: contrib::all_operands, ..LIKE_FIRST };
/// Integers, element by element, each of one scale.
static QUANTIZED_UNARY: OpDef = OpDef { ties: contrib::elements, ..LIKE_FIRST };
static SKIP_NORM: OpDef = OpDef { infer: Some(skip_norm), ..LIKE_FIRST };
static SKIP_RMS_NORM: OpDef = OpDef { ties: |c| root_mean_square(c, &[0, 1, 3], 2), ..SKIP_NORM };
static RMS_NORM: OpDef = OpDef { ties: |c| root_mean_square(c, &[0], 1), ..LIKE_FIRST };
static BATCH_NORM: OpDef = OpDef { infer: Some(batch_norm), ..LIKE_FIRST };
static EMBED_NORM: OpDef = OpDef { infer: Some(embed_norm), ..PURE };
static FUSED_CONV: OpDef =
    OpDef { infer: conv::CONV.infer, ties: contrib::fused_conv_ties, macs: conv::CONV.macs, ..PURE };
static FUSED_GEMM: OpDef =
    OpDef { infer: matmul::GEMM.infer, ties: matmul::GEMM.ties, macs: matmul::GEMM.macs, ..PURE };
static FUSED_MATMUL: OpDef = OpDef { infer: Some(fused_matmul), ties: contrib::fused_product_ties, ..PURE };
static MATMUL_NBITS: OpDef = OpDef { infer: Some(matmul_nbits), macs: matmul_nbits_macs, ..PURE };
static DYNAMIC_MATMUL: OpDef =
    OpDef { infer: Some(|c| multiply(c, 0, 1, c.dtype(0))), macs: matmul::MATMUL.macs, ..PURE };
static INTEGER_MATMUL: OpDef = OpDef { infer: Some(|c| multiply(c, 0, 1, c.dtype(2))), ..DYNAMIC_MATMUL };
static QLINEAR_BINARY: OpDef =
    OpDef { infer: Some(qlinear_binary), ties: contrib::quantized_binary_ties, macs: |_| Some(Int::from(0)), ..PURE };
static QLINEAR_GLOBAL_POOL: OpDef =
    OpDef { infer: Some(contrib::global_pool), ties: contrib::pooled, macs: |_| Some(Int::from(0)), ..PURE };
static QLINEAR_POOL: OpDef = OpDef {
    infer: Some(|c| if contrib::is_channels_last(c) { None } else { pool::AVERAGE_POOL.infer?(c) }),
    ties: contrib::pooled,
    macs: |_| Some(Int::from(0)),
    ..PURE
};
static GRID_SAMPLE: OpDef = OpDef { infer: image::GRID_SAMPLE.infer, ties: contrib::pooled, ..PURE };
static QLINEAR_CONCAT: OpDef =
    OpDef { infer: Some(contrib::concat), ties: contrib::concat_ties, macs: |_| Some(Int::from(0)), ..PURE };
static QGEMM: OpDef = OpDef { infer: Some(contrib::gemm), ties: contrib::gemm_ties, macs: matmul::GEMM.macs, ..PURE };
static ATTENTION: OpDef = OpDef { infer: Some(contrib::attention), ties: contrib::attention_ties, ..PURE };
static QUANTIZED_ATTENTION: OpDef =
    OpDef { infer: Some(contrib::attention), ties: contrib::quantized_attention_ties, ..PURE };
static MULTI_HEAD_ATTENTION: OpDef = OpDef { infer: Some(contrib::multi_head), ties: contrib::multi_head_ties, ..PURE };
static GROUP_QUERY_ATTENTION: OpDef =
    OpDef { infer: Some(contrib::group_query), ties: contrib::group_query_ties, ..PURE };
static DECODER_ATTENTION: OpDef = OpDef { infer: Some(attention), ..PURE };
static QUANTIZE: OpDef = OpDef {
    infer: quant::QUANTIZE_LINEAR.infer,
    ties: quant::QUANTIZE_LINEAR.ties,
    macs: |_| Some(Int::from(0)),
    ..PURE
};
static DEQUANTIZE: OpDef = OpDef {
    infer: quant::DEQUANTIZE_LINEAR.infer,
    ties: quant::DEQUANTIZE_LINEAR.ties,
    macs: |_| Some(Int::from(0)),
    ..PURE
};
static TO_FLOAT: OpDef = OpDef { infer: Some(|c| retyped(c, Some(DType::F32))), ..LIKE_FIRST };
static CATEGORIES: OpDef = OpDef { infer: Some(categories), ..LIKE_FIRST };

/// The row of operator `name` of `domain`; [`OpDef::UNKNOWN`] for one that is not known here.
pub fn row(domain: &str, name: &str) -> &'static OpDef {
    match domain {
        "com.microsoft" => microsoft(name),
        "ai.onnx.ml" => ml(name),
        "" => older(name),
        _ => &OpDef::UNKNOWN,
    }
}

/// Operators of the default domain whose older meaning has no newer spelling, and one that onnxruntime put there.
fn older(name: &str) -> &'static OpDef {
    match name {
        "Softmax" | "LogSoftmax" | "Hardmax" => &LIKE_FIRST,
        "SimplifiedLayerNormalization" => &RMS_NORM,
        "BatchNormalization" => &BATCH_NORM,
        _ => &OpDef::UNKNOWN,
    }
}

fn microsoft(name: &str) -> &'static OpDef {
    match name {
        "Gelu" | "QuickGelu" | "ScaledSiLU" => &ACTIVATION,
        "BiasGelu" | "FastGelu" | "BiasAdd" => &BIASED,
        "BiasSoftmax" | "RotaryEmbedding" | "Inverse" => &LIKE_FIRST,
        "QLinearLeakyRelu" | "QLinearSigmoid" => &QUANTIZED_UNARY,
        "QLinearSoftmax" | "Trilu" | "GroupNorm" => &LIKE_FIRST,
        "SkipLayerNormalization" => &SKIP_NORM,
        "SkipSimplifiedLayerNormalization" => &SKIP_RMS_NORM,
        "EmbedLayerNormalization" => &EMBED_NORM,
        "FusedConv" => &FUSED_CONV,
        "FusedGemm" => &FUSED_GEMM,
        "FusedMatMul" | "FusedMatMulActivation" | "TransposeMatMul" => &FUSED_MATMUL,
        "MatMulNBits" | "MatMulBnb4" => &MATMUL_NBITS,
        "DynamicQuantizeMatMul" => &DYNAMIC_MATMUL,
        "DynamicQuantizeLSTM" => &rnn::DYNAMIC_QUANTIZE_LSTM,
        "MatMulIntegerToFloat" => &INTEGER_MATMUL,
        "QLinearAdd" | "QLinearMul" => &QLINEAR_BINARY,
        "MultiHeadAttention" => &MULTI_HEAD_ATTENTION,
        "Attention" => &ATTENTION,
        "QAttention" => &QUANTIZED_ATTENTION,
        "GroupQueryAttention" => &GROUP_QUERY_ATTENTION,
        "DecoderMaskedMultiHeadAttention" => &DECODER_ATTENTION,
        "QLinearGlobalAveragePool" => &QLINEAR_GLOBAL_POOL,
        "QLinearAveragePool" => &QLINEAR_POOL,
        "GridSample" => &GRID_SAMPLE,
        "QLinearConcat" => &QLINEAR_CONCAT,
        "QGemm" => &QGEMM,
        "QuantizeLinear" => &QUANTIZE,
        "DequantizeLinear" => &DEQUANTIZE,
        "Pad" => &slice::PAD,
        "Range" => &shape::RANGE,
        "GatherND" => &gather::GATHER_ND,
        "BiasSplitGelu"
        | "CDist"
        | "ComplexMul"
        | "ComplexMulConj"
        | "ConvTransposeWithDynamicPads"
        | "CropAndResize"
        | "DynamicTimeWarping"
        | "ExpandDims"
        | "GatedRelativePositionBias"
        | "GatherBlockQuantized"
        | "GemmFastGelu"
        | "GemmFloat8"
        | "GemmaRotaryEmbedding"
        | "Irfft"
        | "IsAllFinite"
        | "LongformerAttention"
        | "MatMulFpQ4"
        | "MatMulInteger16"
        | "MaxpoolWithMask"
        | "MoE"
        | "MulInteger"
        | "MurmurHash3"
        | "NGramRepeatBlock"
        | "NhwcConv"
        | "NhwcFusedConv"
        | "NhwcMaxPool"
        | "PackedAttention"
        | "PackedMultiHeadAttention"
        | "QEmbedLayerNormalization"
        | "QLinearConv"
        | "QLinearReduceMean"
        | "QLinearWhere"
        | "QMoE"
        | "QOrderedAttention"
        | "QOrderedGelu"
        | "QOrderedLayerNormalization"
        | "QOrderedLongformerAttention"
        | "QOrderedMatMul"
        | "QuantizeWithOrder"
        | "DequantizeWithOrder"
        | "ReduceSumInteger"
        | "RelativePositionBias"
        | "RemovePadding"
        | "RestorePadding"
        | "Rfft"
        | "SkipGroupNorm"
        | "SparseToDenseMatMul"
        | "Tokenizer"
        | "TorchEmbedding"
        | "UnfoldTensor"
        | "Unique"
        | "WordConvEmbedding" => &PURE,
        // Random (Sampling, dropouts), stateful (paged caches, external contexts) or simply not known.
        _ => &OpDef::UNKNOWN,
    }
}

fn ml(name: &str) -> &'static OpDef {
    match name {
        "Binarizer" | "Imputer" => &LIKE_FIRST,
        "Normalizer" | "Scaler" => &TO_FLOAT,
        "CategoryMapper" => &CATEGORIES,
        "ArrayFeatureExtractor"
        | "CastMap"
        | "DictVectorizer"
        | "FeatureVectorizer"
        | "LabelEncoder"
        | "LinearClassifier"
        | "LinearRegressor"
        | "OneHotEncoder"
        | "SVMClassifier"
        | "SVMRegressor"
        | "TreeEnsemble"
        | "TreeEnsembleClassifier"
        | "TreeEnsembleRegressor"
        | "ZipMap" => &PURE,
        _ => &OpDef::UNKNOWN,
    }
}

/// Result `slot` has operand `of`'s type.
fn like(call: &mut Infer<'_>, slot: usize, of: usize) -> Outcome {
    let ty = call.ty(of)?.clone();
    call.set_type(slot, ty);
    Some(())
}

fn retyped(call: &mut Infer<'_>, dtype: Option<DType>) -> Outcome {
    call.set_dtype(0, dtype);
    let shape = call.ty(0)?.shape().clone();
    call.set_type(0, Type::Tensor { dtype, shape });
    Some(())
}

/// Strings become integers and the reverse.
fn categories(call: &mut Infer<'_>) -> Outcome {
    let dtype = match call.dtype(0)? {
        DType::String => DType::I64,
        _ => DType::String,
    };
    retyped(call, Some(dtype))
}

/// `[input, skip, …]`: the skip broadcasts to the input. Result 3 is their sum.
fn skip_norm(call: &mut Infer<'_>) -> Outcome {
    like(call, 0, 0)?;
    like(call, 3, 0)
}

/// `[x, scale, bias, mean, variance]` in training: the other results are statistics such as operand 3.
fn batch_norm(call: &mut Infer<'_>) -> Outcome {
    (1..5).for_each(|slot| {
        let _ = like(call, slot, 3);
    });
    like(call, 0, 0)
}

/// `[ids, segments, table, …]`: a row of the table for each id.
fn embed_norm(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(2);
    call.set_dtype(0, dtype);
    let [_, hidden] = call.dims(2)? else { return None };
    let dims: Vec<Int> = call.dims(0)?.iter().chain([hidden]).cloned().collect();
    call.set(0, dtype, dims);
    Some(())
}

fn fused_matmul(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let set = |name: &'static str| Key::new(name, false).of(call.node());
    if set("transBatchA") || set("transBatchB") {
        return None;
    }
    multiply_turned(call, (0, set("transA")), (1, set("transB")), dtype)
}

const N: Key<i64> = Key::new("N", 0);
const K: Key<i64> = Key::new("K", 0);

/// The weight is packed; attributes say that it is `[K, N]`.
fn matmul_nbits(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let (_, batch) = call.dims(0)?.split_last()?;
    let columns = N.get(call.node()).filter(|&n| n > 0).map(Int::from)?;
    let dims: Vec<Int> = batch.iter().cloned().chain([columns]).collect();
    call.set(0, dtype, dims);
    Some(())
}

fn matmul_nbits_macs(call: &crate::ops::CallView<'_>) -> Option<Int> {
    let inner = K.get(call.node()).filter(|&k| k > 0).map(Int::from)?;
    crate::ops::dims::product(call.result_dims(0)?)?.checked_mul(&inner)
}

/// `[a, its scale and zero point, b, …]`.
fn qlinear_binary(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let dims = broadcast(&[call.dims(0)?, call.dims(3)?], |axis| call.fresh(0, axis))?;
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(dims) });
    Some(())
}

/// The result has the batch and length of the query; how wide it is, values, packing and attributes decide.
fn attention(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let [batch, length, ..] = call.dims(0)? else { return None };
    let dims = [batch.clone(), length.clone(), call.fresh(0, 2)];
    call.set(0, dtype, dims);
    Some(())
}

/// A normalization by the mean of squares along the last axis of the sum of `summands`.
fn root_mean_square(call: &CallView<'_>, summands: &[usize], scale: usize) -> Ties {
    let Some(last) = call.rank(0).and_then(|rank| rank.checked_sub(1)) else { return Ties::new() };
    let mut ties = ties::same_axes(call, |_| true);
    ties.extend((0..=last).map(|axis| Tie::Same(End::result(0, axis), End::result(3, axis))));
    ties.extend(ties::broadcast(call, summands.iter().copied().chain([scale]), 0));
    let own = |slot: usize| call.rank(slot).and_then(|rank| Some(End::operand(slot, rank.checked_sub(1)?)));
    ties.extend(summands.iter().filter_map(|&slot| own(slot)).map(Tie::Summed));
    ties
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::ir::{DType, Graph, Int, OpKind, ScopeId, Shape, Type};
    use crate::ops::{infer_node, is_deterministic};

    #[test]
    fn inference_goes_on_behind_what_is_known() {
        let mut g = Graph::default();
        let ty = Type::tensor(DType::F32, Shape::of([Int::named("b"), 8.into()]));
        let x = g.add_input(ScopeId::MAIN, "x", ty.clone());
        let w = g.add_input(ScopeId::MAIN, "w", Type::tensor(DType::F32, Shape::known(&[8, 4])));
        let mut call = |domain: &str, name: &str| {
            let node = g.add_node(ScopeId::MAIN, OpKind::Custom, &[Some(x), Some(w)], 1, 0);
            g.node_mut(node).custom = Some(Arc::new((domain.into(), name.into())));
            infer_node(&mut g, node);
            (g.value(g.result(node, 0).unwrap()).ty.clone(), is_deterministic(&g, node))
        };
        assert_eq!(call("com.microsoft", "FastGelu"), (ty, true));
        let product = Type::tensor(DType::F32, Shape::of([Int::named("b"), 4.into()]));
        assert_eq!(call("com.microsoft", "FusedMatMul"), (product, true));
        assert_eq!(call("com.microsoft", "Sampling"), (Type::Unknown, false));
        assert_eq!(call("com.example", "Gelu"), (Type::Unknown, false));
        assert_eq!(call("ai.onnx.ml", "TreeEnsembleRegressor"), (Type::Unknown, true));
    }
}
