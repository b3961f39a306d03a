//! The one loop that applies rules, and the one place that edits for them.

use std::collections::VecDeque;
use std::sync::Arc;

use fixedbitset::FixedBitSet;
use rustc_hash::FxHashMap;

use crate::ir::{Graph, NodeId, OpKind, ScopeId, Shape, Tensor, Type, User, ValueId};
use crate::ops::schema::Schema;
use crate::ops::{CallView, infer_node, schema};
use crate::rewrite::expr::{CONTRIB, CallExpr, Place};
use crate::rewrite::growth::NODE_BYTES;
use crate::rewrite::{Expr, Fuel, Growth, Limits, Match, Replacement, Rule, Skip, Step};

/// What the engine needs to know of the run.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// The opset of the default domain that the result will be written in.
    pub opset: i64,
    /// Operators that no rule may bring in: who will run the model does better without.
    pub avoids: &'a [OpKind],
    /// Calls that no rule may bring in where there was none like them: who will run the model cannot run them.
    pub limits: Limits<'a>,
    /// Operators of [`CONTRIB`](crate::rewrite::CONTRIB) that rules may bring in.
    pub contrib: &'a [&'static str],
    /// What each firing is paid from.
    pub fuel: &'a Fuel,
    /// Bytes that new constants may add beyond those that die.
    pub growth: &'a Growth,
}

impl<'a> Settings<'a> {
    /// For a runtime that runs whatever `opset` has, and nothing else.
    pub fn new(opset: i64, fuel: &'a Fuel, growth: &'a Growth) -> Settings<'a> {
        Settings { opset, avoids: &[], limits: Limits::NONE, contrib: &[], fuel, growth }
    }
}

/// The rules fire on each other's results without end. A defect of the rules, never of the model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules do not settle (a defect of onnx-slim, please report it); last to fire: {last}")]
pub struct Unsettled {
    /// The last rules that fired.
    pub last: String,
}

/// Firings per node that no settling set of rules comes near.
const MAX_FIRINGS_PER_NODE: usize = 64;

/// Apply `rules`, in order at every node, operands before users, until none fires.
///
/// # Errors
/// When the rules do not settle.
pub fn apply(graph: &mut Graph, rules: &[&Rule], settings: Settings<'_>) -> Result<Step, Unsettled> {
    apply_where(graph, rules, settings, |_| true)
}

/// As [`apply`], at those calls of which `wanted` holds.
///
/// # Errors
/// When the rules do not settle.
pub fn apply_where(
    graph: &mut Graph,
    rules: &[&Rule],
    settings: Settings<'_>,
    wanted: impl Fn(&CallView<'_>) -> bool,
) -> Result<Step, Unsettled> {
    let mut by_root: FxHashMap<OpKind, Vec<&Rule>> = FxHashMap::default();
    for rule in rules.iter().filter(|r| r.contrib().is_none_or(|name| settings.contrib.contains(&name))) {
        let mut roots = rule.pattern().roots();
        roots.sort_unstable();
        roots.dedup();
        for root in roots {
            by_root.entry(root).or_default().push(rule);
        }
    }
    let mut queue = Queue::default();
    let scopes: Vec<ScopeId> = graph.scopes().collect();
    for scope in scopes {
        for node in graph.schedule(scope) {
            queue.push(node);
        }
    }
    let mut step = Step::default();
    // Reasons are counted for the last look at a node only: an earlier one may have been settled since.
    let mut declined: FxHashMap<(NodeId, &'static str), Skip> = FxHashMap::default();
    let limit = MAX_FIRINGS_PER_NODE * (graph.node_count() + 16);
    let mut firings = 0;
    let mut last: VecDeque<&'static str> = VecDeque::new();
    while let Some(node) = queue.pop() {
        if !graph.has_node(node) {
            continue;
        }
        let Some(rules) = by_root.get(&graph.node(node).op) else { continue };
        if !wanted(&CallView::new(graph, node)) {
            continue;
        }
        for rule in rules {
            declined.remove(&(node, rule.name()));
            let Some(found) = rule.pattern().find(graph, node, settings.opset) else { continue };
            let outcome = check_inner_results(graph, &found, rule).and_then(|()| {
                let replacement = rule.build(&found)?;
                check_operators(graph, &found, &replacement, settings)?;
                Ok(replacement)
            });
            let touched = found.nodes().to_vec();
            match outcome {
                Ok(replacement) => {
                    if settings.fuel.is_empty() {
                        return Ok(step);
                    }
                    match commit(graph, node, &touched, replacement, settings, rule.name(), &mut queue) {
                        Ok(()) => {}
                        Err(Refused::NothingReadsIt) => continue,
                        Err(Refused::LacksType(why)) => {
                            declined.insert((node, rule.name()), why);
                            continue;
                        }
                        Err(Refused::OtherType) => {
                            let why =
                                Skip::Unsuitable("the model contradicts itself: the result would be of another type");
                            declined.insert((node, rule.name()), why);
                            continue;
                        }
                        Err(Refused::Larger) => {
                            let why = Skip::Unsuitable("its new constants would make the file larger");
                            declined.insert((node, rule.name()), why);
                            continue;
                        }
                    }
                    step.fired(rule.name());
                    step.exactness = step.exactness.max(rule.exactness());
                    firings += 1;
                    last.push_back(rule.name());
                    if last.len() > 8 {
                        last.pop_front();
                    }
                    if firings > limit {
                        return Err(Unsettled { last: last.make_contiguous().join(", ") });
                    }
                    // The node may still be there, with other operands or results that are read.
                    queue.push(node);
                    break;
                }
                Err(Skip::NotThis) => {}
                Err(why) => {
                    declined.insert((node, rule.name()), why);
                }
            }
        }
    }
    for ((node, rule), why) in declined {
        if graph.has_node(node) {
            step.held_back(rule, &why.to_string());
            if let Skip::NeedsOpset(opset) = why {
                step.wants_opset(opset);
            }
        }
    }
    Ok(step)
}

/// Nodes to look at, each at most once at a time.
#[derive(Default)]
struct Queue {
    order: VecDeque<NodeId>,
    waiting: FixedBitSet,
}

impl Queue {
    fn push(&mut self, node: NodeId) {
        self.waiting.grow(node.index() + 1);
        if !self.waiting.put(node.index()) {
            self.order.push_back(node);
        }
    }

    fn pop(&mut self) -> Option<NodeId> {
        let node = self.order.pop_front()?;
        self.waiting.set(node.index(), false);
        Some(node)
    }
}

/// A match may only be replaced when nothing outside it reads what it computes on the way, unless the rule says that
/// its replacement does not compute it again.
fn check_inner_results(graph: &Graph, found: &Match<'_>, rule: &Rule) -> Result<(), Skip> {
    if rule.shares_inner() {
        return Ok(());
    }
    let root = found.root().id();
    for &node in found.nodes().iter().filter(|&&n| n != root) {
        if graph.node(node).scope() != graph.node(root).scope() {
            return Err(Skip::Unsuitable("an inner result is computed outside of the body that reads it"));
        }
        for &value in graph.results(node).iter().flatten() {
            for user in graph.value(value).users() {
                match user {
                    User::Node(n, _) if found.nodes().contains(n) => {}
                    User::Node(..) | User::Output(..) => return Err(Skip::InnerResultShared),
                }
            }
        }
    }
    Ok(())
}

/// Every operator of the replacement must exist in the opset that the result is written in, and be one that its runtime
/// takes, or that is there already.
fn check_operators(
    graph: &Graph,
    found: &Match<'_>,
    replacement: &Replacement,
    settings: Settings<'_>,
) -> Result<(), Skip> {
    fn check(expr: &Expr, opset: u32, settings: Settings<'_>, there: &impl Fn(OpKind) -> bool) -> Result<(), Skip> {
        let Expr::Call(call, _) = expr else { return Ok(()) };
        match call.contrib {
            Some(name) if !settings.contrib.contains(&name) => return Err(Skip::Avoided(name)),
            Some(_) => {}
            None if settings.avoids.contains(&call.op) && !there(call.op) => return Err(Skip::Avoided(call.op.name())),
            None if schema::lookup("", call.op.name(), opset).is_none() => return Err(needs(call.op, opset, |_| true)),
            None => {}
        }
        call.operands.iter().try_for_each(|e| check(e, opset, settings, there))
    }
    let there = |op: OpKind| found.nodes().iter().any(|&n| graph.node(n).op == op);
    let opset = u32::try_from(settings.opset).unwrap_or(1);
    replacement.0.iter().try_for_each(|(_, e)| check(e, opset, settings, &there))
}

/// The first version after `opset` that has `op` and is as `fits` says.
fn needs(op: OpKind, opset: u32, fits: impl Fn(&Schema) -> bool) -> Skip {
    let later = schema::versions("", op.name()).iter().find(|s| s.since > opset && !s.deprecated && fits(s));
    later.map_or(Skip::Unsuitable("no opset has the operator for these types"), |s| Skip::NeedsOpset(s.since))
}

/// A new call may only have operands of types that its operator takes in the opset that the result is written in.
fn check_types(graph: &Graph, node: NodeId, settings: Settings<'_>) -> Result<(), Skip> {
    let op = graph.node(node).op;
    let opset = u32::try_from(settings.opset).unwrap_or(1);
    let takes = |schema: &Schema| {
        graph.operands(node).enumerate().all(|(slot, value)| {
            let Some(dtype) = value.and_then(|v| graph.value(v).ty.dtype()) else { return true };
            schema.takes(slot, dtype.name())
        })
    };
    match schema::lookup("", op.name(), opset) {
        Some(schema) if !takes(schema) => Err(needs(op, opset, takes)),
        _ => Ok(()),
    }
}

/// Why a replacement was not wired in.
enum Refused {
    /// What is read of the root is none of the results that are replaced.
    NothingReadsIt,
    /// A new operator is not defined for a type of its operands.
    LacksType(Skip),
    /// A result would change its type.
    OtherType,
    /// The new constants are larger than those that die, by more than the run allows.
    Larger,
}

/// Wire `replacement` in and remove what dies, or refuse and leave the graph as it was.
fn commit(
    graph: &mut Graph,
    root: NodeId,
    touched: &[NodeId],
    replacement: Replacement,
    settings: Settings<'_>,
    rule: &'static str,
    queue: &mut Queue,
) -> Result<(), Refused> {
    let (scope, order) = (graph.node(root).scope(), graph.node(root).order());
    let dying = dying_bytes(graph, root, &replacement);
    let mut made = Made { scope, order, calls: Vec::new(), nodes: Vec::new(), constants: Vec::new() };
    let mut pairs = Vec::new();
    for (place, expr) in replacement.0 {
        let Some(old) = replaced(graph, root, place) else { continue };
        let Some(new) = made.value(graph, &expr) else { continue };
        pairs.push((old, new));
    }
    // A node that is read for other results only would stay, and match again.
    if !graph.is_dead(root) && pairs.iter().all(|&(old, _)| graph.value(old).users().is_empty()) {
        made.discard(graph);
        return Err(Refused::NothingReadsIt);
    }
    let same_types = pairs.iter().all(|&(old, new)| may_stand_for(&graph.value(new).ty, &graph.value(old).ty));
    let added: usize = made.constants.iter().filter_map(|&c| graph.constant(c)).map(Tensor::stored_bytes).sum();
    let lacks = |n: NodeId| settings.limits.lacks(&CallView::new(graph, n));
    let lacked = touched.iter().any(|&n| lacks(n));
    let brings_in = made.nodes.iter().find(|&&n| !lacked && lacks(n));
    let lacks_type = made.nodes.iter().find_map(|&n| check_types(graph, n, settings).err());
    let lacks_type = lacks_type.or(brings_in.map(|&n| Skip::Avoided(graph.node(n).op.name())));
    let refused = if let Some(why) = lacks_type {
        Some(Refused::LacksType(why))
    } else if !same_types {
        Some(Refused::OtherType)
    } else if !settings.growth.take(added.saturating_sub(dying)) {
        Some(Refused::Larger)
    } else {
        None
    };
    if let Some(refused) = refused {
        made.discard(graph);
        return Err(refused);
    }
    let paid = settings.fuel.spend(rule, || graph.label(root));
    debug_assert!(paid, "the caller looks whether there is fuel");
    for &node in &made.nodes {
        queue.push(node);
    }
    let makers: Vec<NodeId> = pairs.iter().filter_map(|&(old, _)| Some(graph.producer(old)?.0)).collect();
    for (old, new) in pairs {
        // Only those who read something else now: `new` may have a great many users already.
        let moved: Vec<User> = graph.value(old).users().to_vec();
        graph.replace(old, new);
        for user in moved {
            if let User::Node(n, _) = user {
                queue.push(n);
            }
        }
        if let Some((producer, _)) = graph.producer(new) {
            queue.push(producer);
        }
    }
    // Whoever feeds a removed node has a user less: a rule that needs to be the only reader may now fire.
    graph.prune_dead(root, |feeder| queue.push(feeder));
    for node in makers.into_iter().chain(touched.iter().copied()) {
        if graph.has_node(node) {
            graph.prune_dead(node, |feeder| queue.push(feeder));
        }
    }
    Ok(())
}

/// Bytes of the file that go when `replacement` takes the place of `root`: those of the nodes that nobody reads then,
/// and of the constants that only these read.
fn dying_bytes(graph: &Graph, root: NodeId, replacement: &Replacement) -> usize {
    let mut kept = Vec::new();
    for (_, expr) in &replacement.0 {
        expr.each_value(&mut |value| kept.push(value));
    }
    let mut dead = vec![root];
    let gone: Vec<ValueId> = replacement.0.iter().filter_map(|&(place, _)| replaced(graph, root, place)).collect();
    for (maker, _) in gone.iter().filter_map(|&value| graph.producer(value)) {
        let unread = |v: &ValueId| gone.contains(v) || graph.value(*v).users().is_empty();
        if !dead.contains(&maker) && graph.results(maker).iter().flatten().all(unread) {
            dead.push(maker);
        }
    }
    let only_dead = |dead: &[NodeId], value: ValueId| {
        !kept.contains(&value)
            && graph.value(value).users().iter().all(|u| matches!(u, User::Node(n, _) if dead.contains(n)))
    };
    let mut constants: Vec<ValueId> = Vec::new();
    // What was looked at, and how many were known to die then: only with more of them the answer may be another.
    let mut looked: FxHashMap<NodeId, usize> = FxHashMap::default();
    let mut next = 0;
    while let Some(&node) = dead.get(next) {
        next += 1;
        for value in graph.operands(node).flatten() {
            match graph.producer(value) {
                None => constants.push(value),
                Some((maker, _)) => {
                    if dead.len() >= MOST_DYING || looked.insert(maker, dead.len()) == Some(dead.len()) {
                        continue;
                    }
                    // Who reads a value that is replaced reads something else then.
                    let unread = |&v: &ValueId| gone.contains(&v) || only_dead(&dead, v);
                    let dies = graph.results(maker).iter().flatten().all(unread);
                    if dies && !dead.contains(&maker) {
                        dead.push(maker);
                    }
                }
            }
        }
    }
    constants.sort_unstable();
    constants.dedup();
    let tensors = constants.into_iter().filter(|&v| only_dead(&dead, v)).filter_map(|v| graph.constant(v));
    tensors.map(Tensor::stored_bytes).sum::<usize>() + NODE_BYTES * dead.len()
}

/// The value that a replacement is for.
fn replaced(graph: &Graph, root: NodeId, place: Place) -> Option<ValueId> {
    match place {
        Place::Slot(slot) => graph.result(root, slot),
        Place::Value(value) => Some(value),
    }
}

/// How many dying nodes are counted for one replacement.
const MOST_DYING: usize = 64;

/// Whether a value of type `new` can take the place of one of type `old`: nothing known of the two contradicts.
fn may_stand_for(new: &Type, old: &Type) -> bool {
    let (Type::Tensor { dtype: a, shape: s }, Type::Tensor { dtype: b, shape: t }) = (new, old) else { return true };
    let same_dtype = a.is_none() || b.is_none() || a == b;
    let same_dims = match (s, t) {
        (Shape(Some(s)), Shape(Some(t))) => {
            s.len() == t.len()
                && s.iter().zip(t.iter()).all(|(a, b)| match (a.known(), b.known()) {
                    (Some(a), Some(b)) => a == b,
                    _ => true,
                })
        }
        _ => true,
    };
    same_dtype && same_dims
}

/// The nodes and constants of a replacement as they are made.
struct Made {
    scope: ScopeId,
    order: u32,
    calls: Vec<(*const CallExpr, NodeId)>,
    nodes: Vec<NodeId>,
    constants: Vec<ValueId>,
}

impl Made {
    /// Take out again what nobody reads.
    fn discard(self, graph: &mut Graph) {
        for node in self.nodes.into_iter().rev() {
            graph.prune_dead(node, |_| {});
        }
        for constant in self.constants {
            if graph.has_value(constant) {
                graph.prune_constant(constant);
            }
        }
    }

    fn value(&mut self, graph: &mut Graph, expr: &Expr) -> Option<ValueId> {
        match expr {
            Expr::Value(value) => Some(*value),
            Expr::Absent => None,
            Expr::Constant(tensor) => {
                let value = graph.add_constant(self.scope, "", tensor.clone());
                self.constants.push(value);
                Some(value)
            }
            Expr::Call(call, slot) => {
                let seen = self.calls.iter().find(|(p, _)| std::ptr::eq(*p, Arc::as_ptr(call))).map(|(_, n)| *n);
                let node = match seen {
                    Some(node) => node,
                    None => self.call(graph, call),
                };
                graph.result(node, *slot)
            }
        }
    }

    fn call(&mut self, graph: &mut Graph, call: &Arc<CallExpr>) -> NodeId {
        let mut operands: Vec<Option<ValueId>> = call.operands.iter().map(|e| self.value(graph, e)).collect();
        while operands.last() == Some(&None) {
            operands.pop();
        }
        let node = graph.add_node(self.scope, call.op, &operands, call.results, self.order);
        for (name, attr) in &call.attrs {
            graph.set_attr(node, name.clone(), attr.clone());
        }
        if let Some(name) = call.contrib {
            graph.node_mut(node).custom = Some(Arc::new((CONTRIB.into(), name.into())));
        }
        if let Some(like) = call.like
            && graph.has_node(like)
        {
            let (name, carried) = (graph.node(like).name.clone(), graph.node(like).carried.clone());
            let new = graph.node_mut(node);
            (new.name, new.carried) = (name, carried);
        }
        infer_node(graph, node);
        self.calls.push((Arc::as_ptr(call), node));
        self.nodes.push(node);
        node
    }
}
