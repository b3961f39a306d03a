//! What a layer of the pruned model is to compute.

use crate::gram::{Bias, Layer, floats};
use crate::ir::{Graph, NodeId, OpKind, User, ValueId};
use crate::ops::CallView;
use crate::prune::Cut;

/// Where that is found in both models.
pub(super) struct Target {
    /// What the layer reads in the pruned model.
    pub input: ValueId,
    /// What it reads in the dense one.
    pub dense_input: ValueId,
    /// What it makes in the dense one.
    pub result: ValueId,
    /// Outputs of the dense layer.
    pub outputs: usize,
    /// Which of them remain.
    pub kept: Vec<usize>,
    /// What its result is added to, in the dense and in the pruned model. What the layer itself adds is in the dense
    /// result already.
    pub beside: Option<(Option<ValueId>, ValueId)>,
    /// Where that, or the sum, is cut off by an activation that alone reads it: what is beyond makes no difference.
    pub bounds: Option<(f32, f32)>,
    /// Tensors that are needed.
    pub dense_values: Vec<ValueId>,
    pub pruned_values: Vec<ValueId>,
}

impl Target {
    /// The target of a layer. `waits` says of a value of the pruned model that it cannot be had yet.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn of(
        dense: &Graph,
        pruned: &Graph,
        cut: &Cut,
        of_dense: &Layer,
        of_pruned: &Layer,
        waits: impl Fn(ValueId) -> bool,
    ) -> Result<Target, &'static str> {
        let node = of_pruned.node;
        let there = "it lacks an operand or a result";
        let input = pruned.operand(node, 0).ok_or(there)?;
        let dense_input = dense.operand(node, 0).ok_or(there)?;
        let result = dense.result(node, 0).ok_or(there)?;
        let kept = kept(cut, result, of_dense.output_axis, of_dense.outputs);
        if kept.len() != of_pruned.outputs || kept.iter().any(|&o| o >= of_dense.outputs) {
            return Err("the cut does not say which of its outputs remain");
        }
        let behind = || {
            beside(dense, pruned, of_pruned).filter(|&(of_dense_value, of_pruned_value)| {
                let same_rank = dense.value(of_dense_value).ty.shape().rank() == dense.value(result).ty.shape().rank();
                let same = self::kept(cut, of_dense_value, of_dense.output_axis, of_dense.outputs) == kept;
                same_rank && same && !waits(of_pruned_value)
            })
        };
        let beside = match of_pruned.added(pruned) {
            Some((value, factor)) if factor == 1.0 && pruned.constant(value).is_none() && !waits(value) => {
                Some((None, value))
            }
            Some(_) => return Err("what it adds is no bias and cannot be told apart"),
            None => behind().map(|(of_dense, of_pruned)| (Some(of_dense), of_pruned)),
        };
        let bounds = bounds(dense, pruned, of_pruned, beside.is_some_and(|(of_dense, _)| of_dense.is_some()));
        let mut dense_values = vec![result, dense_input];
        let mut pruned_values = vec![input];
        if let Some((of_dense, of_pruned)) = beside {
            dense_values.extend(of_dense);
            pruned_values.push(of_pruned);
        }
        let outputs = of_dense.outputs;
        Ok(Target { input, dense_input, result, outputs, kept, beside, bounds, dense_values, pruned_values })
    }
}

/// What remains of an axis of `size`.
pub(super) fn kept(cut: &Cut, value: ValueId, axis: usize, size: usize) -> Vec<usize> {
    cut.kept(value, axis).map_or_else(|| (0..size).collect(), <[usize]>::to_vec)
}

/// What the result of a layer is added to, itself or with its bias, when nothing else reads it.
fn beside(dense: &Graph, pruned: &Graph, layer: &Layer) -> Option<(ValueId, ValueId)> {
    let mut at = layer.node;
    if let Some(Bias { node, .. }) = layer.bias {
        at = node;
    }
    let (sum, slot) = only_reader(pruned, at)?;
    if pruned.node(sum).op != OpKind::Add || only_reader(dense, at) != Some((sum, slot)) {
        return None;
    }
    let other = |graph: &Graph| graph.operand(sum, 1 - slot).filter(|&v| graph.constant(v).is_none());
    Some((other(dense)?, other(pruned)?))
}

/// The bounds that an activation behind a layer, or behind the sum that its result goes into, cuts off at; `None` where
/// others read what it reads, and where more is added in between.
fn bounds(dense: &Graph, pruned: &Graph, layer: &Layer, is_added: bool) -> Option<(f32, f32)> {
    if layer.bias.is_some() && !layer.adds_bias() {
        return None;
    }
    let of = |graph: &Graph| {
        let at = if is_added { only_reader(graph, layer.node)?.0 } else { layer.node };
        let (activation, slot) = only_reader(graph, at)?;
        let call = CallView::new(graph, activation);
        let bound = |slot: usize, none: f32| match call.has(slot) {
            true => Some(floats(call.constant(slot)?)?.first().copied()?),
            false => Some(none),
        };
        match call.node().op {
            OpKind::Relu => Some((0.0, f32::INFINITY)),
            OpKind::Clip if slot == 0 => Some((bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?)),
            _ => None,
        }
    };
    of(dense).filter(|&(low, high)| low < high && of(pruned) == Some((low, high)))
}

/// The node that alone reads result 0 of `node`, and its operand slot.
fn only_reader(graph: &Graph, node: NodeId) -> Option<(NodeId, usize)> {
    match *graph.value(graph.result(node, 0)?).users() {
        [User::Node(reader, slot)] if slot < 2 => Some((reader, slot)),
        _ => None,
    }
}
