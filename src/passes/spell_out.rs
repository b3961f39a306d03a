//! A uniform tensor is written as its elements where what the run saved pays for them, smallest first.
//!
//! A large uniform tensor is otherwise one element and a `ConstantOfShape` that repeats it at run time: smaller, but a
//! node more, and weights that some targets want to see as constants.

use crate::ir::{Data, Graph, Tensor, ValueId};
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::Step;

/// See the module.
pub struct SpellOut;

impl Pass for SpellOut {
    fn name(&self) -> &'static str {
        "spell-out"
    }

    fn doc(&self) -> &'static str {
        include_str!("spell_out.rs")
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        let mut uniform: Vec<(usize, ValueId)> = graph
            .values()
            .filter_map(|v| {
                let tensor = graph.constant(v).filter(|t| matches!(t.data(), Data::Splat(_)))?;
                Some((tensor.dtype().byte_len(tensor.len())?, v))
            })
            .collect();
        uniform.sort_unstable();
        for (bytes, value) in uniform {
            if cx.fuel.is_empty() || !cx.growth.take_saved(bytes) {
                break;
            }
            let Some(tensor) = graph.constant(value) else { continue };
            let spelled = tensor.bytes().and_then(|b| Tensor::raw(tensor.dtype(), tensor.dims(), b).ok());
            let Some(spelled) = spelled else { continue };
            cx.fuel.spend("spell-out", || graph.value_label(value));
            graph.set_constant(value, spelled);
            step.fired("spell-out");
        }
        Ok(step)
    }
}
