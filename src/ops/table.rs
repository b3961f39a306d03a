//! The op table: which row describes which operator.

use crate::ir::OpKind;
use crate::ops::{OpDef, elementwise};

macro_rules! op_table {
    ($($kind:ident => $row:path),* $(,)?) => {
        /// The row of `op`; [`OpDef::UNKNOWN`] for custom operators.
        pub(super) fn row(op: OpKind) -> &'static OpDef {
            match op {
                $(OpKind::$kind => &$row,)*
                _ => &OpDef::UNKNOWN,
            }
        }
    };
}

op_table! {
    Abs => elementwise::ABS,
    Acos => elementwise::UNARY,
    Acosh => elementwise::UNARY,
    Add => elementwise::ADD,
    And => elementwise::AND,
    Asin => elementwise::UNARY,
    Asinh => elementwise::UNARY,
    Atan => elementwise::UNARY,
    Atanh => elementwise::UNARY,
    BitShift => elementwise::BIT_SHIFT,
    BitwiseAnd => elementwise::COMMUTING,
    BitwiseNot => elementwise::UNARY,
    BitwiseOr => elementwise::COMMUTING,
    BitwiseXor => elementwise::COMMUTING,
    Ceil => elementwise::ROUNDING,
    Celu => elementwise::UNARY,
    Clip => elementwise::CLIP,
    Cos => elementwise::UNARY,
    Cosh => elementwise::UNARY,
    Div => elementwise::DIV,
    Dropout => elementwise::DROPOUT,
    Elu => elementwise::UNARY,
    Equal => elementwise::EQUAL,
    Erf => elementwise::UNARY,
    Exp => elementwise::UNARY,
    Floor => elementwise::ROUNDING,
    Gelu => elementwise::ACTIVATION,
    Greater => elementwise::GREATER,
    GreaterOrEqual => elementwise::GREATER_OR_EQUAL,
    HardSigmoid => elementwise::ACTIVATION,
    HardSwish => elementwise::ACTIVATION,
    IsInf => elementwise::CLASSIFY,
    IsNaN => elementwise::CLASSIFY,
    LeakyRelu => elementwise::ACTIVATION,
    Less => elementwise::LESS,
    LessOrEqual => elementwise::LESS_OR_EQUAL,
    Log => elementwise::UNARY,
    Max => elementwise::MAX,
    Mean => elementwise::VARIADIC,
    Min => elementwise::MIN,
    Mish => elementwise::UNARY,
    Mod => elementwise::MOD,
    Mul => elementwise::MUL,
    Neg => elementwise::NEG,
    Not => elementwise::NOT,
    Or => elementwise::OR,
    PRelu => elementwise::PRELU,
    Pow => elementwise::POW,
    Reciprocal => elementwise::UNARY,
    Relu => elementwise::RELU,
    Round => elementwise::ROUNDING,
    Selu => elementwise::UNARY,
    Shrink => elementwise::UNARY,
    Sigmoid => elementwise::ACTIVATION,
    Sign => elementwise::SIGN,
    Sin => elementwise::UNARY,
    Sinh => elementwise::UNARY,
    Softplus => elementwise::UNARY,
    Softsign => elementwise::UNARY,
    Sqrt => elementwise::UNARY,
    Sub => elementwise::SUB,
    Sum => elementwise::SUM,
    Swish => elementwise::ACTIVATION,
    Tan => elementwise::UNARY,
    Tanh => elementwise::ACTIVATION,
    ThresholdedRelu => elementwise::UNARY,
    Where => elementwise::WHERE,
    Xor => elementwise::XOR,
}
