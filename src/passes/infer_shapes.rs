//! Types and symbolic shapes are worked out for every value, operands before users.

use crate::ir::Graph;
use crate::ops::infer_node;
use crate::passes::{Context, Fault, Pass};
use crate::report::Step;

/// See the module.
pub struct InferShapes;

impl Pass for InferShapes {
    fn name(&self) -> &'static str {
        "infer-shapes"
    }

    fn doc(&self) -> &'static str {
        include_str!("infer_shapes.rs")
    }

    fn run(&self, graph: &mut Graph, _: &Context<'_>) -> Result<Step, Fault> {
        infer_shapes(graph);
        Ok(Step::default())
    }
}

/// Work out the types of the main graph.
pub fn infer_shapes(graph: &mut Graph) {
    for node in graph.schedule(crate::ir::ScopeId::MAIN) {
        infer_node(graph, node);
    }
}
