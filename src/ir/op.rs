//! The operators of ai.onnx by name. What each of them is stands in [`crate::ops`].

use std::fmt;

macro_rules! op_kinds {
    ($($kind:ident)*) => {
        /// An operator of the default domain, or [`OpKind::Custom`] for any other.
        #[expect(missing_docs, reason = "the variants are ONNX's operators, documented by ONNX")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum OpKind {
            $($kind,)*
            /// An operator that the table does not have, or one whose older meaning it does not share.
            Custom,
        }

        impl OpKind {
            /// Every operator of the default domain, alphabetically.
            pub const ALL: &[OpKind] = &[$(OpKind::$kind),*];

            /// ONNX's name.
            pub fn name(self) -> &'static str {
                match self {
                    $(OpKind::$kind => stringify!($kind),)*
                    OpKind::Custom => "(custom)",
                }
            }
        }
    };
}

impl OpKind {
    /// The operator of the default domain called `name`.
    pub fn from_name(name: &str) -> Option<OpKind> {
        OpKind::ALL.binary_search_by(|k| k.name().cmp(name)).ok().map(|i| OpKind::ALL[i])
    }
}

impl fmt::Display for OpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

op_kinds! {
    Abs
    Acos
    Acosh
    Add
    AffineGrid
    And
    ArgMax
    ArgMin
    Asin
    Asinh
    Atan
    Atanh
    Attention
    AveragePool
    BatchNormalization
    Bernoulli
    BitCast
    BitShift
    BitwiseAnd
    BitwiseNot
    BitwiseOr
    BitwiseXor
    BlackmanWindow
    Cast
    CastLike
    CausalConvWithState
    Ceil
    Celu
    CenterCropPad
    Clip
    Col2Im
    Compress
    Concat
    ConcatFromSequence
    Constant
    ConstantOfShape
    Conv
    ConvInteger
    ConvTranspose
    Cos
    Cosh
    CumProd
    CumSum
    DFT
    DeformConv
    DepthToSpace
    DequantizeLinear
    Det
    Div
    Dropout
    DynamicQuantizeLinear
    Einsum
    Elu
    Equal
    Erf
    Exp
    Expand
    EyeLike
    Flatten
    Floor
    GRU
    Gather
    GatherElements
    GatherND
    Gelu
    Gemm
    GlobalAveragePool
    GlobalLpPool
    GlobalMaxPool
    Greater
    GreaterOrEqual
    GridSample
    GroupNormalization
    HammingWindow
    HannWindow
    HardSigmoid
    HardSwish
    Hardmax
    Identity
    If
    ImageDecoder
    InstanceNormalization
    IsInf
    IsNaN
    LRN
    LSTM
    LayerNormalization
    LeakyRelu
    Less
    LessOrEqual
    LinearAttention
    Log
    LogSoftmax
    Loop
    LpNormalization
    LpPool
    MatMul
    MatMulInteger
    Max
    MaxPool
    MaxRoiPool
    MaxUnpool
    Mean
    MeanVarianceNormalization
    MelWeightMatrix
    Min
    Mish
    Mod
    Mul
    Multinomial
    Neg
    NegativeLogLikelihoodLoss
    NonMaxSuppression
    NonZero
    Not
    OneHot
    Optional
    OptionalGetElement
    OptionalHasElement
    Or
    PRelu
    Pad
    Pow
    QLinearConv
    QLinearMatMul
    QuantizeLinear
    RMSNormalization
    RNN
    RandomNormal
    RandomNormalLike
    RandomUniform
    RandomUniformLike
    Range
    Reciprocal
    ReduceL1
    ReduceL2
    ReduceLogSum
    ReduceLogSumExp
    ReduceMax
    ReduceMean
    ReduceMin
    ReduceProd
    ReduceSum
    ReduceSumSquare
    RegexFullMatch
    Relu
    Reshape
    Resize
    ReverseSequence
    RoiAlign
    RotaryEmbedding
    Round
    STFT
    Scan
    Scatter
    ScatterElements
    ScatterND
    Selu
    SequenceAt
    SequenceConstruct
    SequenceEmpty
    SequenceErase
    SequenceInsert
    SequenceLength
    SequenceMap
    Shape
    Shrink
    Sigmoid
    Sign
    Sin
    Sinh
    Size
    Slice
    Softmax
    SoftmaxCrossEntropyLoss
    Softplus
    Softsign
    SpaceToDepth
    Split
    SplitToSequence
    Sqrt
    Squeeze
    StringConcat
    StringNormalizer
    StringSplit
    Sub
    Sum
    SwiGLU
    Swish
    Tan
    Tanh
    TensorScatter
    TfIdfVectorizer
    ThresholdedRelu
    Tile
    TopK
    Transpose
    Trilu
    Unique
    Unsqueeze
    Upsample
    Where
    Xor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_kind() {
        for &kind in OpKind::ALL {
            assert_eq!(OpKind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(OpKind::from_name("NoSuchOp"), None);
    }
}
