//! Nodes whose results nobody reads are removed, and constants that nobody reads with them.

use crate::ir::Graph;
use crate::passes::{Context, Fault, Pass};
use crate::report::Step;

/// See the module.
pub struct RemoveDead;

impl Pass for RemoveDead {
    fn name(&self) -> &'static str {
        "remove-dead"
    }

    fn doc(&self) -> &'static str {
        include_str!("remove_dead.rs")
    }

    fn run(&self, graph: &mut Graph, _: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        // What nobody reads changes no output, so this is not paid from fuel.
        step.fired_times("remove-dead", graph.remove_dead());
        drop_unread_results(graph);
        Ok(step)
    }
}

/// An optional result that nobody reads is left out, as ONNX lets trailing results be: then a `Dropout` without its
/// mask or a `MaxPool` without its indices is the plain operator.
fn drop_unread_results(graph: &mut Graph) {
    let nodes: Vec<_> = graph.nodes().collect();
    for node in nodes {
        for slot in (1..graph.results(node).len()).rev() {
            let Some(value) = graph.result(node, slot) else { continue };
            let optional = crate::ops::optional_result(graph.node(node), slot);
            if optional && graph.value(value).users().is_empty() {
                graph.drop_result(node, slot);
            }
        }
    }
}
