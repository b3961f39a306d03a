//! What stays float32 whatever its values are, a row each, with the reason.

use rustc_hash::FxHashSet;

use crate::ir::OpKind::{self, *};
use crate::ir::{Attr, DType, Graph, Node, NodeId, Tensor, ValueId};
use crate::ops::CallView;
use crate::ops::gather::REDUCTION;
use crate::precision::Fit;

/// A call, or some of its operands, that stays float32.
pub struct Keep {
    /// Of these operators.
    pub ops: &'static [OpKind],
    /// These operands alone; none for the whole call.
    pub slots: &'static [usize],
    /// Of which calls it holds.
    pub when: fn(&CallView<'_>, &Fit) -> bool,
    /// The reason, as a sentence.
    pub why: &'static str,
}

const fn keep(ops: &'static [OpKind], why: &'static str) -> Keep {
    Keep { ops, slots: &[], when: |_, _| true, why }
}

impl Keep {
    const fn slots(self, slots: &'static [usize]) -> Keep {
        Keep { slots, ..self }
    }

    const fn when(self, when: fn(&CallView<'_>, &Fit) -> bool) -> Keep {
        Keep { when, ..self }
    }
}

/// Every row. What a schema fixes to float32 (scores of `NonMaxSuppression`, scales of `Resize`) needs none.
pub static KEEPS: &[Keep] = &[
    keep(&[Range, CumSum, CumProd], "it counts, and a half counts to 2048 (a bfloat16 to 256)"),
    keep(&[TopK, NonMaxSuppression, Unique], "ranks differ in the last bits, and halves have fewer"),
    keep(
        &[RandomNormal, RandomUniform, RandomNormalLike, RandomUniformLike, Multinomial, Bernoulli],
        "random numbers of another type are other numbers",
    ),
    keep(&[Resize], "sizes follow from it").slots(&[1, 2]),
    keep(&[GridSample], "coordinates within an image need more digits").slots(&[1]),
    keep(&[AffineGrid], "coordinates within an image need more digits"),
    keep(&[RoiAlign, MaxRoiPool], "coordinates within an image need more digits"),
    keep(
        &[STFT, DFT, MelWeightMatrix, HannWindow, HammingWindow, BlackmanWindow],
        "spectra span more than halves have digits for",
    ),
    keep(&[ReduceL2, LpPool], "the sum of squares may be too large for a half")
        .when(|call, fit| squares(fit, call.graph().result(call.id(), 0), Some(1.0))),
    keep(&[LpNormalization], "the sum of squares may be too large for a half").when(|call, fit| {
        let count = call.dims(0).map(|dims| dims.iter().map(|d| d.known().unwrap_or(1024) as f64).product());
        squares(fit, call.operand(0), count)
    }),
    keep(&[ReduceLogSumExp, ReduceLogSum, ReduceProd, Det], "what it computes on the way may be too large for a half"),
    keep(
        &[ScatterND, ScatterElements],
        "it adds up one element after another, and onnxruntime does that in float32 alone",
    )
    .when(|call, _| REDUCTION.of(call.node()) != "none"),
    keep(&[Cast], "its integers are no halves").when(counts),
    keep(&[OptionalGetElement, Optional, OptionalHasElement], "it is of a value that may be absent"),
];

/// Whether a row keeps the operand in `slot`, and not the whole call.
pub(super) fn keeps_slot(call: &CallView<'_>, slot: usize) -> bool {
    let op = call.node().op;
    KEEPS.iter().any(|row| row.ops.contains(&op) && row.slots.contains(&slot))
}

/// Why the whole call stays float32.
pub(super) fn keeps(call: &CallView<'_>, fit: &Fit) -> Option<&'static str> {
    let op = call.node().op;
    KEEPS.iter().find(|r| r.slots.is_empty() && r.ops.contains(&op) && (r.when)(call, fit)).map(|row| row.why)
}

/// A bias, which stays a real number where the rest is integers.
const BIAS: usize = 2;

/// Whether the call computes with integers: a runtime takes it and the `DequantizeLinear`s of all that it reads for one
/// call, which a `Cast` between them would part.
pub(super) fn computes_integers(call: &CallView<'_>) -> bool {
    let graph = call.graph();
    let integers = |value: ValueId| {
        let (node, _) = graph.producer(value).filter(|(node, _)| graph.node(*node).op == DequantizeLinear)?;
        graph.operand(node, 0)
    };
    let reads = |slot: &usize| *slot != BIAS && call.dtype(*slot) == Some(DType::F32);
    let read = || (0..call.operand_count()).filter(reads).filter_map(|slot| call.operand(slot));
    // Weights alone may be integers where the rest is not.
    let is_computed = |value: ValueId| integers(value).is_some_and(|integers| graph.constant(integers).is_none());
    read().all(|value| integers(value).is_some()) && read().any(is_computed)
}

/// Whether `count` squares of elements like those of `value` may exceed what a half holds when they are added up.
fn squares(fit: &Fit, value: Option<ValueId>, count: Option<f64>) -> bool {
    fit.half == DType::F16
        && match (value.and_then(|value| fit.largest(value)), count) {
            (Some(largest), Some(count)) => largest * largest * count > fit.most(),
            _ => true,
        }
}

/// Whether a `Cast` from integers makes numbers that are no halves.
fn counts(call: &CallView<'_>, fit: &Fit) -> bool {
    let Some(from) = call.dtype(0) else { return true };
    if from.is_float() || from == DType::Bool {
        return false;
    }
    let result = call.graph().result(call.id(), 0);
    // What is not observed is small where its type is.
    match result.and_then(|value| fit.largest(value)) {
        Some(largest) => largest > fit.exact(),
        None => from.bits() > 8 || fit.half == DType::BF16,
    }
}

/// Operators that move or combine numbers of which sizes and counts are made.
const ARITHMETIC: &[OpKind] = &[
    Add, Sub, Mul, Div, Mod, Neg, Abs, Floor, Ceil, Round, Sqrt, Pow, Max, Min, Clip, Reciprocal, Cast, Where, Concat,
    Slice, Gather, Squeeze, Unsqueeze, Reshape, Expand, Identity, Split, Exp, Log,
];

/// The nodes whose numbers become sizes, counts or indices: those before a `Cast` to integers, before a `Range` and
/// before what `Resize` and others read as float32 by definition.
pub(super) fn counting(graph: &Graph) -> FxHashSet<NodeId> {
    let mut found = FxHashSet::default();
    let mut open: Vec<ValueId> = Vec::new();
    for node in graph.nodes() {
        let call = CallView::new(graph, node);
        let is_float = |slot: usize| call.dtype(slot) == Some(DType::F32);
        let result = graph.result(node, 0).and_then(|v| graph.value(v).ty.dtype());
        let to_integer = result.is_some_and(|t| t.is_signed_integer() || t.is_unsigned_integer());
        let read = |slot: usize| match call.node().op {
            Cast => to_integer,
            Range => true,
            Resize => slot > 0,
            _ => false,
        };
        open.extend((0..call.operand_count()).filter(|&s| is_float(s) && read(s)).filter_map(|s| call.operand(s)));
        if call.node().op == Cast && to_integer && is_float(0) {
            found.insert(node);
        }
    }
    while let Some(value) = open.pop() {
        let Some((node, _)) = graph.producer(value) else { continue };
        if !ARITHMETIC.contains(&graph.node(node).op) || !found.insert(node) {
            continue;
        }
        let is_float = |v: &ValueId| graph.value(*v).ty.dtype() == Some(DType::F32);
        open.extend(graph.operands(node).flatten().filter(is_float));
    }
    found
}

/// Whether the call is of those whose time and weights are what halves are for.
pub(super) fn is_work(node: &Node) -> bool {
    let op = node.op;
    matches!(op, Conv | ConvTranspose | DeformConv | MatMul | Gemm | Einsum | Attention | LSTM | GRU | RNN)
        || op == Custom && node.op_name().starts_with("Fused")
}

/// Whether a small constant that this call reads may be the least half instead of zero: it is there so that something
/// is not zero.
pub(super) fn is_guard(op: OpKind, constant: &Tensor) -> bool {
    matches!(op, Add | Sub | Max | Clip) && constant.len() == 1
}

/// The number that a tensor is filled with, where the call says it.
pub(super) fn filled(node: &Node) -> Option<&Tensor> {
    match node.attr("value") {
        Some(Attr::Tensor(tensor)) if node.op == ConstantOfShape && tensor.dtype() == DType::F32 => Some(tensor),
        _ => None,
    }
}

/// Whether the call reads nothing but the shape of a tensor, of whatever type.
pub(super) fn reads_shape(op: OpKind) -> bool {
    matches!(op, Shape | Size)
}

/// Whether an operator of a later opset takes halves; how to get it, in words.
pub(super) fn came_with(since: Option<u32>, half: DType) -> String {
    match since {
        Some(since) => format!("{} came to it with opset {since}: --opset {since}", half.name()),
        None => format!("it takes no {}", half.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::schema;

    #[test]
    fn every_row_is_of_operators_that_take_halves() {
        for row in KEEPS {
            assert!(row.why.contains(' ') && !row.why.ends_with('.'), "{}", row.why);
            for op in row.ops {
                assert!(schema::newest("", op.name()).is_some(), "{op}");
            }
        }
    }
}
