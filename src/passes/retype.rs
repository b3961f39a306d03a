//! Values of one type become of another, with all that says their type.

use bytes::Bytes;
use half::{bf16, f16};
use rustc_hash::FxHashSet;

use crate::ir::{Attr, DType, Data, Graph, NodeId, OpKind, ScopeId, Tensor, Type, ValueId};

/// Attributes that name an element type.
const NAMING: &[&str] = &["to", "dtype", "output_datatype", "output_dtype", "precision", "softmax_precision"];

/// Give `values`, which are of type `from`, and all attributes that speak of theirs the type `to`. Inputs and outputs of the
/// main graph stay as they are declared. Constants are rounded, and clamped to what float32 holds.
pub(super) fn retype(graph: &mut Graph, values: &[ValueId], from: DType, to: DType) {
    let (old, new) = (i64::from(from.code()), i64::from(to.code()));
    let changed: FxHashSet<ValueId> = values.iter().copied().collect();
    let speaks = |&node: &NodeId| {
        let results = graph.results(node).iter().copied().flatten();
        // What a cast makes may stay as it is though what it reads does not.
        let operands = graph.operands(node).flatten().filter(|_| graph.node(node).op != OpKind::Cast);
        results.chain(operands).any(|value| changed.contains(&value))
    };
    let nodes: Vec<NodeId> = graph.nodes().filter(speaks).collect();
    for node in nodes {
        let attrs = graph.node(node).attrs().to_vec();
        for (name, attr) in attrs {
            match attr {
                Attr::Int(code) if code == old && NAMING.contains(&&*name) => graph.set_attr(node, name, new.into()),
                Attr::Tensor(tensor) if tensor.dtype() == from => {
                    if let Some(tensor) = converted(&tensor, to) {
                        graph.set_attr(node, name, tensor.into());
                    }
                }
                _ => {}
            }
        }
    }
    for &value in values {
        if let Some(tensor) = graph.constant(value).and_then(|t| converted(t, to)) {
            graph.set_constant(value, tensor);
        }
        graph.value_mut(value).ty = Type::tensor(to, graph.value(value).ty.shape().clone());
    }
    let bodies: Vec<ScopeId> = graph.scopes().filter(|&scope| scope != ScopeId::MAIN).collect();
    for scope in bodies {
        for index in 0..graph.scope(scope).outputs().len() {
            let declared = &mut graph.output_mut(scope, index).declared;
            if declared.dtype() == Some(from) {
                *declared = Type::tensor(to, declared.shape().clone());
            }
        }
    }
}

/// The tensor in another type of floats, clamped to what float32 holds.
fn converted(tensor: &Tensor, to: DType) -> Option<Tensor> {
    match tensor.data() {
        Data::Strings(_) => None,
        Data::Splat(element) => {
            let one = Tensor::raw(tensor.dtype(), &[1], Bytes::copy_from_slice(element)).ok()?;
            Tensor::splat(to, tensor.dims(), &converted(&one, to)?.element(0)?).ok()
        }
        Data::Raw(bytes) => {
            let exact = |single: fn([u8; 2]) -> f32| {
                let data: Vec<u8> =
                    bytes.chunks_exact(2).flat_map(|pair| single([pair[0], pair[1]]).to_le_bytes()).collect();
                Tensor::raw(to, tensor.dims(), data.into()).ok()
            };
            match (tensor.dtype(), to) {
                (DType::F16, DType::F32) => exact(|pair| f16::from_le_bytes(pair).to_f32()),
                (DType::BF16, DType::F32) => exact(|pair| bf16::from_le_bytes(pair).to_f32()),
                _ => {
                    let limit = f64::from(f32::MAX);
                    let clamped = |x: f64| if x.is_finite() { x.clamp(-limit, limit) } else { x };
                    let reals: Vec<f64> = tensor.reals()?.into_iter().map(clamped).collect();
                    Tensor::rounded(to, tensor.dims(), &reals).ok()
                }
            }
        }
    }
}
