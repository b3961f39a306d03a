//! Calls that compute the same are one call, and constants that hold the same are one constant.
//!
//! Two calls are the same when operator, attributes and operands are, and the operator is deterministic. Two small
//! integer vectors are the same when shape arithmetic gives them the same symbolic elements, however each is computed.
//! Constants of any size are compared by content; a weight's bytes are read only when another has its type, dimensions
//! and a sample of its bytes.

use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::ir::{Attr, DType, Data, Graph, Int, Node, NodeId, OpKind, Origin, ScopeId, Tensor, ValueId};
use crate::ops;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::Step;

/// See the module.
pub struct MergeDuplicates;

impl Pass for MergeDuplicates {
    fn name(&self) -> &'static str {
        "merge-duplicates"
    }

    fn doc(&self) -> &'static str {
        include_str!("merge_duplicates.rs")
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        merge_constants(graph, cx, &mut step);
        let scopes: Vec<ScopeId> = graph.scopes().collect();
        for scope in scopes {
            // Its node may have died since.
            if !graph.has_scope(scope) {
                continue;
            }
            merge_calls(graph, scope, cx, &mut step);
        }
        Ok(step)
    }
}

/// Elements up to which integers may be a list of axes.
const MOST_AXES: usize = 8;

fn merge_constants(graph: &mut Graph, cx: &Context<'_>, step: &mut Step) {
    let mut alike: FxHashMap<u64, Vec<ValueId>> = FxHashMap::default();
    let mut order: Vec<u64> = Vec::new();
    for value in graph.values() {
        let Some(tensor) = graph.constant(value) else { continue };
        let key = sample(tensor);
        let group = alike.entry(key).or_default();
        if group.is_empty() {
            order.push(key);
        }
        group.push(value);
    }
    for key in order {
        let group = &alike[&key];
        if group.len() < 2 {
            continue;
        }
        // By scope: of what a thousand bodies hold, only what is around a constant can be its twin.
        let mut kept: FxHashMap<ScopeId, Vec<ValueId>> = FxHashMap::default();
        for &value in group {
            let Some(tensor) = graph.constant(value).cloned() else { continue };
            let scope = graph.value(value).scope();
            let same = |k: &ValueId| graph.constant(*k).is_some_and(|t| t.same_storage(&tensor) || *t == tensor);
            let twin = graph.around(scope).filter_map(|at| kept.get(&at)?.iter().copied().find(|k| same(k))).min();
            match twin {
                // Two outputs of the interface that hold the same constant stay two initializers: one would need a copy.
                Some(twin) if !graph.is_output(value) => {
                    // Older opsets keep axes in attributes: two lists that are alike are one here, and two in the file.
                    if tensor.dtype() == DType::I64 && tensor.len() <= MOST_AXES {
                        graph.replace(value, twin);
                        graph.prune_constant(value);
                        continue;
                    }
                    if !cx.fuel.spend("merge-constants", || graph.value_label(value)) {
                        return;
                    }
                    graph.replace(value, twin);
                    graph.prune_constant(value);
                    step.fired("merge-constants");
                }
                Some(_) => {}
                None => kept.entry(scope).or_default().push(value),
            }
        }
    }
}

/// A hash of type, dimensions and a few hundred bytes. Equal tensors have equal samples.
fn sample(tensor: &Tensor) -> u64 {
    let mut h = Xxh3::new();
    h.update(&[tensor.dtype() as u8, u8::try_from(tensor.rank()).unwrap_or(u8::MAX)]);
    for d in tensor.dims() {
        h.update(&d.to_le_bytes());
    }
    match tensor.data() {
        Data::Raw(bytes) => {
            const PART: usize = 256;
            if bytes.len() <= 3 * PART {
                h.update(bytes);
            } else {
                let middle = bytes.len() / 2;
                h.update(&bytes[..PART]);
                h.update(&bytes[middle..middle + PART]);
                h.update(&bytes[bytes.len() - PART..]);
            }
        }
        Data::Splat(element) => h.update(element),
        Data::Strings(strings) => strings.iter().for_each(|s| h.update(s)),
    }
    h.digest()
}

fn merge_calls(graph: &mut Graph, scope: ScopeId, cx: &Context<'_>, step: &mut Step) {
    let mut seen: FxHashMap<u64, Vec<NodeId>> = FxHashMap::default();
    let mut contents: FxHashMap<(Vec<Int>, Vec<usize>), ValueId> = FxHashMap::default();
    for node in graph.schedule(scope) {
        if !graph.has_node(node) {
            continue;
        }
        if is_mergeable(graph, node) {
            let candidates = seen.entry(fingerprint(graph, node)).or_default();
            match candidates.iter().copied().find(|&other| graph.has_node(other) && same_call(graph, other, node)) {
                Some(twin) => {
                    if !cx.fuel.spend("merge-calls", || graph.label(node)) {
                        return;
                    }
                    for slot in 0..graph.results(node).len() {
                        if let (Some(old), Some(new)) = (graph.result(node, slot), graph.result(twin, slot)) {
                            graph.replace(old, new);
                        }
                    }
                    graph.prune_dead(node, |_| {});
                    step.fired("merge-calls");
                    continue;
                }
                None => candidates.push(node),
            }
        }
        merge_content(graph, node, &mut contents, cx, step);
    }
}

/// Use an earlier value with the same symbolic elements. A value whose elements are numbers becomes a constant in
/// another pass.
fn merge_content(
    graph: &mut Graph,
    node: NodeId,
    contents: &mut FxHashMap<(Vec<Int>, Vec<usize>), ValueId>,
    cx: &Context<'_>,
    step: &mut Step,
) {
    for slot in 0..graph.results(node).len() {
        let Some(value) = graph.result(node, slot) else { continue };
        let v = graph.value(value);
        let (Some(content), Some(dtype), Some(sizes)) = (&v.content, v.ty.dtype(), v.ty.shape().sizes()) else {
            continue;
        };
        if v.users().is_empty() || content.iter().all(|i| i.known().is_some()) {
            continue;
        }
        let mut key: Vec<usize> = sizes;
        key.push(dtype as usize);
        match contents.get(&(content.to_vec(), key.clone())) {
            Some(&twin) if graph.has_value(twin) => {
                if !cx.fuel.spend("merge-shape-arithmetic", || graph.label(node)) {
                    return;
                }
                graph.replace(value, twin);
                step.fired("merge-shape-arithmetic");
            }
            _ => {
                contents.insert((content.to_vec(), key), value);
            }
        }
    }
    if graph.is_dead(node) {
        graph.prune_dead(node, |_| {});
    }
}

/// Whether two equal calls may be one: custom operators and bodies are not looked into. An `Identity` that is still
/// there gives an output its name.
fn is_mergeable(graph: &Graph, node: NodeId) -> bool {
    let n = graph.node(node);
    !matches!(n.op, OpKind::Custom | OpKind::Identity)
        && ops::is_deterministic(graph, node)
        && n.bodies().next().is_none()
        && !graph.results(node).is_empty()
}

/// Operands in an order that does not depend on how a commuting call was written.
fn operands(graph: &Graph, node: NodeId) -> Vec<Option<ValueId>> {
    let mut operands: Vec<_> = graph.operands(node).collect();
    if ops::def(graph.node(node).op).commutes && operands.len() >= 2 && operands[0] > operands[1] {
        operands.swap(0, 1);
    }
    operands
}

fn fingerprint(graph: &Graph, node: NodeId) -> u64 {
    let n = graph.node(node);
    let mut h = Xxh3::new();
    h.update(n.op.name().as_bytes());
    for operand in operands(graph, node) {
        h.update(&operand.map_or(usize::MAX, ValueId::index).to_le_bytes());
    }
    // Attribute order does not matter: add the parts up.
    let attrs = n.attrs().iter().fold(0u64, |sum, (name, attr)| {
        let value = match attr {
            Attr::Int(i) => *i as u64,
            Attr::Str(s) => xxh3_64(s),
            _ => 1,
        };
        sum.wrapping_add(xxh3_64(name.as_bytes()).wrapping_mul(value | 1))
    });
    h.update(&attrs.to_le_bytes());
    h.digest()
}

fn same_call(graph: &Graph, a: NodeId, b: NodeId) -> bool {
    fn attrs(n: &Node) -> Vec<&(std::borrow::Cow<'static, str>, Attr)> {
        let mut attrs: Vec<_> = n.attrs().iter().collect();
        attrs.sort_by(|x, y| x.0.cmp(&y.0));
        attrs
    }
    let (m, n) = (graph.node(a), graph.node(b));
    let covers = graph.results(b).iter().enumerate().all(|(slot, r)| r.is_none() || graph.result(a, slot).is_some());
    m.op == n.op
        && covers
        && graph.results(a).len() == graph.results(b).len()
        && operands(graph, a) == operands(graph, b)
        && attrs(m) == attrs(n)
        && graph.results(a).iter().flatten().all(|&r| matches!(graph.value(r).origin(), Origin::Node(..)))
}
