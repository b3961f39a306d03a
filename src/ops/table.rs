//! The op table: which row describes which operator.

use crate::ir::OpKind;
use crate::ops::{
    OpDef, attention, control, conv, cumulative, elementwise, gather, image, loss, matmul, norm, pool, quant, random,
    reduce, rnn, select, sequence, shape, signal, slice, text,
};

macro_rules! op_table {
    ($($kind:ident => $row:path),* $(,)?) => {
        /// The row of `op`; [`OpDef::UNKNOWN`] for custom operators.
        pub(super) fn row(op: OpKind) -> &'static OpDef {
            match op {
                $(OpKind::$kind => &$row,)*
                OpKind::Custom => &OpDef::UNKNOWN,
            }
        }
    };
}

op_table! {
    Abs => elementwise::ABS,
    Acos => elementwise::UNARY,
    Acosh => elementwise::UNARY,
    Add => elementwise::ADD,
    AffineGrid => image::AFFINE_GRID,
    And => elementwise::AND,
    ArgMax => reduce::ARG,
    ArgMin => reduce::ARG,
    Asin => elementwise::UNARY,
    Asinh => elementwise::UNARY,
    Atan => elementwise::UNARY,
    Atanh => elementwise::UNARY,
    Attention => attention::ATTENTION,
    AveragePool => pool::AVERAGE_POOL,
    BatchNormalization => norm::BATCH_NORMALIZATION,
    Bernoulli => random::LIKE,
    BitCast => shape::BIT_CAST,
    BitShift => elementwise::BIT_SHIFT,
    BitwiseAnd => elementwise::COMMUTING,
    BitwiseNot => elementwise::UNARY,
    BitwiseOr => elementwise::COMMUTING,
    BitwiseXor => elementwise::COMMUTING,
    BlackmanWindow => signal::WINDOW,
    Cast => shape::CAST,
    CastLike => shape::CAST_LIKE,
    CausalConvWithState => attention::CAUSAL_CONV_WITH_STATE,
    Ceil => elementwise::ROUNDING,
    Celu => elementwise::UNARY,
    CenterCropPad => slice::CENTER_CROP_PAD,
    Clip => elementwise::CLIP,
    Col2Im => image::COL2IM,
    Compress => select::COMPRESS,
    Concat => slice::CONCAT,
    ConcatFromSequence => sequence::CONCAT_FROM_SEQUENCE,
    Constant => shape::CONSTANT,
    ConstantOfShape => shape::CONSTANT_OF_SHAPE,
    Conv => conv::CONV,
    ConvInteger => quant::CONV_INTEGER,
    ConvTranspose => conv::CONV_TRANSPOSE,
    Cos => elementwise::UNARY,
    Cosh => elementwise::UNARY,
    CumProd => cumulative::CUMULATIVE,
    CumSum => cumulative::CUMULATIVE,
    DFT => signal::DFT,
    DeformConv => conv::DEFORM_CONV,
    DepthToSpace => image::DEPTH_TO_SPACE,
    DequantizeLinear => quant::DEQUANTIZE_LINEAR,
    Det => matmul::DET,
    Div => elementwise::DIV,
    Dropout => elementwise::DROPOUT,
    DynamicQuantizeLinear => quant::DYNAMIC_QUANTIZE_LINEAR,
    Einsum => matmul::EINSUM,
    Elu => elementwise::UNARY,
    Equal => elementwise::EQUAL,
    Erf => elementwise::UNARY,
    Exp => elementwise::UNARY,
    Expand => shape::EXPAND,
    EyeLike => shape::EYE_LIKE,
    Flatten => shape::FLATTEN,
    Floor => elementwise::ROUNDING,
    GRU => rnn::RECURRENT,
    Gather => gather::GATHER,
    GatherElements => gather::GATHER_ELEMENTS,
    GatherND => gather::GATHER_ND,
    Gelu => elementwise::ACTIVATION,
    Gemm => matmul::GEMM,
    GlobalAveragePool => pool::GLOBAL_AVERAGE,
    GlobalLpPool => pool::GLOBAL,
    GlobalMaxPool => pool::GLOBAL_MAX,
    Greater => elementwise::GREATER,
    GreaterOrEqual => elementwise::GREATER_OR_EQUAL,
    GridSample => image::GRID_SAMPLE,
    GroupNormalization => norm::GROUP_NORMALIZATION,
    HammingWindow => signal::WINDOW,
    HannWindow => signal::WINDOW,
    HardSigmoid => elementwise::ACTIVATION,
    HardSwish => elementwise::ACTIVATION,
    Hardmax => norm::HARDMAX,
    Identity => shape::IDENTITY,
    If => control::IF,
    ImageDecoder => image::IMAGE_DECODER,
    InstanceNormalization => norm::INSTANCE_NORMALIZATION,
    IsInf => elementwise::CLASSIFY,
    IsNaN => elementwise::CLASSIFY,
    LRN => norm::LRN,
    LSTM => rnn::RECURRENT,
    LayerNormalization => norm::LAYER_NORMALIZATION,
    LeakyRelu => elementwise::ACTIVATION,
    Less => elementwise::LESS,
    LessOrEqual => elementwise::LESS_OR_EQUAL,
    LinearAttention => attention::LINEAR_ATTENTION,
    Log => elementwise::UNARY,
    LogSoftmax => norm::LOG_SOFTMAX,
    Loop => control::LOOP,
    LpNormalization => norm::LP_NORMALIZATION,
    LpPool => pool::LP_POOL,
    MatMul => matmul::MATMUL,
    MatMulInteger => quant::MATMUL_INTEGER,
    Max => elementwise::MAX,
    MaxPool => pool::MAX_POOL,
    MaxRoiPool => image::MAX_ROI_POOL,
    MaxUnpool => pool::MAX_UNPOOL,
    Mean => elementwise::VARIADIC,
    MeanVarianceNormalization => norm::MEAN_VARIANCE_NORMALIZATION,
    MelWeightMatrix => signal::MEL_WEIGHT_MATRIX,
    Min => elementwise::MIN,
    Mish => elementwise::UNARY,
    Mod => elementwise::MOD,
    Mul => elementwise::MUL,
    Multinomial => random::MULTINOMIAL,
    Neg => elementwise::NEG,
    NegativeLogLikelihoodLoss => loss::NEGATIVE_LOG_LIKELIHOOD,
    NonMaxSuppression => image::NON_MAX_SUPPRESSION,
    NonZero => shape::NON_ZERO,
    Not => elementwise::NOT,
    OneHot => select::ONE_HOT,
    Optional => sequence::OPTIONAL,
    OptionalGetElement => sequence::OPTIONAL_GET_ELEMENT,
    OptionalHasElement => sequence::OPTIONAL_HAS_ELEMENT,
    Or => elementwise::OR,
    PRelu => elementwise::PRELU,
    Pad => slice::PAD,
    Pow => elementwise::POW,
    QLinearConv => quant::QLINEAR_CONV,
    QLinearMatMul => quant::QLINEAR_MATMUL,
    QuantizeLinear => quant::QUANTIZE_LINEAR,
    RMSNormalization => norm::RMS_NORMALIZATION,
    RNN => rnn::RECURRENT,
    RandomNormal => random::GENERATE,
    RandomNormalLike => random::LIKE,
    RandomUniform => random::GENERATE,
    RandomUniformLike => random::LIKE,
    Range => shape::RANGE,
    Reciprocal => elementwise::UNARY,
    ReduceL1 => reduce::NORM,
    ReduceL2 => reduce::NORM,
    ReduceLogSum => reduce::NORM,
    ReduceLogSumExp => reduce::REDUCE,
    ReduceMax => reduce::MAX,
    ReduceMean => reduce::MEAN,
    ReduceMin => reduce::MIN,
    ReduceProd => reduce::PROD,
    ReduceSum => reduce::SUM,
    ReduceSumSquare => reduce::NORM,
    RegexFullMatch => text::REGEX_FULL_MATCH,
    Relu => elementwise::RELU,
    Reshape => shape::RESHAPE,
    Resize => image::RESIZE,
    ReverseSequence => slice::REVERSE_SEQUENCE,
    RoiAlign => image::ROI_ALIGN,
    RotaryEmbedding => attention::ROTARY_EMBEDDING,
    Round => elementwise::ROUNDING,
    STFT => signal::STFT,
    Scan => control::SCAN,
    Scatter => gather::SCATTER_ELEMENTS,
    ScatterElements => gather::SCATTER_ELEMENTS,
    ScatterND => gather::SCATTER_ND,
    Selu => elementwise::UNARY,
    SequenceAt => sequence::SEQUENCE_AT,
    SequenceConstruct => sequence::SEQUENCE_CONSTRUCT,
    SequenceEmpty => sequence::SEQUENCE_EMPTY,
    SequenceErase => sequence::SEQUENCE_ERASE,
    SequenceInsert => sequence::SEQUENCE_INSERT,
    SequenceLength => sequence::SEQUENCE_LENGTH,
    SequenceMap => control::SEQUENCE_MAP,
    Shape => shape::SHAPE,
    Shrink => elementwise::UNARY,
    Sigmoid => elementwise::ACTIVATION,
    Sign => elementwise::SIGN,
    Sin => elementwise::UNARY,
    Sinh => elementwise::UNARY,
    Size => shape::SIZE,
    Slice => slice::SLICE,
    Softmax => norm::SOFTMAX,
    SoftmaxCrossEntropyLoss => loss::SOFTMAX_CROSS_ENTROPY,
    Softplus => elementwise::UNARY,
    Softsign => elementwise::UNARY,
    SpaceToDepth => image::SPACE_TO_DEPTH,
    Split => slice::SPLIT,
    SplitToSequence => sequence::SPLIT_TO_SEQUENCE,
    Sqrt => elementwise::UNARY,
    Squeeze => shape::SQUEEZE,
    StringConcat => text::STRING_CONCAT,
    StringNormalizer => text::STRING_NORMALIZER,
    StringSplit => text::STRING_SPLIT,
    Sub => elementwise::SUB,
    Sum => elementwise::SUM,
    SwiGLU => attention::SWIGLU,
    Swish => elementwise::ACTIVATION,
    Tan => elementwise::UNARY,
    Tanh => elementwise::ACTIVATION,
    TensorScatter => slice::TENSOR_SCATTER,
    TfIdfVectorizer => text::TF_IDF_VECTORIZER,
    ThresholdedRelu => elementwise::UNARY,
    Tile => slice::TILE,
    TopK => select::TOP_K,
    Transpose => slice::TRANSPOSE,
    Trilu => slice::TRILU,
    Unique => select::UNIQUE,
    Unsqueeze => shape::UNSQUEEZE,
    Upsample => image::UPSAMPLE,
    Where => elementwise::WHERE,
    Xor => elementwise::XOR,
}

#[cfg(test)]
mod tests {
    use crate::ir::{Attr, OpKind};
    use crate::ops::schema::{self, AttrKind};
    use crate::ops::testing::Case;
    use crate::ops::{def, is_deterministic};

    const OPERANDS: &[&str] = &[
        "",
        "-",
        "- - -",
        "? ? ? ? ? ? ? ?",
        "float[] float[] float[]",
        "float[..] - float[0,0]",
        "int64=[-1,0] int64=[] int64=[3,-9,7]",
        "float[n,c,h,w] float[8,c,3,3] float[8]",
        "float[n,c,h,w] int64=[9223372036854775807,-9223372036854775808,0,1] int64=-9223372036854775808",
        "float[1,2,3,4] int64=[0,-1] int64=[1,1,1,1] int64=[0,0,0,0]",
        "float[9223372036854775807,9223372036854775807,2,2] float[9223372036854775807,2,2,2] int64=[4611686018427387904]",
        "float[0,0,0] float[0,0,0] float[0] float[0] float[0]",
        "int64:[h,w] int64:[w,h] int64:h",
        "int64:[h,w,3] int64=0 int64=9223372036854775807 int64=-1 int64=9223372036854775807",
        "int64=9223372036854775807 int64=-1 int64=0",
        "uint8[3] float=0 uint8=0 int8[4,4] float=1 int8=0 float=1 uint8=0",
        "float[2,n,8] float[2,n,8] float[2,n,8] float[2,1,4] float[2,2,p,4] float[2,2,p,4]",
        "float[n,c,h,w] - float=[1,1,0,-1] int64=[1,2,-3,4]",
        "float[n,c,h,w] float=[] float=[1e30,1e-30,3.4e38,0.3]",
        "string=[a,b] string[2] int64[2]",
        "bool=1 ? ?",
    ];

    fn values(kind: AttrKind) -> Vec<Attr> {
        let extremes = [i64::MIN, -1, 0, 1, 2, i64::MAX];
        let ints = extremes.iter().flat_map(|&i| [0, 1, 2, 3, 4, 8].map(|n| Attr::Ints(vec![i; n])));
        match kind {
            AttrKind::Int => extremes.map(Attr::Int).into(),
            AttrKind::Float => [f32::NAN, f32::INFINITY, -1.0, 0.0, 1.5].map(Attr::Float).into(),
            AttrKind::String => ["", "SAME_UPPER", "VALID", "none", "ij,jk->ik", "...,->", "a...,...b->", "linear"]
                .map(Attr::from)
                .into(),
            AttrKind::Ints => ints.collect(),
            // Of a kind that nobody expects.
            _ => vec![Attr::Floats(vec![f32::NAN]), Attr::Int(-1), Attr::Strs(vec![])],
        }
    }

    fn ask(op: OpKind, operands: &str, attrs: &[(&'static str, Attr)]) {
        for results in [0, 1, 3] {
            let case = Case::new(op, operands, attrs, results);
            let (row, view) = (def(op), case.view());
            let _ = (
                (row.channels)(&view),
                (row.quant)(&view),
                (row.macs)(&view),
                is_deterministic(&case.graph, case.node),
            );
        }
    }

    #[test]
    fn every_operator_says_what_its_results_are() {
        let silent: Vec<_> = OpKind::ALL.iter().filter(|&&op| def(op).infer.is_none()).collect();
        assert!(silent.is_empty(), "{silent:?}");
    }

    #[test]
    fn malformed_calls_are_no_panic() {
        for &op in OpKind::ALL {
            let attrs = schema::newest("", op.name()).map_or(&[][..], |row| row.attrs);
            for operands in OPERANDS {
                ask(op, operands, &[]);
                for attr in attrs {
                    for value in values(attr.kind) {
                        ask(op, operands, &[(attr.name, value)]);
                    }
                    ask(op, operands, &[(attr.name, Attr::Type(Default::default()))]);
                }
            }
        }
    }
}
