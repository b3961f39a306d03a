//! Ops between real numbers and the integers that stand for them, and integer kernels.
//!
//! What these compute is quantized already, so a quantizer leaves all of them alone.

use smallvec::SmallVec;

use crate::ir::{DType, Int, Key, Node, OpKind, Shape, Type};
use crate::ops::conv::{convolve, mixed, per_result};
use crate::ops::dims::product;
use crate::ops::matmul::multiply;
use crate::ops::shape::dtype_of;
use crate::ops::ties::{convolution_with, product as product_ties};
use crate::ops::{CallView, Channels, End, Infer, OpDef, Outcome, Tie, Ties, normalize_axis, ties};

/// `QuantizeLinear`, `DequantizeLinear`: the axis of a scale with one element per slice.
pub const AXIS: Key<i64> = Key::new("axis", 1);
/// `QuantizeLinear`, `DequantizeLinear`: the result's element type by ONNX's number; 0 leaves it to the operands.
pub const OUTPUT_DTYPE: Key<i64> = Key::new("output_dtype", 0);

/// `QuantizeLinear`, `DequantizeLinear`: how many elements along the axis share a scale; 0 where that is not said.
/// Elements that share a scale along the axis; 0 where scales have no blocks.
pub const BLOCK_SIZE: Key<i64> = Key::new("block_size", 0);

/// `QuantizeLinear`: `[x, scale, zero point]`.
pub static QUANTIZE_LINEAR: OpDef = OpDef { infer: Some(quantize), channels: scaled, ties: of_scales, ..OpDef::PURE };
/// `DequantizeLinear`: `[x, scale, zero point]`.
pub static DEQUANTIZE_LINEAR: OpDef =
    OpDef { infer: Some(dequantize), channels: scaled, ties: of_scales, ..OpDef::PURE };
/// `DynamicQuantizeLinear`: one operand; results, scale and zero point.
pub static DYNAMIC_QUANTIZE_LINEAR: OpDef = OpDef { infer: Some(dynamic), ..OpDef::PURE };
/// `QLinearConv`: `[x, its scale and zero point, w, …, the result's scale and zero point, bias]`.
pub static QLINEAR_CONV: OpDef = OpDef {
    infer: Some(|c| convolve(c, 0, 3, c.dtype(7))),
    // The slices of a weight with scales of their own are not those of one operand.
    channels: |c| if is_single(c, 4) && is_single(c, 5) { mixed(c, 0, 3, 8) } else { Channels::Barrier },
    ties: |c| convolution_with(c, 0, 3, &with_vectors(c, &[8], &[4, 5])),
    macs: |c| per_result(c, 3),
    ..OpDef::PURE
};
/// `ConvInteger`: `[x, w, zero point of x, zero point of w]`.
pub static CONV_INTEGER: OpDef = OpDef {
    infer: Some(|c| convolve(c, 0, 1, Some(DType::I32))),
    channels: |c| if !c.has(3) || is_single(c, 3) { mixed(c, 0, 1, usize::MAX) } else { Channels::Barrier },
    ties: |c| convolution_with(c, 0, 1, &with_vectors(c, &[], &[3])),
    macs: |c| per_result(c, 1),
    ..OpDef::PURE
};
/// `QLinearMatMul`: `[a, its scale and zero point, b, …, the result's scale and zero point]`.
pub static QLINEAR_MATMUL: OpDef = OpDef {
    infer: Some(|c| multiply(c, 0, 3, c.dtype(7))),
    ties: |c| of_product(c, 3, &[1, 2, 6, 7], &[4, 5]),
    macs: product_macs,
    ..OpDef::PURE
};
/// `MatMulInteger`: `[a, b, zero point of a, zero point of b]`.
pub static MATMUL_INTEGER: OpDef = OpDef {
    infer: Some(|c| multiply(c, 0, 1, Some(DType::I32))),
    ties: |c| of_product(c, 1, &[2], &[3]),
    macs: product_macs,
    ..OpDef::PURE
};

/// `slots`, and those of `scales` that have more than one element.
pub(super) fn with_vectors(call: &CallView<'_>, slots: &[usize], scales: &[usize]) -> SmallVec<[usize; 4]> {
    let vectors = scales.iter().filter(|&&slot| call.has(slot) && !is_single(call, slot));
    slots.iter().chain(vectors).copied().collect()
}

/// A product of operand 0 with operand `b`, whose columns may have `scales` of their own; rows with scales of their own
/// are not followed.
fn of_product(call: &CallView<'_>, b: usize, singles: &[usize], scales: &[usize]) -> Ties {
    if singles.iter().any(|&slot| call.has(slot) && !is_single(call, slot)) {
        return Ties::new();
    }
    let mut ties = product_ties(call, 0, b);
    for slot in with_vectors(call, &[], scales) {
        let (Some([ones @ .., _]), Some(rank)) = (call.dims(slot), call.result_dims(0).map(<[Int]>::len)) else {
            return Ties::new();
        };
        if rank == 0 || call.rank(b) == Some(1) || ones.iter().any(|one| one.known() != Some(1)) {
            return Ties::new();
        }
        ties.push(Tie::Same(End::operand(slot, ones.len()), End::result(0, rank - 1)));
    }
    ties
}

fn product_macs(call: &CallView<'_>) -> Option<Int> {
    product(call.result_dims(0)?)?.checked_mul(call.dims(0)?.last()?)
}

/// Whether operand `slot` is known to hold one element for the whole tensor.
fn is_single(call: &CallView<'_>, slot: usize) -> bool {
    call.dims(slot).and_then(product).is_some_and(|n| n.known() == Some(1))
}

fn retyped(call: &mut Infer<'_>, slot: usize, dtype: Option<DType>) -> Outcome {
    call.set_dtype(slot, dtype);
    let shape = call.ty(0)?.shape().clone();
    call.set_type(slot, Type::Tensor { dtype, shape });
    Some(())
}

fn quantize(call: &mut Infer<'_>) -> Outcome {
    let dtype = match OUTPUT_DTYPE.of(call.node()) {
        0 if call.has(2) => call.dtype(2),
        0 => Some(DType::U8),
        code => dtype_of(code),
    };
    retyped(call, 0, dtype)
}

fn dequantize(call: &mut Infer<'_>) -> Outcome {
    let dtype = match OUTPUT_DTYPE.of(call.node()) {
        0 => call.dtype(1),
        code => dtype_of(code),
    };
    retyped(call, 0, dtype)
}

/// One scale for all leaves every axis alone; one per slice goes with its axis; one per block with none.
fn scaled(call: &CallView<'_>) -> Channels {
    if is_single(call, 1) {
        return Channels::Tied;
    }
    let (Some(rank), Some(1)) = (call.rank(0), call.rank(1)) else { return Channels::Barrier };
    // Of a vector there is one axis only.
    let axis = if rank == 1 { Some(0) } else { normalize_axis(AXIS.of(call.node()), rank) };
    let parameters = [1, 2].into_iter().filter(|&slot| call.has(slot)).collect();
    axis.map_or(Channels::Barrier, |axis| Channels::PerChannel { axis, parameters })
}

/// As [`scaled`] says; of an axis in blocks, whole blocks go, with their scales.
fn of_scales(call: &CallView<'_>) -> Ties {
    let (Some(x), Some(scale)) = (call.dims(0), call.dims(1)) else { return Ties::new() };
    let block = usize::try_from(BLOCK_SIZE.of(call.node())).unwrap_or(0);
    let axis = normalize_axis(AXIS.of(call.node()), x.len());
    let (1.., Some(axis), true) = (block, axis, x.len() == scale.len()) else { return ties::of_channels(call) };
    let mut ties = ties::broadcast(call, [0], 0);
    let blocks = ties::size(call, End::operand(1, axis));
    let whole = blocks.and_then(|n| n.checked_mul(block)) == ties::size(call, End::operand(0, axis));
    let (Some(count), true) = (blocks, whole) else { return Ties::new() };
    let slots = [1, 2].into_iter().filter(|&slot| call.has(slot));
    for slot in slots.clone() {
        let others = (0..x.len()).filter(|&other| other != axis);
        ties.extend(others.map(|other| Tie::Same(End::operand(slot, other), End::result(0, other))));
    }
    let mut ends: SmallVec<[End; 4]> = SmallVec::from_slice(&[End::operand(0, axis), End::result(0, axis)]);
    ends.extend(slots.map(|slot| End::operand(slot, axis)));
    ties.push(Tie::Runs { ends, count });
    ties
}

fn dynamic(call: &mut Infer<'_>) -> Outcome {
    call.set(1, DType::F32, []);
    call.set_type(2, Type::tensor(DType::U8, Shape::known(&[])));
    retyped(call, 0, Some(DType::U8))
}

/// Operators of com.microsoft that compute in integers, as far as their names do not begin like those of `QLinearConv`.
const CONTRIB: &[&str] = &[
    "BiasQuantizeGelu",
    "DequantizeLinear",
    "DequantizeBFP",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
    "GatherBlockQuantized",
    "MatMulBnb4",
    "MatMulFpQ4",
    "MatMulInteger16",
    "MatMulIntegerToFloat",
    "MatMulNBits",
    "MulInteger",
    "QAttention",
    "QEmbedLayerNormalization",
    "QGemm",
    "QMoE",
    "QOrderedMatMul",
    "QuantizeBFP",
    "QuantizeLinear",
    "ReduceSumInteger",
];

/// Whether the operator reads, makes or computes with integers that stand for real numbers.
pub fn is_integer(node: &Node) -> bool {
    match node.op {
        OpKind::QuantizeLinear
        | OpKind::DequantizeLinear
        | OpKind::DynamicQuantizeLinear
        | OpKind::QLinearConv
        | OpKind::QLinearMatMul
        | OpKind::ConvInteger
        | OpKind::MatMulInteger => true,
        OpKind::Custom => {
            let name = node.op_name();
            name.starts_with("QLinear") || name.starts_with("QOrdered") || CONTRIB.contains(&name)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::*;
    use crate::ops::testing::{Case, infer, infer_all, macs};
    use crate::ops::{Channels, def};

    #[test]
    fn types_follow_zero_point_scale_or_attribute() {
        assert_eq!(infer(QuantizeLinear, "float[b,3] float=1 int8=0", &[]), "int8[b,3]");
        assert_eq!(infer(QuantizeLinear, "float[b,3] float=1", &[]), "uint8[b,3]");
        assert_eq!(infer(QuantizeLinear, "float[b,3] float=1 ?", &[]), "?[b,3]");
        assert_eq!(infer(QuantizeLinear, "float[b,3] float=1", &[("output_dtype", 22.into())]), "int4[b,3]");
        assert_eq!(infer(DequantizeLinear, "int8[b,3] float16[3] int8[3]", &[]), "float16[b,3]");
        assert_eq!(infer(DequantizeLinear, "int8[b,3] float16[3]", &[("output_dtype", 1.into())]), "float[b,3]");
        assert_eq!(infer_all(DynamicQuantizeLinear, "float[b,3]", &[], 3), "uint8[b,3]  float[]  uint8[]");
    }

    #[test]
    fn integer_kernels_have_the_shapes_of_real_ones() {
        let conv = "uint8[b,3,8,8] float=1 uint8=0 int8[5,3,3,3] float=1 int8=0 float=1 uint8=0";
        assert_eq!(infer(QLinearConv, conv, &[]), "uint8[b,5,6,6]");
        assert_eq!(macs(QLinearConv, conv, &[]), format!("{}*b", 5 * 6 * 6 * 27));
        assert_eq!(infer(ConvInteger, "uint8[b,3,8,8] int8[5,3,3,3]", &[]), "int32[b,5,6,6]");
        let matmul = "uint8[b,3,8] float=1 uint8=0 int8[8,4] float=1 int8=0 float=1 int8=0";
        assert_eq!(infer(QLinearMatMul, matmul, &[]), "int8[b,3,4]");
        assert_eq!(infer(MatMulInteger, "uint8[3,8] int8[8,4]", &[]), "int32[3,4]");
        assert_eq!(macs(MatMulInteger, "uint8[3,8] int8[8,4]", &[]), "96");
    }

    #[test]
    fn scales_go_with_their_axis() {
        let channels = |operands: &str| {
            let case = Case::new(DequantizeLinear, operands, &[("axis", (-1).into())], 1);
            (def(DequantizeLinear).channels)(&case.view())
        };
        assert_eq!(channels("int8[b,3] float=1"), Channels::Tied);
        let parameters = [1].into_iter().collect();
        assert_eq!(channels("int8[b,3] float[3]"), Channels::PerChannel { axis: 1, parameters });
        assert_eq!(channels("int8[b,4] float[b,2]"), Channels::Barrier);
    }
}
