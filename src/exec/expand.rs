//! Operators that only ONNX Runtime has, and sequences of tensors, in words that every engine knows.

use crate::ir::{Graph, OpKind};
use crate::ops::schema::NEWEST_OPSET;
use crate::rewrite::{Fuel, Growth, Rule, Settings, apply};
use crate::rules::expand::all;
use crate::rules::sequences;

/// Expand every call in `graph` that [`rules::expand`](crate::rules::expand) knows, whatever opset that takes, and take
/// tensors out of sequences as far as it is known which.
pub fn expand(graph: &mut Graph) {
    let is_none = |op| {
        !matches!(op, OpKind::Custom | OpKind::SequenceConstruct | OpKind::SequenceInsert | OpKind::SplitToSequence)
    };
    if graph.nodes().all(|n| is_none(graph.node(n).op)) {
        return;
    }
    let (entries, sequences, fuel, growth) = (all(), sequences(), Fuel::unlimited(), Growth::of(usize::MAX / 2));
    let rules: Vec<&Rule> = entries.iter().map(|e| &e.rule).chain(&sequences).collect();
    growth.measure(graph);
    let settings = Settings::new(NEWEST_OPSET.into(), &fuel, &growth);
    // An expansion leaves no call that another could expand, so they settle.
    let settled = apply(graph, &rules, settings);
    debug_assert!(settled.is_ok(), "{settled:?}");
}
