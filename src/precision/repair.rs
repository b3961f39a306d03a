//! Which calls bring noise in: those whose results are further from what they were than their operands are.

use rustc_hash::FxHashMap;

use crate::calibrate::Sample;
use crate::exec::demand::{of_type, run_of};
use crate::exec::{Cannot, Executor};
use crate::ir::{DType, Graph, NodeId, ScopeId, ValueId};
use crate::model::Model;
use crate::precision::halver::Attempt;
use crate::quality::{compare, showing};

/// Bytes of tensors that are held at a time. One tensor is held whatever it takes.
const MEMORY: u128 = 512 << 20;

/// Bytes that count for a tensor of which only a run tells the size.
const UNKNOWN: u128 = MEMORY / 16;

/// The `most` calls of `attempt` that bring the most noise in, with those that make what they read: a difference of large
/// numbers is no better than these are.
///
/// # Errors
/// When the engine cannot run one of the models.
pub(super) fn noisiest(
    float: &Model,
    attempt: &Attempt,
    feeds: &[Sample],
    engine: &dyn Executor,
    most: usize,
) -> Result<Vec<NodeId>, Cannot> {
    let noise = noises(float, &attempt.rehearsal, feeds, engine)?;
    let graph = &float.graph;
    let of = |value: ValueId| noise.get(&value).copied().unwrap_or(0.0);
    let brought = |&node: &NodeId| {
        let came = graph.operands(node).flatten().map(of).fold(0.0, f64::max);
        let left = graph.result(node, 0).map_or(0.0, of);
        // What is lost is lost first where it was not before.
        if left.is_infinite() && came.is_infinite() { 0.0 } else { left - came }
    };
    let mut found: Vec<(f64, NodeId)> = attempt.half_nodes.iter().map(|node| (brought(node), *node)).collect();
    found.retain(|(noise, node)| *noise > 0.0 && graph.node(*node).scope() == ScopeId::MAIN);
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut chosen = Vec::new();
    for (_, node) in found.into_iter().take(most) {
        chosen.push(node);
        chosen.extend(graph.operands(node).flatten().filter_map(|v| graph.producer(v)).map(|(n, _)| n));
    }
    Ok(chosen)
}

/// Noise over signal of each float tensor of the main graph.
fn noises(
    float: &Model,
    half: &Model,
    feeds: &[Sample],
    engine: &dyn Executor,
) -> Result<FxHashMap<ValueId, f64>, Cannot> {
    let Some(first) = feeds.first() else { return Ok(FxHashMap::default()) };
    let shapes = run_of(float, first);
    let mut groups: Vec<Vec<ValueId>> = Vec::new();
    let mut room = 0;
    for node in float.graph.schedule(ScopeId::MAIN) {
        for value in float.graph.results(node).iter().copied().flatten() {
            if !is_comparable(&float.graph, value) || !half.graph.has_value(value) {
                continue;
            }
            let bytes = 2 * of_type(&shapes.value(value).ty).unwrap_or(UNKNOWN);
            match groups.last_mut() {
                Some(group) if room >= bytes => group.push(value),
                _ => {
                    groups.push(vec![value]);
                    room = MEMORY;
                }
            }
            room = room.saturating_sub(bytes);
        }
    }
    let mut found = FxHashMap::default();
    for group in groups {
        let seen = compare(&showing(float, &group), &showing(half, &group), feeds, engine)?;
        found.extend(group.iter().zip(seen).map(|(&value, q)| (value, 10f64.powf(-q.sqnr / 10.0))));
    }
    Ok(found)
}

fn is_comparable(graph: &Graph, value: ValueId) -> bool {
    graph.value(value).ty.dtype() == Some(DType::F32) && graph.constant(value).is_none()
}
