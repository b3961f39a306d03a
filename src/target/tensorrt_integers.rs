//! What TensorRT refuses of a model that is quantized with `QuantizeLinear` and `DequantizeLinear`, and where they stand
//! in the way of what it would fuse: its documents on explicit quantization. No row was tried on a device.

use crate::ir::{DType, Graph, NodeId, OpKind as O, Tensor, User, ValueId};
use crate::ops::{CallView, Quant, normalize_axis, quant, row_of};
use crate::target::{Limit, Subject};

const PAIR: &[O] = &[O::QuantizeLinear, O::DequantizeLinear];
const WEIGHTED: &[O] = &[O::Conv, O::ConvTranspose, O::Gemm, O::MatMul];

/// What is said of quantized models.
pub(super) const INTEGERS: &[Limit] = &[
    Limit::lacks(
        "TRT-T2",
        PAIR,
        "the zero point has as many elements as the scale",
        "give both the same shape, or leave scale and zero point of one element",
    )
    .when(|call| len(call, 1).zip(len(call, 2)).is_some_and(|(scale, zero)| scale != zero)),
    Limit::lacks("TRT-T4", PAIR, "scales have to be constants", "calibrate ahead of the run")
        .when(|call| call.has(1) && call.constant(1).is_none() && !is_of_constants(call)),
    Limit::lacks(
        "TRT-T4",
        PAIR,
        "a scale is denormal or infinite",
        "give a tensor that is always zero a scale such as 2⁻²⁰, or none",
    )
    .when(|call| {
        let scales = call.constant(1).filter(|t| t.dtype() == DType::F32).and_then(Tensor::reals);
        scales.is_some_and(|s| s.iter().any(|&s| s > 0.0 && !(s as f32).is_normal()))
    }),
    Limit::lacks(
        "TRT-T4",
        PAIR,
        "there is one scale, or one for each channel",
        "give as many scales as the tensor has slices along the axis",
    )
    .when(has_odd_scales),
    Limit::lacks(
        "TRT-T8",
        PAIR,
        "int8 and 8-bit floats are not mixed in one model",
        "quantize the whole model to one of both",
    )
    .when(is_of_another_family),
    Limit::about(
        "TRT-P0",
        Subject::Calls(&[O::AveragePool, O::GlobalAveragePool]),
        "with integers in and real numbers out it has no integer kernel",
        "quantize its result too, or nothing of it",
    )
    .when(|call| pair_before(call, 0).is_some() && !is_quantized_behind(call.graph(), call.id()))
    .warns(),
    Limit::about(
        "TRT-P1",
        Subject::Calls(WEIGHTED),
        "only one of its operands is quantized, so it runs in real numbers",
        "quantize operand and weight",
    )
    .when(|call| is_quantized(call, 0) != is_quantized(call, 1) && !is_packed(call))
    .warns(),
    Limit::about(
        "TRT-P2",
        Subject::Calls(&[O::QuantizeLinear]),
        "nobody reads these integers of a product as integers: rounding them is all that it does",
        "leave results of products in real numbers where no product reads them",
    )
    .when(is_idle_behind_product)
    .warns(),
    Limit::about(
        "TRT-P3",
        Subject::Calls(&[O::QuantizeLinear]),
        "it stands between a product and what would be fused with it",
        "quantize behind normalization and activation",
    )
    .when(splits_a_fusion)
    .warns(),
    Limit::about(
        "TRT-P4",
        Subject::Calls(&[O::Add]),
        "both operands of a residual sum are quantized, so convolution and sum are two kernels",
        "quantize the operand that goes around the block only",
    )
    .when(is_doubly_quantized)
    .warns(),
    Limit::about(
        "TRT-P5",
        Subject::Calls(&[O::QuantizeLinear]),
        "its operand is quantized more than once",
        "let all readers share one pair",
    )
    .when(|call| !first_of_operand(call))
    .warns(),
    Limit::about(
        "TRT-P6",
        Subject::Calls(&[O::Concat]),
        "what is put together has several scales, so it is requantized first",
        "give operands and result one scale",
    )
    .when(has_several_scales)
    .warns(),
    Limit::about(
        "TRT-P7",
        Subject::Calls(WEIGHTED),
        "its weight has scales along another axis than that of output channels",
        "give each output channel a scale",
    )
    .when(has_scales_elsewhere),
    Limit::about(
        "TRT-P8",
        Subject::Calls(&[O::DequantizeLinear]),
        "nothing but a shape is read of it",
        "let Shape read the tensor as it was",
    )
    .when(|call| readers(call.graph(), call.id()).is_some_and(|ops| ops.iter().all(|op| is_shape(*op))))
    .warns(),
    Limit::about(
        "TRT-P9",
        Subject::Calls(&[O::Conv, O::ConvTranspose, O::Gemm]),
        "its bias is quantized",
        "leave the bias in real numbers",
    )
    .when(|call| is_quantized(call, 2))
    .warns(),
    Limit::about(
        "TRT-P10",
        Subject::Calls(&[O::DequantizeLinear]),
        "an output of the model is quantized, though nothing reads it",
        "leave outputs in real numbers",
    )
    .when(|call| {
        let shown = call.graph().result(call.id(), 0).is_some_and(|v| call.graph().is_output(v));
        shown && call.constant(0).is_none()
    })
    .warns(),
    Limit::about(
        "TRT-X4",
        Subject::Calls(&[
            O::Erf,
            O::Gelu,
            O::GroupNormalization,
            O::InstanceNormalization,
            O::LayerNormalization,
            O::LeakyRelu,
            O::LogSoftmax,
            O::RMSNormalization,
            O::Sigmoid,
            O::Softmax,
        ]),
        "it runs in real numbers, so integers before it are rounding only",
        "leave its operand in real numbers",
    )
    .when(|call| pair_before(call, 0).is_some())
    .warns(),
];

/// How many elements operand `slot` has.
fn len(call: &CallView<'_>, slot: usize) -> Option<i64> {
    call.dims(slot)?.iter().try_fold(1i64, |n, d| n.checked_mul(d.known()?))
}

/// Whether the scale is dequantized or cast from constants.
fn is_of_constants(call: &CallView<'_>) -> bool {
    let graph = call.graph();
    let Some((maker, _)) = call.operand(1).and_then(|v| graph.producer(v)) else { return false };
    matches!(graph.node(maker).op, O::DequantizeLinear | O::Cast)
        && graph.operands(maker).flatten().all(|v| graph.constant(v).is_some())
}

fn axis(call: &CallView<'_>) -> Option<usize> {
    normalize_axis(quant::AXIS.of(call.node()), call.rank(0)?)
}

fn has_odd_scales(call: &CallView<'_>) -> bool {
    let (Some(1), Some(n)) = (call.rank(1), len(call, 1)) else { return false };
    if n == 1 {
        return false;
    }
    let slices = axis(call).and_then(|axis| call.dims(0)?.get(axis)?.known());
    call.rank(0).is_some() && axis(call).is_none() || slices.is_some_and(|slices| slices != n)
}

/// The type of the quantized side, where it has 8 bits.
fn family(graph: &Graph, node: NodeId) -> Option<bool> {
    let value = match graph.node(node).op {
        O::QuantizeLinear => graph.result(node, 0)?,
        O::DequantizeLinear => graph.operand(node, 0)?,
        _ => return None,
    };
    graph.value(value).ty.dtype().filter(|t| t.bits() == 8).map(DType::is_float)
}

/// Whether the call's integers, or floats, are not those of the first in the model.
fn is_of_another_family(call: &CallView<'_>) -> bool {
    let graph = call.graph();
    let Some(mine) = family(graph, call.id()) else { return false };
    graph.nodes().find_map(|node| family(graph, node)).is_some_and(|first| first != mine)
}

/// The `QuantizeLinear` behind whose `DequantizeLinear` operand `slot` stands.
fn pair_before(call: &CallView<'_>, slot: usize) -> Option<NodeId> {
    let graph = call.graph();
    let maker = |value: ValueId, op: O| graph.producer(value).map(|(n, _)| n).filter(|&n| graph.node(n).op == op);
    let dequantize = maker(call.operand(slot)?, O::DequantizeLinear)?;
    maker(graph.operand(dequantize, 0)?, O::QuantizeLinear)
}

/// Whether the weight alone has few bits, in blocks: that is meant to be computed in real numbers.
fn is_packed(call: &CallView<'_>) -> bool {
    let graph = call.graph();
    let maker = call.operand(1).and_then(|v| graph.producer(v)).map(|(maker, _)| CallView::new(graph, maker));
    maker.is_some_and(|maker| maker.node().op == O::DequantizeLinear && maker.dtype(0) == Some(DType::I4))
}

/// Whether operand `slot` comes from integers.
fn is_quantized(call: &CallView<'_>, slot: usize) -> bool {
    let graph = call.graph();
    let mut value = call.operand(slot);
    // What commutes with quantizing may stand between.
    for _ in 0..8 {
        let Some((maker, _)) = value.and_then(|v| graph.producer(v)) else { return false };
        value = match graph.node(maker).op {
            O::DequantizeLinear => return true,
            op if commutes(op) => graph.operand(maker, 0),
            _ => return false,
        };
    }
    false
}

/// Operators that TensorRT moves quantizing over.
fn commutes(op: O) -> bool {
    matches!(
        op,
        O::MaxPool
            | O::Reshape
            | O::Flatten
            | O::Squeeze
            | O::Unsqueeze
            | O::Transpose
            | O::Slice
            | O::Gather
            | O::Concat
            | O::Split
            | O::Expand
            | O::Tile
            | O::Resize
            | O::Identity
    )
}

/// The operators that read result 0 of `node`; `None` where it is an output, or nobody does.
fn readers(graph: &Graph, node: NodeId) -> Option<Vec<O>> {
    let users = graph.value(graph.result(node, 0)?).users();
    let op = |user: &User| if let User::Node(n, _) = *user { Some(graph.node(n).op) } else { None };
    let ops: Option<Vec<O>> = users.iter().map(op).collect();
    ops.filter(|ops| !ops.is_empty())
}

fn is_shape(op: O) -> bool {
    matches!(op, O::Shape | O::Size)
}

/// Whether result 0 of `node` is quantized, at once or behind an activation and what commutes.
fn is_quantized_behind(graph: &Graph, node: NodeId) -> bool {
    let mut at = node;
    for _ in 0..8 {
        let Some(ops) = readers(graph, at) else { return false };
        if ops.contains(&O::QuantizeLinear) {
            return true;
        }
        let next = graph.result(at, 0).and_then(|v| match graph.value(v).users() {
            [User::Node(next, _)] => Some(*next),
            _ => None,
        });
        match next {
            Some(next) if commutes(graph.node(next).op) || is_activation(graph.node(next).op) => at = next,
            _ => return false,
        }
    }
    false
}

fn is_activation(op: O) -> bool {
    matches!(op, O::Relu | O::Clip)
}

/// The operator that makes the operand of a `QuantizeLinear`.
fn made_by(call: &CallView<'_>) -> Option<NodeId> {
    call.graph().producer(call.operand(0)?).map(|(n, _)| n)
}

/// What reads the real numbers behind a `QuantizeLinear`; `None` where they are an output.
fn behind(call: &CallView<'_>) -> Option<Vec<O>> {
    let graph = call.graph();
    let mut found = Vec::new();
    for user in graph.value(graph.result(call.id(), 0)?).users() {
        let User::Node(node, _) = *user else { return None };
        if graph.node(node).op == O::DequantizeLinear {
            found.extend(readers(graph, node)?);
        }
    }
    Some(found)
}

fn splits_a_fusion(call: &CallView<'_>) -> bool {
    let is_product = made_by(call).is_some_and(|n| WEIGHTED.contains(&call.graph().node(n).op));
    let fused = |op: &O| is_activation(*op) || *op == O::BatchNormalization;
    is_product && behind(call).is_some_and(|ops| !ops.is_empty() && ops.iter().all(fused))
}

fn is_idle_behind_product(call: &CallView<'_>) -> bool {
    let graph = call.graph();
    let is_product = made_by(call).is_some_and(|n| WEIGHTED.contains(&graph.node(n).op));
    let takes = |op: &O| {
        WEIGHTED.contains(op)
            || commutes(*op)
            || is_activation(*op)
            || matches!(op, O::Add | O::Mul | O::AveragePool | O::GlobalAveragePool | O::BatchNormalization)
    };
    // An output is told of elsewhere.
    is_product && behind(call).is_some_and(|ops| !ops.iter().any(takes) && !ops.iter().all(|op| is_shape(*op)))
}

fn is_doubly_quantized(call: &CallView<'_>) -> bool {
    let (Some(a), Some(b)) = (pair_before(call, 0), pair_before(call, 1)) else { return false };
    let graph = call.graph();
    let is_of_conv = |quantize: NodeId| {
        let made = made_by(&CallView::new(graph, quantize));
        made.is_some_and(|n| matches!(graph.node(n).op, O::Conv | O::ConvTranspose))
    };
    a != b && (is_of_conv(a) || is_of_conv(b))
}

/// Whether no `QuantizeLinear` before this one reads the same tensor.
fn first_of_operand(call: &CallView<'_>) -> bool {
    let Some(value) = call.operand(0).filter(|_| call.constant(0).is_none()) else { return true };
    let graph = call.graph();
    let quantizes = |user: &User| match *user {
        User::Node(n, 0) if graph.node(n).op == O::QuantizeLinear => Some(n),
        _ => None,
    };
    graph.value(value).users().iter().filter_map(quantizes).min() == Some(call.id())
}

fn has_several_scales(call: &CallView<'_>) -> bool {
    let graph = call.graph();
    let scale = |node: NodeId| graph.operand(node, 1).and_then(|v| graph.constant(v)).and_then(Tensor::uniform_real);
    let before = (0..call.operand_count()).map(|slot| pair_before(call, slot));
    let Some(pairs) = before.collect::<Option<Vec<NodeId>>>() else { return false };
    let behind = graph.result(call.id(), 0).map(|v| graph.value(v).users()).unwrap_or_default();
    let quantizing = behind.iter().filter_map(|user| match *user {
        User::Node(n, 0) if graph.node(n).op == O::QuantizeLinear => Some(n),
        _ => None,
    });
    let scales: Vec<f64> = pairs.into_iter().chain(quantizing).filter_map(scale).collect();
    scales.windows(2).any(|pair| pair[0] != pair[1])
}

fn has_scales_elsewhere(call: &CallView<'_>) -> bool {
    let Quant::Kernel { weight, axis: wanted } = (row_of(call.node()).quant)(call) else { return false };
    let graph = call.graph();
    let Some((maker, _)) = call.operand(weight).and_then(|v| graph.producer(v)) else { return false };
    let dequantize = CallView::new(graph, maker);
    graph.node(maker).op == O::DequantizeLinear
        && dequantize.rank(1) == Some(1)
        && len(&dequantize, 1).is_some_and(|n| n > 1)
        && axis(&dequantize).is_some_and(|axis| axis != wanted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::passes::infer_declared;
    use crate::survey::survey;
    use crate::target::{Effect, TENSORRT};
    use crate::text;

    /// What is said of a model, but for open sizes.
    fn said(body: &str) -> BTreeSet<(&'static str, String)> {
        let declared = "float s = {0.5}, float t = {0.25}, int8 z = {0}, uint8 u = {0}, float[4] ss = {0.1, 0.2, 0.3, 0.4}, int8[4] zz = {0, 0, 0, 0}, \
             int8[4,4,1,1] q, int8[4,4] m, float[4] b, float[4,4,1,1] w";
        let text =
            format!("g (float[1,4,4,4] x, float[1,4,1,1] v, float o, float[4,4] f) => (y) <{declared}> {{ {body} }}");
        let mut model = text::parse(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
        infer_declared(&mut model.graph);
        let effect = |effect| if effect == Effect::Unsupported { "refused" } else { "slow" };
        survey(&model, &TENSORRT, 21, 21).into_iter().map(|f| (effect(f.effect), f.rule)).collect()
    }

    /// A tensor through a pair.
    fn pair(to: &str, from: &str) -> String {
        format!("{to}q = QuantizeLinear({from}, s, z) {to} = DequantizeLinear({to}q, s, z)")
    }

    const WEIGHT: &str = "k = DequantizeLinear <axis = 0> (q, ss, zz)";

    #[track_caller]
    fn assert_said(body: &str, expected: &[(&'static str, &str)]) {
        let expected: BTreeSet<_> = expected.iter().map(|&(effect, rule)| (effect, rule.to_string())).collect();
        assert_eq!(said(body), expected, "{body}");
    }

    #[test]
    fn a_model_that_keeps_every_rule_is_not_spoken_of() {
        let block = format!(
            "{} {WEIGHT} a = Conv(d, k, b) r = Relu(a) {} c = Conv(e, k) {} t2 = Add(c, g2) y = Relu(t2)",
            pair("d", "x"),
            pair("e", "r"),
            pair("g2", "r2") + " r2 = Relu(x)",
        );
        assert_said(&block, &[]);
    }

    #[test]
    fn what_is_refused_is_told() {
        let refused = |body: &str, rule: &str| assert_said(body, &[("refused", rule)]);
        refused(
            "n = QuantizeLinear(x, s, three) h = DequantizeLinear(n, s, three) y = Relu(h) three = Constant <value = int8 {3}> ()",
            "TRT-T2",
        );
        refused("n = QuantizeLinear(x, s, zz) h = DequantizeLinear(n, s, z) y = Relu(h)", "TRT-T2");
        refused("n = QuantizeLinear(x, s, u) h = DequantizeLinear(n, s, u) y = Relu(h)", "TRT-T3");
        refused("n = QuantizeLinear(x, s) h = DequantizeLinear(n, s) y = Relu(h)", "TRT-T3");
        for scale in ["0.0", "-1.0", "1e-42"] {
            let constant = format!("c = Constant <value = float {{{scale}}}> ()");
            refused(
                &format!("{constant} n = QuantizeLinear(x, c, z) h = DequantizeLinear(n, c, z) y = Relu(h)"),
                "TRT-T4",
            );
        }
        refused("n = QuantizeLinear(x, o, z) h = DequantizeLinear(n, s, z) y = Relu(h)", "TRT-T4");
        refused("h = DequantizeLinear <axis = 2> (q, ss, zz) y = Relu(h)", "TRT-T4");
        refused("n = QuantizeLinear <axis = 1> (x, ss, zz) h = DequantizeLinear(n, s, z) y = Relu(h)", "TRT-T5");
        refused("n = QuantizeLinear(o, s, z) h = DequantizeLinear(n, s, z) y = Relu(h)", "TRT-T6");
        refused(
            "n = QuantizeLinear(x, s, z) h = DequantizeLinear(n, s, z) e = QuantizeLinear <output_dtype = 17> (h, s) \
             i = DequantizeLinear(e, s) y = Relu(i)",
            "TRT-T8",
        );
        let body = format!("{} k = DequantizeLinear <axis = 1> (q, ss, zz) y = Conv(d, k)", pair("d", "x"));
        refused(&body, "TRT-P7");
    }

    #[test]
    fn what_is_slow_is_told() {
        let slow = |body: &str, rule: &str| assert_said(body, &[("slow", rule)]);
        slow(&format!("{} y = GlobalAveragePool(d)", pair("d", "x")), "TRT-P0");
        slow(&format!("{} y = Conv(d, w)", pair("d", "x")), "TRT-P1");
        slow(&format!("{WEIGHT} y = Conv(x, k)"), "TRT-P1");
        let conv = format!("{} {WEIGHT} a = Conv(d, k)", pair("d", "x"));
        slow(&format!("{conv} {} y = Neg(e)", pair("e", "a")), "TRT-P2");
        slow(&format!("{conv} {} y = Relu(e)", pair("e", "a")), "TRT-P3");
        slow(&format!("{conv} {} {} y = Add(e, p)", pair("e", "a"), pair("p", "v")), "TRT-P4");
        let twice = "n = QuantizeLinear(x, s, z) h = DequantizeLinear(n, s, z) j = QuantizeLinear(x, t, z) i = DequantizeLinear(j, t, z)";
        slow(&format!("{twice} {WEIGHT} a = Conv(h, k) c = Conv(i, k) y = Add(a, c)"), "TRT-P5");
        let other = "j = QuantizeLinear(v, t, z) i = DequantizeLinear(j, t, z)";
        slow(&format!("{} {other} y = Concat <axis = 2> (d, i)", pair("d", "x")), "TRT-P6");
        slow(&format!("{} y = Shape(d)", pair("d", "x")), "TRT-P8");
        let bias = "l = DequantizeLinear(long, s) long = Constant <value = int32[4] {1, 2, 3, 4}> ()";
        let body = format!("{} {WEIGHT} {bias} y = Conv(d, k, l)", pair("d", "x"));
        assert_said(&body, &[("slow", "TRT-P9"), ("refused", "TRT-T3")]);
        slow(&format!("r = Relu(x) {}", pair("y", "r")), "TRT-P10");
        slow(&format!("{} y = Softmax(d)", pair("d", "x")), "TRT-X4");
    }
}
