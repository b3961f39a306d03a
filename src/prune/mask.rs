//! The model that a pruned one must equal: the original, in which everything that is summed over is zero where it was
//! cut.
//!
//! Zeros stand where channels are read, not where they are made: `f(0)` is not 0 for a sigmoid, a bias or a shift of a
//! normalization, so a channel that is made of zeros still adds something to the sums that it goes into, and one that
//! is not there adds nothing.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::ir::{DType, Graph, OpKind, Tensor, ValueId};
use crate::ops::{End, Port, Tie};
use crate::prune::call::Call;
use crate::prune::{Cut, Refused};

/// `graph` with zeros where `cut` takes something out of a sum.
///
/// # Errors
/// When what is to be masked is of a type, or has a zero point, that is not known.
pub fn masked(graph: &Graph, cut: &Cut) -> Result<Graph, Refused> {
    let mut result = graph.clone();
    let mut done: FxHashMap<(ValueId, Vec<usize>, Option<ValueId>), ValueId> = FxHashMap::default();
    for node in graph.nodes() {
        let call = Call::new(graph, node, cut);
        for (slot, axes) in sums(&call) {
            let Some(value) = graph.operand(node, slot) else { continue };
            let point = zero_point(&call, slot)?;
            let axes: Vec<usize> = axes.into_iter().collect();
            // One mask serves all who sum over the same axes of a value.
            let key = (value, axes, point);
            let masked = match done.get(&key) {
                Some(&masked) => masked,
                None => mask(&mut result, &call, &key)?,
            };
            done.insert(key, masked);
            result.set_operand(node, slot, Some(masked));
        }
    }
    Ok(result)
}

/// The operands that the call sums over, with the axes along which they lose something.
fn sums(call: &Call<'_>) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut found: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    let mut note = |end: End| {
        if let (Port::Operand(slot), Some(_)) = (end.port, call.kept(end)) {
            found.entry(slot).or_default().insert(end.axis);
        }
    };
    let is_weight = |end: &End| call.value(end.port).is_some_and(|value| call.view.graph().constant(value).is_some());
    for tie in call.ties() {
        match tie {
            // Zeros in one operand are enough.
            Tie::Contracted(a, b) => note(if is_weight(&a) { b } else { a }),
            Tie::Summed(end) => note(end),
            // Whichever of the two counts the input's channels.
            Tie::Grouped { wide, other, .. } => {
                wide.into_iter().chain([other]).filter(|e| !is_weight(e)).for_each(&mut note)
            }
            Tie::Same(..) | Tie::Picked { .. } | Tie::Joined { .. } | Tie::Runs { .. } | Tie::View => {}
        }
    }
    found
}

/// The operand that says which integer is zero in operand `slot`; `None` where 0 is.
fn zero_point(call: &Call<'_>, slot: usize) -> Result<Option<ValueId>, Refused> {
    let point = match (call.view.node().op, slot) {
        (OpKind::ConvInteger | OpKind::MatMulInteger, 0 | 1) => slot + 2,
        (OpKind::QLinearConv | OpKind::QLinearMatMul, 0 | 3) => slot + 2,
        (OpKind::Custom, 0 | 1) if is_called(call, "QAttention") => slot + 6,
        (OpKind::Custom, 0 | 3) if is_called(call, "QGemm") => slot + 2,
        _ => return Ok(None),
    };
    let Some(value) = call.view.operand(point) else { return Ok(None) };
    let is_single = call.view.dims(point).is_some_and(|dims| dims.iter().all(|dim| dim.known() == Some(1)));
    if !is_single {
        let why = format!("operand {slot} has more than one zero point");
        return Err(call.refuse(why, "prune before quantizing"));
    }
    Ok(Some(value))
}

/// Whether the call is of this operator of onnxruntime's own domain.
fn is_called(call: &Call<'_>, name: &str) -> bool {
    call.view.node().custom.as_ref().is_some_and(|custom| &*custom.0 == "com.microsoft" && &*custom.1 == name)
}

/// The value with zeros along some axes where it loses something.
fn mask(
    result: &mut Graph,
    call: &Call<'_>,
    (value, axes, point): &(ValueId, Vec<usize>, Option<ValueId>),
) -> Result<ValueId, Refused> {
    let graph = call.view.graph();
    let (scope, order) = (graph.value(*value).scope(), call.view.node().order());
    let ty = graph.value(*value).ty.clone();
    let unknown = || call.refuse("what it sums over has no known type", "prune a model of floats");
    let (dtype, rank) = (ty.dtype().ok_or_else(unknown)?, ty.shape().rank().ok_or_else(unknown)?);
    let mut masked = *value;
    for &axis in axes {
        let size =
            ty.shape().dims().and_then(|dims| usize::try_from(dims.get(axis)?.known()?).ok()).ok_or_else(unknown)?;
        let kept = call.kept_of(*value, axis).unwrap_or_default();
        let ones: Vec<f64> = (0..size).map(|index| f64::from(kept.binary_search(&index).is_ok())).collect();
        if let Some(weight) = result.constant(masked).and_then(|weight| weight.scaled_along(axis, &ones)) {
            masked = result.add_constant(scope, "", weight);
            continue;
        }
        let mut dims = vec![1; rank - axis];
        dims[0] = size;
        let (op, operands) = match point {
            None => {
                let ones = result.add_constant(scope, "", numbers(dtype, &dims, &ones).ok_or_else(unknown)?);
                (OpKind::Mul, [Some(masked), Some(ones), None])
            }
            Some(zero) => {
                let ones = numbers(DType::Bool, &dims, &ones).ok_or_else(unknown)?;
                let ones = result.add_constant(scope, "", ones);
                (OpKind::Where, [Some(ones), Some(masked), Some(*zero)])
            }
        };
        let count = operands.iter().flatten().count();
        let node = result.add_node(scope, op, &operands[..count], 1, order);
        masked = result.result(node, 0).ok_or_else(unknown)?;
        result.value_mut(masked).ty = ty.clone();
    }
    Ok(masked)
}

/// A tensor of zeros and ones.
fn numbers(dtype: DType, dims: &[usize], ones: &[f64]) -> Option<Tensor> {
    if dtype.is_float() {
        return Tensor::rounded(dtype, dims, ones).ok();
    }
    let width = dtype.bits() / 8;
    let element = |&one: &f64| (0..width).map(move |byte| u8::from(byte == 0 && one == 1.0));
    Tensor::raw(dtype, dims, ones.iter().flat_map(element).collect()).ok()
}
