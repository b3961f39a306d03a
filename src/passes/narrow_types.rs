//! Values within the model that are of a type which the target has not are computed in a narrower one: double precision
//! in single.
//!
//! Constants are rounded, and clamped to what the narrower type holds. Inputs and outputs of the model keep their types:
//! where one of them is of the wider type, or an operator of another domain reads one, nothing is done.

use crate::ir::{DType, Graph, NodeId, ScopeId, Type, ValueId};
use crate::passes::retype::retype;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::{Exactness, Step};

/// See the module.
pub struct NarrowTypes;

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
            retype(graph, &values, from, to);
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
