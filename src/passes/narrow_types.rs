//! Values within the model that are of a type which the target has not are computed in a narrower one: double precision
//! in single.
//!
//! Constants are rounded, and clamped to what the narrower type holds. Inputs and outputs of the model keep their types:
//! where one of them is of the wider type, or an operator of another domain reads one, nothing is done.

use crate::ir::{Attr, DType, Graph, NodeId, ScopeId, Tensor, Type, ValueId};
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::{Exactness, Step};

/// See the module.
pub struct NarrowTypes;

/// Attributes that name an element type.
const NAMING: &[&str] = &["to", "dtype", "output_datatype", "output_dtype", "precision", "softmax_precision"];

impl Pass for NarrowTypes {
    fn name(&self) -> &'static str {
        "narrow-types"
    }

    fn doc(&self) -> &'static str {
        include_str!("narrow_types.rs")
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        for &(from, to) in cx.narrows {
            let values: Vec<ValueId> = graph.values().filter(|&v| graph.value(v).ty.dtype() == Some(from)).collect();
            if values.is_empty() || cx.fuel.is_empty() {
                continue;
            }
            if let Err(why) = may_narrow(graph, from) {
                step.held_back(self.name(), why);
                continue;
            }
            cx.fuel.spend(self.name(), || graph.value_label(values[0]));
            narrow(graph, &values, from, to);
            step.fired_times(self.name(), values.len());
            step.exactness = Exactness::Approximate;
        }
        Ok(step)
    }
}

/// Whether every value of type `from` may become narrower.
fn may_narrow(graph: &Graph, from: DType) -> Result<(), &'static str> {
    let main = graph.scope(ScopeId::MAIN);
    let is = |ty: &Type| ty.dtype() == Some(from);
    let outside = main.inputs().iter().any(|&v| is(&graph.value(v).ty))
        || main.outputs().iter().any(|o| is(&o.declared) || is(&graph.value(o.value()).ty));
    if outside {
        return Err("an input or output of the model is of that type");
    }
    // A sequence of them would have to be followed through everything that holds it.
    if graph.values().any(|v| matches!(graph.value(v).ty, Type::Sequence(_) | Type::Optional(_))) {
        return Err("there are values that are no tensors");
    }
    let touches = |n: NodeId| {
        let values = graph.operands(n).flatten().chain(graph.results(n).iter().copied().flatten());
        values.map(|v| &graph.value(v).ty).any(is)
    };
    if graph.nodes().any(|n| graph.node(n).custom.is_some() && touches(n)) {
        return Err("an operator of another domain reads or makes it");
    }
    Ok(())
}

fn narrow(graph: &mut Graph, values: &[ValueId], from: DType, to: DType) {
    let (wide, narrow) = (i64::from(from.code()), i64::from(to.code()));
    let nodes: Vec<NodeId> = graph.nodes().collect();
    for node in nodes {
        let attrs = graph.node(node).attrs().to_vec();
        for (name, attr) in attrs {
            match attr {
                Attr::Int(code) if code == wide && NAMING.contains(&&*name) => {
                    graph.set_attr(node, name, narrow.into())
                }
                Attr::Tensor(tensor) if tensor.dtype() == from => {
                    if let Some(tensor) = rounded(&tensor, to) {
                        graph.set_attr(node, name, tensor.into());
                    }
                }
                _ => {}
            }
        }
    }
    for &value in values {
        if let Some(tensor) = graph.constant(value).and_then(|t| rounded(t, to)) {
            graph.set_constant(value, tensor);
        }
        graph.value_mut(value).ty = Type::tensor(to, graph.value(value).ty.shape().clone());
    }
    let scopes: Vec<ScopeId> = graph.scopes().collect();
    for scope in scopes {
        for index in 0..graph.scope(scope).outputs().len() {
            let declared = &mut graph.output_mut(scope, index).declared;
            if declared.dtype() == Some(from) {
                *declared = Type::tensor(to, declared.shape().clone());
            }
        }
    }
}

/// The tensor in a narrower type, clamped to its range.
fn rounded(tensor: &Tensor, to: DType) -> Option<Tensor> {
    let limit = f64::from(f32::MAX);
    let clamped = |x: f64| if x.is_finite() { x.clamp(-limit, limit) } else { x };
    let reals: Vec<f64> = tensor.reals()?.into_iter().map(clamped).collect();
    Tensor::rounded(to, tensor.dims(), &reals).ok()
}
