//! Operators that only ONNX Runtime has, in words that every engine knows.

use crate::ir::{Graph, OpKind};
use crate::ops::schema::NEWEST_OPSET;
use crate::rewrite::{Fuel, Growth, Rule, Settings, apply};
use crate::rules::expand::all;

/// Expand every call in `graph` that [`rules::expand`](crate::rules::expand) knows, whatever opset that takes.
pub fn expand(graph: &mut Graph) {
    if graph.nodes().all(|n| graph.node(n).op != OpKind::Custom) {
        return;
    }
    let (entries, fuel, growth) = (all(), Fuel::unlimited(), Growth::of(usize::MAX / 2));
    let rules: Vec<&Rule> = entries.iter().map(|e| &e.rule).collect();
    growth.measure(graph);
    let settings = Settings::new(NEWEST_OPSET.into(), &fuel, &growth);
    // An expansion leaves no call that another could expand, so they settle.
    let settled = apply(graph, &rules, settings);
    debug_assert!(settled.is_ok(), "{settled:?}");
}
