//! Transposes stand where they cost least.
//!
//! A `Transpose` moves through element-wise operators, `Concat`, `Split`, `Slice`, `Pad`, `Softmax`, reductions and
//! others that can do the same along other axes, in either direction, to where it meets one that undoes it. What moves
//! with it has to be in the other order, too, which may take a `Transpose` elsewhere: so for all calls that one order of
//! axes passes through, those are turned for which the transposes that are left are the cheapest. That is a minimum cut
//! between what wants the order and what does not. A `Transpose` costs its node and each element that it moves; nothing
//! is turned unless both together become less, and not more nodes.
//!
//! So the islands of one layout that converters leave in a model of another grow together.

mod orders;
mod region;
mod turned;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Attr, Graph, NodeId, OpKind, ScopeId, User, ValueId};
use crate::ops::infer_node;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::Step;
use crate::rules::support::axes::spelled;
use orders::{composed, inverse};
use region::{Region, base, transpose};

/// See the module.
pub struct PlaceTransposes;

/// Opsets before broadcast operands as they liked.
const SINCE: i64 = 9;

/// Calls that are looked at, for each that there is.
const LOOKS: usize = 16;

impl Pass for PlaceTransposes {
    fn name(&self) -> &'static str {
        "place-transposes"
    }

    fn doc(&self) -> &'static str {
        include_str!("mod.rs")
    }

    fn rounds(&self) -> usize {
        8
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        if cx.opset < SINCE {
            return Ok(step);
        }
        let mut looks = LOOKS * (graph.node_count() + 64);
        let mut tried: FxHashSet<(ValueId, Vec<usize>)> = FxHashSet::default();
        let scopes: Vec<ScopeId> = graph.scopes().collect();
        for scope in scopes {
            let nodes: Vec<NodeId> = graph.schedule(scope);
            for node in nodes {
                for upward in [false, true] {
                    if !graph.has_node(node) || cx.fuel.is_empty() || looks == 0 {
                        continue;
                    }
                    let Some((from, perm)) = transpose(graph, node) else { continue };
                    // Either what it makes is read as it was, or what it reads is made as it shall be.
                    let (Some(start), order) = (match upward {
                        true => (Some(from), perm),
                        false => (graph.result(node, 0), inverse(&perm)),
                    }) else {
                        continue;
                    };
                    if order.is_sorted()
                        || graph.value(start).scope() != scope
                        || graph.constant(start).is_some()
                        || tried.contains(&(start, order.clone()))
                    {
                        continue;
                    }
                    let region = Region::around(graph, start, order, cx.opset);
                    looks = looks.saturating_sub(region.orders.len() + 1);
                    let Some(on) = region.cheapest(graph) else {
                        tried.extend(region.orders);
                        continue;
                    };
                    let growth = on.iter().filter_map(|node| region.calls.get(node)).map(|call| call.growth).sum();
                    if !cx.growth.take(growth) {
                        step.held_back("place-transposes", "constants in another order would make the file larger");
                        tried.extend(region.orders);
                        continue;
                    }
                    if !cx.fuel.spend("place-transposes", || graph.label(node)) {
                        return Ok(step);
                    }
                    let exactness = on.iter().filter_map(|node| region.calls.get(node)).map(|call| call.exactness);
                    step.exactness = step.exactness.max(exactness.max().unwrap_or_default());
                    Turn {
                        graph,
                        region: &region,
                        on,
                        stored: FxHashMap::default(),
                        spent: Vec::new(),
                        made: FxHashMap::default(),
                    }
                    .run();
                    step.fired("place-transposes");
                }
            }
        }
        Ok(step)
    }
}

/// Calls of a region as they are turned.
struct Turn<'g> {
    graph: &'g mut Graph,
    region: &'g Region,
    on: FxHashSet<NodeId>,
    /// What stands for a value, in its other order.
    stored: FxHashMap<ValueId, ValueId>,
    /// Transposes that were there and whose readers read something else now.
    spent: Vec<NodeId>,
    /// Transposes that were made, by what they read and how they order it.
    made: FxHashMap<(ValueId, Vec<usize>), ValueId>,
}

impl Turn<'_> {
    fn run(&mut self) {
        let nodes = self.region.sorted(self.graph, &self.on);
        for &node in &nodes {
            self.turn(node);
        }
        for &node in &nodes {
            for value in self.graph.results(node).to_vec().into_iter().flatten() {
                self.hand_over(value);
            }
        }
        // Only now: what feeds one of these goes with it.
        for node in std::mem::take(&mut self.spent).into_iter().chain(nodes.into_iter().rev()) {
            if self.graph.has_node(node) {
                self.graph.prune_dead(node, |_| {});
            }
        }
    }

    /// Make the call again, on operands and with results in the other order.
    fn turn(&mut self, node: NodeId) {
        let call = &self.region.calls[&node];
        let old = self.graph.node(node).clone();
        let mut operands: Vec<Option<ValueId>> = self.graph.operands(node).collect();
        for (slot, operand) in operands.iter_mut().enumerate() {
            let order = call.order(turned::Port::Operand(slot));
            if let (Some(value), Some(order)) = (*operand, order) {
                *operand = Some(self.in_order(value, order, node));
            }
        }
        for (slot, tensor) in &call.constants {
            let constant = self.graph.add_constant(old.scope(), "", tensor.clone());
            operands.resize(operands.len().max(slot + 1), None);
            operands[*slot] = Some(constant);
        }
        let results = self.graph.results(node).to_vec();
        let new = self.graph.add_node(old.scope(), old.op, &operands, results.len(), old.order());
        for (name, attr) in old.attrs() {
            self.graph.set_attr(new, name.clone(), attr.clone());
        }
        for (name, attr) in &call.attrs {
            self.graph.set_attr(new, *name, attr.clone());
        }
        (self.graph.node_mut(new).name, self.graph.node_mut(new).carried) = (old.name.clone(), old.carried.clone());
        infer_node(self.graph, new);
        for (slot, result) in results.into_iter().enumerate() {
            match (result, self.graph.result(new, slot)) {
                (Some(old), Some(new)) => drop(self.stored.insert(old, new)),
                (None, Some(_)) => self.graph.drop_result(new, slot),
                _ => {}
            }
        }
    }

    /// What `value` is with its axes in `order`, for `reader`.
    fn in_order(&mut self, value: ValueId, order: &[usize], reader: NodeId) -> ValueId {
        let (from, perm) = match self.stored.contains_key(&value) {
            true => (value, None),
            false => base(self.graph, value),
        };
        let rank = order.len();
        let mut order = perm.and_then(|perm| composed(&perm, order)).unwrap_or_else(|| order.to_vec());
        let mut start = from;
        if let Some(&stored) = self.stored.get(&from) {
            start = stored;
            if let Some(other) = self.region.stored(self.graph, from, &self.on) {
                order = composed(&inverse(other), &order).unwrap_or(order);
            }
        }
        debug_assert_eq!(order.len(), rank, "an order is of all axes");
        if order.is_sorted() {
            return start;
        }
        if let Some(&made) = self.made.get(&(start, order.clone())) {
            return made;
        }
        let (scope, at) = (self.graph.node(reader).scope(), self.graph.node(reader).order());
        let new = self.graph.add_node(scope, OpKind::Transpose, &[Some(start)], 1, at);
        self.graph.set_attr(new, "perm", Attr::Ints(spelled(&order)));
        infer_node(self.graph, new);
        let result = self.graph.result(new, 0).unwrap_or(start);
        self.made.insert((start, order), result);
        result
    }

    /// Have everyone who is not turned read what stands for `value`.
    fn hand_over(&mut self, value: ValueId) {
        let rank = self.graph.value(value).ty.shape().dims().map_or(0, <[_]>::len);
        let same: Vec<usize> = (0..rank).collect();
        for user in self.graph.value(value).users().to_vec() {
            match user {
                User::Node(node, _) if self.on.contains(&node) => {}
                User::Node(node, _) if transpose(self.graph, node).is_some() => {
                    let Some(result) = self.graph.result(node, 0) else { continue };
                    let others = |user: &User| !matches!(user, User::Node(n, _) if self.on.contains(n));
                    let users: Vec<User> = self.graph.value(result).users().iter().copied().filter(others).collect();
                    self.spent.push(node);
                    if users.is_empty() {
                        continue;
                    }
                    let new = self.in_order(result, &same, node);
                    self.take_name(result, new);
                    for user in users {
                        self.graph.replace_use(user, new);
                    }
                }
                User::Node(..) | User::Output(..) => {
                    let Some(&(maker, _)) = self.graph.producer(value).as_ref() else { continue };
                    let new = self.in_order(value, &same, maker);
                    self.take_name(value, new);
                    self.graph.replace_use(user, new);
                }
            }
        }
    }

    /// Names of surviving tensors stay.
    fn take_name(&mut self, old: ValueId, new: ValueId) {
        if self.graph.value(new).name.is_empty() {
            let name = std::mem::take(&mut self.graph.value_mut(old).name);
            self.graph.value_mut(new).name = name;
        }
        let ty = self.graph.value(old).ty.clone();
        self.graph.value_mut(new).ty.refine(&ty);
    }
}
