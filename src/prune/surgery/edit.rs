//! What changes of a call besides the rows of its constants.

use crate::ir::{Attr, DType, Graph, NodeId, OpKind, Shape, Tensor, Type};

/// One change of one node.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// An attribute has another value.
    Set(NodeId, &'static str, Attr),
    /// An attribute goes.
    Unset(NodeId, &'static str),
    /// An operand is a constant that only this node reads.
    Operand(NodeId, usize, Tensor),
    /// Elements of an integer operand that a run computes have these values instead.
    Elements(NodeId, usize, Vec<(usize, i64)>),
    /// Every element of a constant operand is multiplied, after the cut.
    Scale(NodeId, usize, f64),
    /// Every element of result 0, of floats, is multiplied.
    ScaleResult(NodeId, f64),
    /// A `Slice` is a `Gather` of these indices along an axis.
    IntoGather(NodeId, usize, Tensor),
    /// A `Gather` of these indices along an axis stands before operand 0.
    GatherBefore(NodeId, usize, Tensor),
}

impl Edit {
    pub(super) fn make(self, graph: &mut Graph) {
        match self {
            Edit::Set(node, name, value) => graph.set_attr(node, name, value),
            Edit::Unset(node, name) => graph.remove_attr(node, name),
            Edit::Operand(node, slot, tensor) => graph.own_constant(node, slot, tensor),
            Edit::Elements(node, slot, elements) => put(graph, node, slot, &elements),
            Edit::Scale(node, slot, factor) => {
                let scaled = graph.operand(node, slot).and_then(|v| scaled(graph.constant(v)?, factor));
                if let Some(tensor) = scaled {
                    graph.own_constant(node, slot, tensor);
                }
            }
            Edit::ScaleResult(node, factor) => scale_result(graph, node, factor),
            Edit::IntoGather(node, axis, indices) => {
                graph.node_mut(node).op = OpKind::Gather;
                graph.own_constant(node, 1, indices);
                let bounds: Vec<_> = graph.operands(node).skip(2).flatten().collect();
                graph.truncate_operands(node, 2);
                bounds.into_iter().for_each(|bound| graph.prune_constant(bound));
                graph.set_attr(node, "axis", signed(axis).into());
            }
            Edit::GatherBefore(node, axis, indices) => {
                let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
                let (Some(data), slot) = (graph.operand(node, 0), 0) else { return };
                let indices = graph.add_constant(scope, "", indices);
                let gather = graph.add_node(scope, OpKind::Gather, &[Some(data), Some(indices)], 1, order);
                graph.set_attr(gather, "axis", signed(axis).into());
                graph.set_operand(node, slot, graph.result(gather, 0));
            }
        }
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Let all who read result 0 read a product of it.
fn scale_result(graph: &mut Graph, node: NodeId, factor: f64) {
    let Some(result) = graph.result(node, 0) else { return };
    let ty = graph.value(result).ty.clone();
    let factor = ty.dtype().and_then(|dtype| Tensor::rounded(dtype, &[], &[factor]).ok());
    let Some(factor) = factor else { return };
    let users = graph.value(result).users().to_vec();
    let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
    let factor = graph.add_constant(scope, "", factor);
    let product = graph.add_node(scope, OpKind::Mul, &[Some(result), Some(factor)], 1, order);
    let Some(scaled) = graph.result(product, 0) else { return };
    graph.value_mut(scaled).ty = ty;
    users.into_iter().for_each(|user| graph.replace_use(user, scaled));
}

/// Put `elements` in place of those that operand `slot`, a vector, has at run time.
fn put(graph: &mut Graph, node: NodeId, slot: usize, elements: &[(usize, i64)]) {
    let Some(old) = graph.operand(node, slot) else { return };
    let ty = graph.value(old).ty.clone();
    let length = ty.shape().sizes().and_then(|sizes| sizes.first().copied()).unwrap_or(0);
    let (mut mask, mut values) = (vec![0u8; length], vec![0i64; length]);
    for &(at, value) in elements {
        if at < length {
            (mask[at], values[at]) = (1, value);
        }
    }
    let dtype = ty.dtype().unwrap_or(DType::I64);
    let (Ok(mask), Some(values)) = (Tensor::raw(DType::Bool, &[length], mask.into()), integers(dtype, &values)) else {
        return;
    };
    let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
    let (mask, values) = (graph.add_constant(scope, "", mask), graph.add_constant(scope, "", values));
    let choice = graph.add_node(scope, OpKind::Where, &[Some(mask), Some(values), Some(old)], 1, order);
    if let Some(result) = graph.result(choice, 0) {
        graph.value_mut(result).ty = Type::tensor(dtype, Shape::known(&[length]));
    }
    graph.set_operand(node, slot, graph.result(choice, 0));
}

/// A vector of integers of `dtype`: int64 or int32, as ONNX has sizes and indices.
pub(super) fn integers(dtype: DType, elements: &[i64]) -> Option<Tensor> {
    match dtype {
        DType::I64 => Some(Tensor::vector(elements)),
        DType::I32 => {
            let bytes =
                elements.iter().map(|&e| Some(i32::try_from(e).ok()?.to_le_bytes())).collect::<Option<Vec<_>>>();
            Tensor::raw(dtype, &[elements.len()], bytes?.concat().into()).ok()
        }
        _ => None,
    }
}

fn scaled(tensor: &Tensor, factor: f64) -> Option<Tensor> {
    let reals: Vec<f64> = tensor.reals()?.into_iter().map(|x| x * factor).collect();
    Tensor::rounded(tensor.dtype(), tensor.dims(), &reals).ok()
}
