//! Writes the integers of a plan into a graph, in ONNX's QDQ form.

use std::collections::BTreeMap;

use crate::ir::{Graph, NodeId, OpKind, ScopeId, Tensor, TensorError, User, ValueId};
use crate::ops::infer_node;
use crate::quantize::{Grid, Group, Plan, Readers, Scaling, integers};

/// Put `plan` into `graph`: one pair of `QuantizeLinear` and `DequantizeLinear` for each tensor, and integers with a
/// `DequantizeLinear` in the place of each weight.
///
/// # Errors
/// For a tensor that cannot be made, which is a defect.
pub fn emit(graph: &mut Graph, plan: &Plan, scales: &BTreeMap<Group, Scaling>) -> Result<(), TensorError> {
    for site in &plan.sites {
        let Some(scaling) = scales.get(&site.group) else { continue };
        let users: Vec<User> = match &site.readers {
            Readers::All => graph.value(site.value).users().to_vec(),
            Readers::Some(slots) => slots.iter().map(|&(node, slot)| User::Node(node, slot)).collect(),
        };
        let label = graph.value_label(site.value);
        let scale = Tensor::f32s(&[], &[scaling.scale])?;
        let zero = whole(site.grid, &[], scaling.zero_point)?;
        let scale = graph.add_constant(ScopeId::MAIN, &format!("{label}_scale"), scale);
        let zero = graph.add_constant(ScopeId::MAIN, &format!("{label}_zero_point"), zero);
        let order = graph.producer(site.value).map_or(0, |(node, _)| graph.node(node).order());
        let quantize = call(graph, OpKind::QuantizeLinear, &[site.value, scale, zero], order, &label);
        let dequantize = call(graph, OpKind::DequantizeLinear, &[quantize, scale, zero], order, &label);
        for user in users {
            graph.replace_use(user, dequantize);
        }
    }
    for site in &plan.weights {
        let Some(weight) = graph.operand(site.node, site.slot) else { continue };
        let Some(tensor) = graph.constant(weight).cloned() else { continue };
        let Some(found) = integers(&tensor, site.axis, site.grid) else { continue };
        let label = graph.value_label(weight);
        let shape: &[usize] = if site.axis.is_some() { &[found.scales.len()] } else { &[] };
        let ints = graph.add_constant(ScopeId::MAIN, &format!("{label}_quantized"), found.tensor);
        let scale = Tensor::f32s(shape, &found.scales)?;
        let scale = graph.add_constant(ScopeId::MAIN, &format!("{label}_scale"), scale);
        let zeros = whole(site.grid, shape, 0)?;
        let zeros = graph.add_constant(ScopeId::MAIN, &format!("{label}_zero_point"), zeros);
        let order = graph.node(site.node).order();
        let dequantized = call(graph, OpKind::DequantizeLinear, &[ints, scale, zeros], order, &label);
        if let (Some(axis), Some((node, _))) = (site.axis, graph.producer(dequantized)) {
            graph.set_attr(node, "axis", i64::try_from(axis).unwrap_or_default().into());
        }
        graph.set_operand(site.node, site.slot, Some(dequantized));
        graph.prune_constant(weight);
    }
    Ok(())
}

/// `number` in every place.
fn whole(grid: Grid, dims: &[usize], number: i64) -> Result<Tensor, TensorError> {
    let bytes = number.to_le_bytes();
    Tensor::splat(grid.dtype, dims, &bytes[..grid.dtype.bits().div_ceil(8)])
}

fn call(graph: &mut Graph, op: OpKind, operands: &[ValueId], order: u32, label: &str) -> ValueId {
    let operands: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
    let node: NodeId = graph.add_node(ScopeId::MAIN, op, &operands, 1, order);
    if !label.is_empty() {
        graph.node_mut(node).name = format!("{label}_{}", op.name()).into();
    }
    infer_node(graph, node);
    let result = graph.result(node, 0).expect("a node that was made with a result has one");
    result
}
