//! The parts of a policy.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::ir::{DType, OpKind};
use crate::target::Condition;

/// An integer type and how it is laid over real numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntegerType {
    /// What rows call it.
    pub name: String,
    /// The integers.
    pub dtype: DType,
    /// Whether zero is the middle of them.
    pub symmetric: bool,
}

/// How weights are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// Their integers, which are symmetric.
    pub dtype: DType,
    /// As what.
    pub form: WeightForm,
    /// Whether each output channel has a scale.
    pub per_channel: bool,
    /// The bias.
    pub bias: BiasForm,
    /// Whether a run may repeat the integer of a weight whose elements are all equal, which then takes one byte of a
    /// file.
    pub repeated: bool,
}

/// As what a weight is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightForm {
    /// Integers, and a `DequantizeLinear`.
    Integers,
    /// Real numbers, a `QuantizeLinear` and a `DequantizeLinear`.
    Float,
}

/// As what a bias is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BiasForm {
    /// As it was.
    Float,
    /// int32 whose scale is the product of those of operand and weight.
    Int32,
}

/// What calls of some operators get.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What reports call it.
    pub rule: String,
    /// The operators.
    pub ops: Vec<OpKind>,
    /// Why they get integers.
    pub role: Role,
    /// Of which calls it speaks.
    pub when: Condition,
    /// Which operands get integers, where they are computed.
    pub operands: Operands,
    /// The types they may have, best first; for one that passes, empty stands for any.
    pub types: Types,
    /// The types of operands that take others than [`Row::types`], by slot.
    pub operand_types: BTreeMap<usize, Types>,
    /// The type that it takes less for, where a range reaches about as far on both sides of zero.
    pub even: Option<usize>,
    /// Whether results get integers.
    pub output: Output,
    /// Who has to have integers already.
    pub needs: Needs,
    /// Whether constant operands get integers too.
    pub constants: bool,
    /// Whether one that passes numbers has integers written on both sides.
    pub pairs: Pairs,
    /// Whether operands and results have one scale.
    pub shares: bool,
    /// Whether pairs for operands stand right before it, behind what passes numbers: operands that are parts of one
    /// tensor then have a scale each. Of one that passes: whether it is taken into such a reader, and pairs stand
    /// before it.
    pub near: bool,
    /// The scale and zero point that the result has to have.
    pub fixed: Option<(f32, i64)>,
    /// Whether each output channel of the weight has a scale, where that is not as for other operators.
    pub per_channel: Option<bool>,
    /// As what the bias is written, where that is not as for other operators.
    pub bias: Option<BiasForm>,
    /// Why calls stay in real numbers, for [`Role::Float`].
    pub why: String,
}

impl Row {
    /// The types that operand `slot` may have, best first.
    pub fn types_of(&self, slot: usize) -> &[usize] {
        self.operand_types.get(&slot).unwrap_or(&self.types)
    }
}

/// Indices into [`Policy::types`](crate::target::Policy::types), best first.
pub type Types = Vec<usize>;

/// Why a call gets integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It gains by them.
    Leads,
    /// It can take them where neighbours have them.
    Follows,
    /// It moves or picks numbers.
    Passes,
    /// It does not.
    Float,
}

/// Which operands get integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operands {
    /// Those in these slots.
    Slots(Vec<usize>),
    /// All.
    All,
    /// Of a sum, the one that went around a block.
    Skip,
}

/// Whether results get integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Whoever reads them.
    Required,
    /// Where an integer reader wants them.
    IfRead,
    /// The kernel gives real numbers, whoever reads them.
    Never,
}

/// Who has to have integers for a call to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Needs {
    /// Every computed operand.
    Operands,
    /// A reader.
    Readers,
    /// Every computed operand and a reader.
    Both,
    /// Every computed operand, or a reader.
    Either,
}

/// Where integers are written around a call that passes numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairs {
    /// Before it; the runtime moves them.
    One,
    /// Before and behind.
    Both,
}

/// What is taken into the operator before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fuse {
    /// What reports call it.
    pub rule: String,
    /// The operators.
    pub ops: Vec<OpKind>,
    /// Behind which; none stands for any.
    pub behind: Vec<OpKind>,
    /// Which calls.
    pub when: Condition,
}

/// Results that no integers are made of, though their calls may compute in integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Real {
    /// What reports call it.
    pub rule: String,
    /// The operators.
    pub ops: Vec<OpKind>,
    /// Which calls.
    pub when: Condition,
    /// Whether only in a model where a size of something is asked for while it runs.
    pub sized: bool,
    /// What is made of such a result by these operators, with constants, is one too.
    pub through: Vec<OpKind>,
    /// The reason, as a sentence.
    pub why: String,
}

/// What stays in real numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Never {
    /// What reports call it.
    pub rule: String,
    /// Calls of these operators.
    pub ops: Vec<OpKind>,
    /// Calls that are part of this.
    pub pattern: Option<Pattern>,
    /// The reason, as a sentence.
    pub why: String,
}

/// Several calls that together compute something, and lose by integers in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// `x · ½ · (1 + erf(x / √2))`, spelled out.
    Gelu,
    /// `x · sigmoid(x)`.
    Swish,
    /// `x · hardsigmoid(x)`, or `x · clip(x + 3, 0, 6) / 6`.
    HardSwish,
    /// `(x − mean) / √(variance + ε)`, spelled out.
    LayerNorm,
    /// What computes a gate for each channel of a pooled tensor, and the product with it.
    ChannelGate,
    /// The product of a Softmax and what it weighs.
    SoftmaxProduct,
    /// A Softmax of what a mask was added to, or put into.
    MaskedSoftmax,
    /// The product that a Softmax is taken of, and the product with the result.
    Attention,
    /// The product of a weight and of what a Concat put together, unless along the axis that is summed over.
    JoinedRows,
    /// The product of projections of different tensors, as where a decoder attends to what an encoder made.
    CrossProduct,
}
