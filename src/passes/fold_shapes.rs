//! What shape arithmetic computes is written down instead.
//!
//! * A small integer value whose elements are all known becomes a constant.
//! * `Reshape` to symbolic sizes becomes a constant target: `0` where a size is copied from the operand, `-1` for one
//!   size that follows from the others.
//! * `Expand` and `Slice` to symbolic sizes that are those of the operand become constants likewise.
//!
//! `Shape`, `Gather`, `Concat` and the rest of such a chain die when nobody else reads them.

use crate::ir::{DType, Graph, Int, NodeId, OpKind, Origin, ScopeId, Tensor, ValueId};
use crate::ops::CallView;
use crate::ops::target::target_of;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::Step;

/// See the module.
pub struct FoldShapes;

impl Pass for FoldShapes {
    fn name(&self) -> &'static str {
        "fold-shapes"
    }

    fn doc(&self) -> &'static str {
        include_str!("fold_shapes.rs")
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        let scopes: Vec<ScopeId> = graph.scopes().collect();
        for scope in scopes {
            // Its node may have died since.
            if !graph.has_scope(scope) {
                continue;
            }
            for node in graph.schedule(scope) {
                if !graph.has_node(node) {
                    continue;
                }
                write_down_known(graph, node, cx, &mut step);
                if graph.has_node(node) {
                    write_down_target(graph, node, cx, &mut step);
                }
            }
        }
        Ok(step)
    }
}

/// Every result of `node` whose elements are numbers becomes a constant.
fn write_down_known(graph: &mut Graph, node: NodeId, cx: &Context<'_>, step: &mut Step) {
    // Types alone prove nothing for an operator that may fail or is random; content comes from deterministic rows.
    for slot in 0..graph.results(node).len() {
        let Some(value) = graph.result(node, slot) else { continue };
        let Some(tensor) = known_tensor(graph, value) else { continue };
        if graph.value(value).users().is_empty() {
            continue;
        }
        if !cx.fuel.spend("fold-known", || graph.label(node)) {
            return;
        }
        let constant = graph.add_constant(graph.node(node).scope(), "", tensor);
        graph.replace(value, constant);
        step.fired("fold-known");
    }
    graph.prune_dead(node, |_| {});
}

/// The elements of a result, where they are all numbers.
pub(crate) fn known_tensor(graph: &Graph, value: ValueId) -> Option<Tensor> {
    let v = graph.value(value);
    if !matches!(v.origin(), Origin::Node(..)) {
        return None;
    }
    let elements: Vec<i64> = v.content.as_ref()?.iter().map(Int::known).collect::<Option<_>>()?;
    let dims = v.ty.shape().sizes()?;
    pack(v.ty.dtype()?, &dims, &elements)
}

/// Integers as a tensor of an integer type, `bool` or `float32`/`float64`; `None` when one does not fit.
fn pack(dtype: DType, dims: &[usize], elements: &[i64]) -> Option<Tensor> {
    let mut data = Vec::with_capacity(elements.len() * 8);
    for &e in elements {
        match dtype {
            DType::I64 => data.extend(e.to_le_bytes()),
            DType::I32 => data.extend(i32::try_from(e).ok()?.to_le_bytes()),
            DType::I16 => data.extend(i16::try_from(e).ok()?.to_le_bytes()),
            DType::I8 => data.extend(i8::try_from(e).ok()?.to_le_bytes()),
            DType::U64 => data.extend(u64::try_from(e).ok()?.to_le_bytes()),
            DType::U32 => data.extend(u32::try_from(e).ok()?.to_le_bytes()),
            DType::U16 => data.extend(u16::try_from(e).ok()?.to_le_bytes()),
            DType::U8 => data.extend(u8::try_from(e).ok()?.to_le_bytes()),
            DType::Bool => data.push(u8::from(e != 0)),
            // Integers below 2²⁴ are exact in both.
            DType::F32 if e.unsigned_abs() < 1 << 24 => data.extend((e as f32).to_le_bytes()),
            DType::F64 if e.unsigned_abs() < 1 << 24 => data.extend((e as f64).to_le_bytes()),
            _ => return None,
        }
    }
    Tensor::raw(dtype, dims, data.into()).ok()
}

/// The shape operand of `Reshape`, `Expand` or `Slice` becomes a constant where sizes are the operand's own.
fn write_down_target(graph: &mut Graph, node: NodeId, cx: &Context<'_>, step: &mut Step) {
    let call = CallView::new(graph, node);
    let op = call.node().op;
    let edits: Vec<(usize, Tensor)> = match op {
        OpKind::Reshape => reshape_target(&call).into_iter().map(|t| (1, t)).collect(),
        OpKind::Expand => expand_target(&call).into_iter().map(|t| (1, t)).collect(),
        OpKind::Slice => slice_bounds(&call),
        _ => return,
    };
    if edits.is_empty() {
        return;
    }
    if !cx.fuel.spend("fold-target", || graph.label(node)) {
        return;
    }
    let scope = graph.node(node).scope();
    for (slot, tensor) in edits {
        let old = graph.operand(node, slot);
        let constant = graph.add_constant(scope, "", tensor);
        graph.set_operand(node, slot, Some(constant));
        if let Some((producer, _)) = old.and_then(|v| graph.producer(v)) {
            graph.prune_dead(producer, |_| {});
        }
    }
    if op == OpKind::Reshape {
        // The target says 0 for "the operand's size".
        graph.remove_attr(node, "allowzero");
    }
    step.fired("fold-target");
}

/// A constant target for a `Reshape` whose target is computed.
fn reshape_target(call: &CallView<'_>) -> Option<Tensor> {
    if call.constant(1).is_some() {
        return None;
    }
    let result = call.result_dims(0)?;
    target_of(call.dims(0), result).map(|t| Tensor::vector(&t))
}

/// A constant target for an `Expand` whose target is computed: 1 keeps the operand's size.
fn expand_target(call: &CallView<'_>) -> Option<Tensor> {
    if call.constant(1).is_some() {
        return None;
    }
    let (operand, result) = (call.dims(0)?, call.result_dims(0)?);
    let target: Vec<i64> = result
        .iter()
        .enumerate()
        .map(|(axis, dim)| {
            let own = (axis + operand.len()).checked_sub(result.len()).and_then(|i| operand.get(i));
            if own == Some(dim) { Some(1) } else { dim.known() }
        })
        .collect::<Option<_>>()?;
    Some(Tensor::vector(&target))
}

/// Constant starts and ends for a `Slice` whose bounds are computed from the operand's own sizes.
fn slice_bounds(call: &CallView<'_>) -> Vec<(usize, Tensor)> {
    let bounds = || {
        let dims = call.dims(0)?;
        let count = call.dims(1).or_else(|| call.dims(2))?.first()?.known()?;
        let axes: Vec<i64> = match call.operand(3) {
            Some(_) => call.known_ints(3)?,
            // A slice has at most as many bounds as its operand has axes, whatever size they are declared with.
            None if usize::try_from(count).is_ok_and(|count| count <= dims.len()) => (0..count).collect(),
            None => return None,
        };
        let forward = match call.operand(4) {
            Some(_) => call.known_ints(4)?.iter().all(|&s| s > 0),
            None => true,
        };
        if !forward {
            return None;
        }
        let mut edits = Vec::new();
        for slot in [1, 2] {
            if call.constant(slot).is_some() {
                continue;
            }
            let wanted: Vec<i64> = call
                .ints(slot)?
                .iter()
                .zip(&axes)
                .map(|(bound, &axis)| {
                    let size = &dims[crate::ops::normalize_axis(axis, dims.len())?];
                    from_end(bound, size, slot)
                })
                .collect::<Option<_>>()?;
            edits.push((slot, int_tensor(call.dtype(slot)?, &wanted)?));
        }
        Some(edits)
    };
    bounds().unwrap_or_default()
}

/// `bound` as a number: itself, or counted from the end of an axis of `size`.
fn from_end(bound: &Int, size: &Int, slot: usize) -> Option<i64> {
    if let Some(n) = bound.known() {
        return Some(n);
    }
    match bound.checked_sub(size)?.known()? {
        // The end of the axis, as an end; a start there selects nothing and cannot be said by a negative number.
        0 if slot == 2 => Some(i64::from(i32::MAX)),
        // `size − 3` is −1 where the size is 2, and then counts from the end itself. The sizes that make `size − 1` or
        // `size − 2` negative are so small that either way ends at 0.
        n @ (-2 | -1) => Some(n),
        _ => None,
    }
}

fn int_tensor(dtype: DType, elements: &[i64]) -> Option<Tensor> {
    pack(dtype, &[elements.len()], elements)
}
