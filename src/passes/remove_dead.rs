//! Nodes whose results nobody reads are removed, and constants that nobody reads with them.

use crate::ir::Graph;
use crate::ops;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::Step;

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
        step.fired_times("remove-dead", drop_unread_results(graph));
        Ok(step)
    }
}

/// An optional result that nobody reads is left out, as ONNX lets trailing results be: then a `Dropout` without its
/// mask or a `MaxPool` without its indices is the plain operator. Returns how many were.
fn drop_unread_results(graph: &mut Graph) -> usize {
    let nodes: Vec<_> = graph.nodes().collect();
    let mut dropped = 0;
    for node in nodes {
        let count = graph.results(node).len();
        let is_unread =
            |graph: &Graph, slot| graph.result(node, slot).is_none_or(|v| graph.value(v).users().is_empty());
        if ops::side_results_stand_together(graph.node(node).op) && !(1..count).all(|slot| is_unread(graph, slot)) {
            continue;
        }
        for slot in (1..count).rev() {
            let is_there = graph.result(node, slot).is_some();
            if is_there && ops::optional_result(graph.node(node), slot) && is_unread(graph, slot) {
                graph.drop_result(node, slot);
                dropped += 1;
            }
        }
    }
    dropped
}
