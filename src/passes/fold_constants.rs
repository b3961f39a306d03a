//! What depends on constants alone is computed now.
//!
//! The file does not grow for it: a result is written down only where it takes no more bytes than the constants that
//! die with it, or what was saved elsewhere pays for the difference (see [`crate::rewrite::Growth`]). So a weight that
//! is also read elsewhere is not doubled, a mask that is cheap to compute and large to store stays computed, and
//! half-precision weights stay half precision. `DequantizeLinear` is never folded: quantized weights stay quantized.
//! Random operators are not constant, nor are running statistics; a normalization by the statistics of a constant is.
//! Uniform tensors of any size are kept as one element and their shape.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::exec::exact::{self, Unable};
use crate::ir::{Graph, NodeId, OpKind, ScopeId, Shape, Tensor, Type, User, ValueId};
use crate::ops::{self, CallView};
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::{Exactness, NODE_BYTES, Step};

/// See the module.
pub struct FoldConstants;

impl Pass for FoldConstants {
    fn name(&self) -> &'static str {
        "fold-constants"
    }

    fn doc(&self) -> &'static str {
        include_str!("fold_constants.rs")
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        let found = evaluate_all(graph, cx, &mut step);
        write_down(graph, found, cx, &mut step);
        Ok(step)
    }
}

/// Results up to this size are computed although they may be too large to write down: a later node may shrink them.
const SCRATCH: usize = 1 << 20;

#[derive(Default)]
struct Found {
    /// Nodes whose results are known, operands before users.
    nodes: Vec<NodeId>,
    tensors: FxHashMap<ValueId, Tensor>,
    /// Bytes of constants and nodes that go when the value is written down.
    credit: FxHashMap<ValueId, usize>,
    /// The loosest of the evaluations.
    exactness: Exactness,
}

fn evaluate_all(graph: &Graph, cx: &Context<'_>, step: &mut Step) -> Found {
    let mut found = Found::default();
    let scopes: Vec<ScopeId> = graph.scopes().collect();
    for scope in scopes {
        for node in graph.schedule(scope) {
            if may_fold(graph, node) {
                evaluate(graph, node, cx, &mut found, step);
            }
        }
    }
    found
}

fn may_fold(graph: &Graph, node: NodeId) -> bool {
    let n = graph.node(node);
    let kept = matches!(n.op, OpKind::Custom | OpKind::DequantizeLinear) && !exact::is_known_custom(n);
    !kept
        && exact::is_quick(n.op)
        && ops::is_deterministic(graph, node)
        && n.bodies().next().is_none()
        && graph.operand_count(node) > 0
        && !graph.results(node).is_empty()
}

fn evaluate(graph: &Graph, node: NodeId, cx: &Context<'_>, found: &mut Found, step: &mut Step) {
    let known = |v: ValueId| graph.constant(v).or_else(|| found.tensors.get(&v));
    let mut operands: Vec<Option<Tensor>> = Vec::with_capacity(graph.operand_count(node));
    for operand in graph.operands(node) {
        match operand {
            None => operands.push(None),
            Some(v) => match known(v) {
                Some(t) => operands.push(Some(t.clone())),
                None => return,
            },
        }
    }
    let mut seen: Vec<ValueId> = Vec::new();
    let mut credit = NODE_BYTES;
    for v in graph.operands(node).flatten() {
        let only_here = graph.value(v).users().iter().all(|u| matches!(u, User::Node(n, _) if *n == node));
        if only_here && !seen.contains(&v) {
            seen.push(v);
            credit +=
                graph.constant(v).map_or_else(|| found.credit.get(&v).copied().unwrap_or(0), Tensor::stored_bytes);
        }
    }
    let call = CallView::new(graph, node);
    let limit = credit.max(SCRATCH);
    let results = match exact::evaluate(&call, &operands, limit) {
        Ok(folded) => {
            found.exactness = found.exactness.max(folded.exactness);
            folded.results
        }
        Err(Unable::NoKernel) => match cx.engine.and_then(|run| run(&call, &operands, limit)) {
            Some(results) => {
                found.exactness = Exactness::Rounding;
                results
            }
            None => return,
        },
        Err(why @ (Unable::TooLarge { .. } | Unable::Undefined(_))) => {
            let why = match why {
                Unable::TooLarge { .. } => "the result would be much larger than what it is computed from",
                _ => "the specification leaves the result open",
            };
            step.held_back("fold-constants", why);
            return;
        }
        // The model says something that no run can do; leave it as it is.
        Err(Unable::NotConstant(_) | Unable::Malformed(_)) => return,
    };
    let fits =
        graph.results(node).iter().zip(&results).all(|(value, t)| value.is_none_or(|v| agrees(&graph.value(v).ty, t)));
    // A kernel may leave out what nobody reads.
    let left_out = graph.results(node).iter().skip(results.len()).flatten();
    if left_out.into_iter().any(|&v| !graph.value(v).users().is_empty()) || !fits {
        return;
    }
    let total: usize = results.iter().map(Tensor::stored_bytes).sum();
    for (value, tensor) in graph.results(node).iter().zip(results) {
        let Some(value) = *value else { continue };
        let share =
            if total == 0 { credit } else { (credit as u128 * tensor.stored_bytes() as u128 / total as u128) as usize };
        found.credit.insert(value, share);
        found.tensors.insert(value, tensor);
    }
    found.nodes.push(node);
}

/// Whether `tensor` is of the type that inference found: a check on the kernels and on the rows alike.
fn agrees(ty: &Type, tensor: &Tensor) -> bool {
    match ty {
        Type::Tensor { dtype, shape } => {
            dtype.is_none_or(|d| d == tensor.dtype())
                && match shape {
                    Shape(None) => true,
                    Shape(Some(dims)) => {
                        dims.len() == tensor.rank()
                            && dims
                                .iter()
                                .zip(tensor.dims())
                                .all(|(d, &n)| d.known().is_none_or(|d| usize::try_from(d) == Ok(n)))
                    }
                }
        }
        Type::Unknown => true,
        Type::Sequence(_) | Type::Optional(_) | Type::Carried(_) => false,
    }
}

/// What pays for itself becomes constants, in the order of the nodes that they take the place of: written and read
/// again, they stand in the same order.
fn write_down(graph: &mut Graph, found: Found, cx: &Context<'_>, step: &mut Step) {
    let Found { mut tensors, exactness, .. } = found;
    let chosen = choose(graph, &found.nodes, &tensors, &found.credit, cx, step);
    for (node, read) in chosen.iter().rev() {
        let scope = graph.node(*node).scope();
        for value in read {
            let Some(tensor) = tensors.remove(value) else { continue };
            let constant = graph.add_constant(scope, "", tensor);
            graph.replace(*value, constant);
        }
        step.exactness = step.exactness.max(exactness);
    }
    for (node, _) in chosen {
        graph.prune_dead(node, |_| {});
    }
}

/// The nodes to write down and their results that something reads, users before operands: what only a folded node
/// read is read by nobody.
fn choose(
    graph: &Graph,
    nodes: &[NodeId],
    tensors: &FxHashMap<ValueId, Tensor>,
    credits: &FxHashMap<ValueId, usize>,
    cx: &Context<'_>,
    step: &mut Step,
) -> Vec<(NodeId, Vec<ValueId>)> {
    let mut chosen = Vec::new();
    let mut gone: FxHashSet<NodeId> = FxHashSet::default();
    for &node in nodes.iter().rev() {
        let is_read = |v: &ValueId| {
            let stays = |user: &User| !matches!(user, User::Node(n, _) if gone.contains(n));
            graph.value(*v).users().iter().any(stays)
        };
        let read: Vec<ValueId> = graph.results(node).iter().flatten().copied().filter(is_read).collect();
        if read.is_empty() {
            gone.insert(node);
            continue;
        }
        let bytes: usize = read.iter().filter_map(|v| tensors.get(v)).map(Tensor::stored_bytes).sum();
        let credit: usize = read.iter().filter_map(|v| credits.get(v)).sum();
        let excess = bytes.saturating_sub(credit);
        if cx.fuel.is_empty() {
            break;
        }
        if !cx.growth.take(excess) {
            step.held_back("fold-constants", "writing the result down would make the file larger");
            continue;
        }
        // A node that repeats an element is how a file has a large uniform tensor: reading it as one is no edit.
        if !repeats(graph, node, &read, tensors) {
            let paid = cx.fuel.spend("fold-constants", || graph.label(node));
            debug_assert!(paid, "whether there is fuel was looked at");
            step.fired("fold-constants");
        }
        gone.insert(node);
        chosen.push((node, read));
    }
    chosen
}

/// Whether what stands for the node in a file is the node.
fn repeats(graph: &Graph, node: NodeId, read: &[ValueId], tensors: &FxHashMap<ValueId, Tensor>) -> bool {
    let shape_is_there = graph.operand(node, 0).is_some_and(|v| graph.constant(v).is_some());
    let is_repeated = |v: &ValueId| tensors.get(v).is_some_and(Tensor::is_repeated);
    graph.node(node).op == OpKind::ConstantOfShape && shape_is_there && read.iter().all(is_repeated)
}
