//! One node whose operands are all known has known results: the kernels that compute them, bit for bit.
//!
//! Engines narrow types and have silent bugs; what is folded into a file stays there. So these kernels follow the
//! operator's text in the ONNX specification, element type by element type, and decline wherever that text leaves the
//! answer to the implementation (an integer divided by zero, a float beyond the integer range, a NaN among the largest
//! k). Operators that only move data treat elements as opaque bytes of their width, so they work for every type there
//! is. A [splat](crate::ir::Data::Splat) stays one: nothing is spelled out that need not be.

mod args;
mod binary;
mod cast;
mod col2im;
mod compare;
mod concat;
mod cumulate;
mod deform_conv;
mod gather;
mod generate;
mod lanes;
mod layout;
mod logic;
mod minifloat;
mod normalize;
mod number;
mod order;
mod pad;
mod quantize;
mod recurrent;
mod reduce;
mod reshape;
mod roi_align;
mod scatter;
mod select;
mod slice;
mod special;
mod text;
mod unary;
mod unique;

use bytes::Bytes;

use crate::ir::{Attr, DType, Node, OpKind, Tensor};
use crate::ops::schema::AttrKind;
use crate::ops::{CallView, schema};
use crate::rewrite::Exactness;

use args::Args;

#[cfg(test)]
mod tests;

/// The results of one folded node.
#[derive(Clone, Debug)]
pub struct Folded {
    /// One tensor per result slot, left-out ones included.
    pub results: Vec<Tensor>,
    /// Bitwise for data movement, integer arithmetic, and one IEEE operation per element. Rounding where a kernel
    /// rounds the mathematical value once: runtimes sum in some order and approximate functions, so that their last
    /// bits differ, among themselves too.
    pub exactness: Exactness,
}

impl From<Tensor> for Folded {
    fn from(tensor: Tensor) -> Folded {
        Folded::bitwise(vec![tensor])
    }
}

impl Folded {
    fn bitwise(results: Vec<Tensor>) -> Folded {
        Folded { results, exactness: Exactness::Bitwise }
    }

    fn rounding(tensor: Tensor) -> Folded {
        Folded { results: vec![tensor], exactness: Exactness::Rounding }
    }
}

/// Why a node was not folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unable {
    /// There is no kernel for the operator, or none for these element types.
    #[error("there is no exact kernel for it")]
    NoKernel,
    /// An operand is not known before the run.
    #[error("operand {0} is not constant")]
    NotConstant(usize),
    /// The results would take more memory than the caller allows.
    #[error("the result would take more than {limit} bytes")]
    TooLarge {
        /// The bytes that were allowed.
        limit: usize,
    },
    /// The specification leaves the answer open.
    #[error("{0}")]
    Undefined(&'static str),
    /// No run of this call can succeed.
    #[error("{0}")]
    Malformed(String),
}

impl Unable {
    fn malformed(reason: impl Into<String>) -> Unable {
        Unable::Malformed(reason.into())
    }
}

type Kernel = fn(&Args<'_>) -> Result<Folded, Unable>;

/// Compute the results of `call`, whose operands are `operands` by slot (`None` for one that is left out).
///
/// No result that has to be spelled out, and no intermediate, is larger than `limit_bytes`; a splat and a tensor that
/// shares its operand's bytes count as nothing.
///
/// # Errors
/// When the results are not computed; see [`Unable`].
pub fn evaluate(call: &CallView<'_>, operands: &[Option<Tensor>], limit_bytes: usize) -> Result<Folded, Unable> {
    let kernel = match call.node().op {
        OpKind::Custom if is_known_custom(call.node()) => normalize::batch,
        op => kernel(op).ok_or(Unable::NoKernel)?,
    };
    check_spelling(call)?;
    let slots = call.operand_count();
    if let Some(slot) = (0..slots).find(|&s| call.has(s) && !operands.get(s).is_some_and(Option::is_some)) {
        return Err(Unable::NotConstant(slot));
    }
    let results = call.graph().results(call.id()).len();
    kernel(&Args::new(call.node(), operands, results, limit_bytes))
}

/// Whether `node` is an operator of the default domain that has no newer spelling, and a kernel nevertheless.
pub fn is_known_custom(node: &Node) -> bool {
    node.op == OpKind::Custom && node.domain().is_empty() && node.op_name() == OpKind::BatchNormalization.name()
}

/// Whether there is a kernel for `op`. It may still decline element types and values.
pub fn supports(op: OpKind) -> bool {
    kernel(op).is_some()
}

/// Whether a kernel for `op` takes no longer than in proportion to operands and results. The others are for running
/// models: folding takes files as they come.
pub fn is_quick(op: OpKind) -> bool {
    use OpKind as O;
    !matches!(op, O::LSTM | O::GRU | O::RNN | O::RoiAlign | O::DeformConv)
}

/// Packed elements of `dtype` nearest to `reals`; integers are truncated, and wrap. `None` for strings and complex
/// types.
pub(crate) fn rounded(dtype: DType, reals: &[f64]) -> Option<Bytes> {
    cast::pack_reals(dtype, reals).map(Bytes::from)
}

/// Kernels know the newest spelling of each operator. A call in another would be misread: an attribute that has become
/// an operand would count as absent.
fn check_spelling(call: &CallView<'_>) -> Result<(), Unable> {
    let node = call.node();
    let schema = schema::newest(node.domain(), node.op_name()).ok_or(Unable::NoKernel)?;
    for (name, attr) in node.attrs() {
        if !schema.attr(name).is_some_and(|spec| holds(spec.kind, attr)) {
            return Err(Unable::malformed(format!("{} has no attribute {name} of this kind", node.op_name())));
        }
    }
    let operands = usize::from(schema.min_inputs)..=usize::from(schema.max_inputs);
    let enough = operands.contains(&call.operand_count()) || schema.max_inputs == u16::MAX;
    if enough { Ok(()) } else { Err(Unable::malformed(format!("{} operands", call.operand_count()))) }
}

fn holds(kind: AttrKind, attr: &Attr) -> bool {
    match kind {
        AttrKind::Int => matches!(attr, Attr::Int(_)),
        AttrKind::Float => matches!(attr, Attr::Float(_)),
        AttrKind::String => matches!(attr, Attr::Str(_)),
        AttrKind::Tensor => matches!(attr, Attr::Tensor(_)),
        AttrKind::Ints => matches!(attr, Attr::Ints(_)),
        AttrKind::Floats => matches!(attr, Attr::Floats(_)),
        AttrKind::Strings => matches!(attr, Attr::Strs(_)),
        // Nothing that a kernel reads.
        AttrKind::Graph
        | AttrKind::SparseTensor
        | AttrKind::Type
        | AttrKind::Tensors
        | AttrKind::Graphs
        | AttrKind::SparseTensors
        | AttrKind::Types => true,
    }
}

fn kernel(op: OpKind) -> Option<Kernel> {
    use OpKind as O;
    Some(match op {
        O::BatchNormalization => normalize::batch,
        O::Constant => generate::constant,
        O::ConstantOfShape => generate::constant_of_shape,
        O::Shape => generate::shape,
        O::Size => generate::size,
        O::Range => generate::range,
        O::EyeLike => generate::eye_like,
        O::Identity => reshape::identity,
        O::Reshape => reshape::reshape,
        O::Flatten => reshape::flatten,
        O::Squeeze => reshape::squeeze,
        O::Unsqueeze => reshape::unsqueeze,
        O::BitCast => reshape::bit_cast,
        O::Transpose => slice::transpose,
        O::Slice => slice::slice,
        O::Split => slice::split,
        O::Expand => slice::expand,
        O::Tile => slice::tile,
        O::DepthToSpace => slice::depth_to_space,
        O::SpaceToDepth => slice::space_to_depth,
        O::Concat => concat::concat,
        O::Pad => pad::pad,
        O::CenterCropPad => pad::center_crop_pad,
        O::Gather => gather::gather,
        O::GatherElements => gather::gather_elements,
        O::GatherND => gather::gather_nd,
        O::Compress => gather::compress,
        O::ReverseSequence => gather::reverse_sequence,
        O::ScatterElements => scatter::scatter_elements,
        O::ScatterND => scatter::scatter_nd,
        O::TensorScatter => scatter::tensor_scatter,
        O::Where => select::where_,
        O::Trilu => select::trilu,
        O::OneHot => select::one_hot,
        O::NonZero => select::non_zero,
        O::Cast => cast::cast,
        O::CastLike => cast::cast_like,
        O::Add | O::Sub | O::Mul | O::Div | O::Mod | O::Pow | O::PRelu => binary::arithmetic,
        O::Max | O::Min | O::Sum | O::Mean => binary::variadic,
        O::Clip => binary::clip,
        O::BitwiseAnd | O::BitwiseOr | O::BitwiseXor | O::BitShift => logic::bitwise,
        O::BitwiseNot => logic::bitwise_not,
        O::And | O::Or | O::Xor => logic::logical,
        O::Not => logic::not,
        O::Equal => compare::equal,
        O::Less | O::LessOrEqual | O::Greater | O::GreaterOrEqual => compare::ordered,
        O::IsNaN | O::IsInf => compare::classify,
        O::Abs | O::Neg | O::Sign | O::Relu => unary::signed,
        O::Ceil | O::Floor | O::Round | O::Sqrt | O::Reciprocal => unary::rounded_once,
        O::Acos
        | O::Acosh
        | O::Asin
        | O::Asinh
        | O::Atan
        | O::Atanh
        | O::Celu
        | O::Cos
        | O::Cosh
        | O::Elu
        | O::Erf
        | O::Exp
        | O::Gelu
        | O::HardSigmoid
        | O::HardSwish
        | O::LeakyRelu
        | O::Log
        | O::Mish
        | O::Selu
        | O::Shrink
        | O::Sigmoid
        | O::Sin
        | O::Sinh
        | O::Softplus
        | O::Softsign
        | O::Swish
        | O::Tan
        | O::Tanh
        | O::ThresholdedRelu => special::function,
        O::ReduceL1
        | O::ReduceL2
        | O::ReduceLogSum
        | O::ReduceLogSumExp
        | O::ReduceMax
        | O::ReduceMean
        | O::ReduceMin
        | O::ReduceProd
        | O::ReduceSum
        | O::ReduceSumSquare => reduce::reduce,
        O::CumSum | O::CumProd => cumulate::cumulate,
        O::ArgMax | O::ArgMin => order::arg,
        O::TopK => order::top_k,
        O::Unique => unique::unique,
        O::QuantizeLinear => quantize::quantize,
        O::DequantizeLinear => quantize::dequantize,
        O::StringConcat => text::concat,
        O::LSTM | O::GRU | O::RNN => recurrent::recurrent,
        O::RoiAlign => roi_align::roi_align,
        O::DeformConv => deform_conv::deform_conv,
        O::Col2Im => col2im::col2im,
        _ => return None,
    })
}
