//! One layer in a precision, said in float32: its operands, weights and result rounded to what that precision has.

use crate::ir::{DType, Graph, NodeId, OpKind, Tensor, ValueId};
use crate::ops::infer_node;
use crate::precision::{Fit, Role, rounded};
use crate::quantize::{Grid, Scaling, given_back, integers};
use crate::sensitivity::Precision;
use crate::sensitivity::ground::Ground;
use crate::sensitivity::layer::{Layer, Weight};

/// A call like `node`, on the same operands.
pub(crate) fn copy(graph: &mut Graph, node: NodeId) -> NodeId {
    let n = graph.node(node);
    let (op, scope, order, attrs) = (n.op, n.scope(), n.order(), n.attrs().to_vec());
    let results = graph.results(node).to_vec();
    let operands: Vec<Option<ValueId>> = graph.operands(node).collect();
    let copy = graph.add_node(scope, op, &operands, results.len(), order);
    for (name, attr) in attrs {
        graph.set_attr(copy, name, attr);
    }
    for (slot, old) in results.iter().enumerate().rev() {
        match (old, graph.result(copy, slot)) {
            (Some(old), Some(new)) => {
                let ty = graph.value(*old).ty.clone();
                graph.value_mut(new).ty = ty;
            }
            _ => graph.drop_result(copy, slot),
        }
    }
    copy
}

/// Give `node`, which is `layer`'s or a copy of it, the numbers that it would have in `precision`. Returns its results,
/// as others would read them; `None` where its weights cannot have that precision.
pub(crate) fn dress(
    graph: &mut Graph,
    node: NodeId,
    layer: &Layer,
    precision: Precision,
    ground: &Ground,
    is_layer: &dyn Fn(NodeId) -> bool,
) -> Option<Vec<Option<ValueId>>> {
    match precision {
        Precision::Fp32 => {}
        Precision::Fp16 | Precision::Bf16 => return Some(halves(graph, node, &ground.halves.get(&precision)?.fit)),
        Precision::Fp16Weights => {
            for weight in &layer.weights {
                let tensor = graph.constant(graph.operand(node, weight.slot)?)?;
                let half = half_of(tensor, &ground.halves.get(&precision)?.fit, Role::Number)?;
                let value = graph.add_constant(graph.node(node).scope(), "", half);
                graph.set_operand(node, weight.slot, Some(value));
            }
        }
        Precision::Int8Weights | Precision::Uint4 | Precision::Int4 | Precision::Int2 => {
            let (old, tensor) = ground.packed.weight(&ground.model.graph, layer.node, precision)?;
            let slots: Vec<usize> =
                (0..graph.operand_count(node)).filter(|&s| graph.operand(node, s) == Some(old)).collect();
            let value = graph.add_constant(graph.node(node).scope(), "", tensor);
            for slot in slots {
                graph.set_operand(node, slot, Some(value));
            }
            ground.packed.round_read(graph, layer.node, precision, node);
        }
        Precision::Int8 => {
            weights(graph, node, layer)?;
            for &slot in &layer.operands {
                if let (Some((grid, scaling)), Some(value)) =
                    (ground.operand(layer.node, slot), graph.operand(node, slot))
                {
                    let read = quantized(graph, value, grid, scaling)?;
                    graph.set_operand(node, slot, Some(read));
                }
            }
            let mut results = graph.results(node).to_vec();
            if let (Some((grid, scaling)), Some(Some(value))) = (ground.result(layer.node, is_layer), results.first()) {
                results[0] = Some(quantized(graph, *value, grid, scaling)?);
            }
            return Some(results);
        }
    }
    Some(graph.results(node).to_vec())
}

/// Weights as integers give them back.
fn weights(graph: &mut Graph, node: NodeId, layer: &Layer) -> Option<()> {
    for weight in &layer.weights {
        let tensor = graph.constant(graph.operand(node, weight.slot)?)?.clone();
        let rounded = rounded_weight(&tensor, *weight)?;
        let value = graph.add_constant(graph.node(node).scope(), "", rounded);
        graph.set_operand(node, weight.slot, Some(value));
    }
    Some(())
}

/// A weight as int8 gives it back.
pub(crate) fn rounded_weight(tensor: &Tensor, weight: Weight) -> Option<Tensor> {
    let found = integers(tensor, Some(weight.axis), Grid::I8)?;
    Tensor::f32s(tensor.dims(), &given_back(tensor, Some(weight.axis), &found)?).ok()
}

/// Operands and results as halves.
fn halves(graph: &mut Graph, node: NodeId, fit: &Fit) -> Vec<Option<ValueId>> {
    for slot in 0..graph.operand_count(node) {
        let Some(value) = graph.operand(node, slot) else { continue };
        if graph.value(value).ty.dtype() != Some(DType::F32) {
            continue;
        }
        let read = match graph.constant(value) {
            Some(tensor) => {
                let role = fit.role(graph, value, crate::ir::User::Node(node, slot));
                let Some(half) = half_of(tensor, fit, role) else { continue };
                graph.add_constant(graph.node(node).scope(), "", half)
            }
            None => rounded(graph, value, fit.half),
        };
        graph.set_operand(node, slot, Some(read));
    }
    let results = graph.results(node).to_vec();
    let is_float = |graph: &Graph, value: ValueId| graph.value(value).ty.dtype() == Some(DType::F32);
    results
        .into_iter()
        .map(|value| value.map(|v| if is_float(graph, v) { rounded(graph, v, fit.half) } else { v }))
        .collect()
}

/// A constant as a half.
pub(crate) fn half_of(tensor: &Tensor, fit: &Fit, role: Role) -> Option<Tensor> {
    let half = fit.halved(tensor, role)?;
    Tensor::rounded(DType::F32, half.dims(), &half.reals()?).ok()
}

/// `value` behind a pair of `QuantizeLinear` and `DequantizeLinear`.
pub(crate) fn quantized(graph: &mut Graph, value: ValueId, grid: Grid, scaling: Scaling) -> Option<ValueId> {
    let scope = graph.value(value).scope();
    let scale = graph.add_constant(scope, "", Tensor::f32s(&[], &[scaling.scale]).ok()?);
    let bytes = scaling.zero_point.to_le_bytes()[..grid.dtype.bits().div_ceil(8)].to_vec();
    let zero = graph.add_constant(scope, "", Tensor::raw(grid.dtype, &[], bytes.into()).ok()?);
    let order = graph.producer(value).map_or(0, |(node, _)| graph.node(node).order());
    let mut read = value;
    for op in [OpKind::QuantizeLinear, OpKind::DequantizeLinear] {
        let node = graph.add_node(scope, op, &[Some(read), Some(scale), Some(zero)], 1, order);
        infer_node(graph, node);
        read = graph.result(node, 0)?;
    }
    Some(read)
}
