//! The calls through which one order of axes passes, and which of them to turn.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{Graph, Int, NodeId, OpKind, Origin, ScopeId, User, ValueId};
use crate::min_cut::{NEVER, Network, SINK, SOURCE};
use crate::ops::CallView;
use crate::ops::slice::permutation;
use crate::passes::place_transposes::orders::{composed, inverse};
use crate::passes::place_transposes::turned::{Port, Turned, turned};

/// How many calls are looked at from one `Transpose`.
const MOST_CALLS: usize = 1024;

/// How many users of one value are looked at.
const MOST_USERS: usize = 256;

/// What a node costs, in elements that are moved.
const NODE: u64 = 4096;

/// Calls that can all be turned.
pub(super) struct Region {
    /// The other order of each value.
    pub(super) orders: FxHashMap<ValueId, Vec<usize>>,
    /// Each call as it would be.
    pub(super) calls: FxHashMap<NodeId, Turned>,
    /// The calls in the order in which they were found.
    found: Vec<NodeId>,
}

/// A `Transpose` as such: what it reads, and how it orders that.
pub(super) fn transpose(graph: &Graph, node: NodeId) -> Option<(ValueId, Vec<usize>)> {
    if graph.node(node).op != OpKind::Transpose {
        return None;
    }
    Some((graph.operand(node, 0)?, permutation(&CallView::new(graph, node))?))
}

impl Region {
    /// Everything that `order` of `start` reaches.
    pub(super) fn around(graph: &Graph, start: ValueId, order: Vec<usize>, opset: i64) -> Region {
        let scope = graph.value(start).scope();
        let mut region = Region { orders: FxHashMap::default(), calls: FxHashMap::default(), found: Vec::new() };
        let mut refused: FxHashSet<NodeId> = FxHashSet::default();
        let mut waiting = vec![start];
        region.orders.insert(start, order);
        while let Some(value) = waiting.pop() {
            if graph.value(value).users().len() > MOST_USERS {
                continue;
            }
            let order = region.orders[&value].clone();
            for (node, port) in ports(graph, value, scope) {
                if refused.contains(&node) || graph.node(node).op == OpKind::Transpose {
                    continue;
                }
                if let Some(known) = region.calls.get(&node) {
                    if known.order(port) != Some(&order) {
                        region.calls.remove(&node);
                        refused.insert(node);
                    }
                    continue;
                }
                let call = CallView::new(graph, node);
                let fits = |turned: &Turned| {
                    turned.order(port) == Some(&order)
                        && turned.ports.iter().all(|(port, order)| {
                            let other = value_at(graph, node, *port).and_then(|v| region.orders.get(&v));
                            other.is_none_or(|other| other == order)
                        })
                };
                let Some(new) =
                    turned(&call, port, &order, opset).filter(|new| region.calls.len() < MOST_CALLS && fits(new))
                else {
                    refused.insert(node);
                    continue;
                };
                for (port, order) in &new.ports {
                    let Some(value) = value_at(graph, node, *port) else { continue };
                    if let std::collections::hash_map::Entry::Vacant(slot) = region.orders.entry(value) {
                        slot.insert(order.clone());
                        waiting.push(value);
                    }
                }
                region.calls.insert(node, new);
                region.found.push(node);
            }
        }
        region.found.retain(|node| region.calls.contains_key(node));
        region
    }

    /// Whether the region has `value` in the other order when it turns `on`.
    pub(super) fn stored<'r>(
        &'r self,
        graph: &Graph,
        value: ValueId,
        on: &FxHashSet<NodeId>,
    ) -> Option<&'r Vec<usize>> {
        let (node, slot) = graph.producer(value)?;
        if on.contains(&node) { self.calls.get(&node)?.order(Port::Result(slot)) } else { None }
    }

    /// In which other order operand `slot` of `node` is read when the region turns `on`.
    pub(super) fn read(&self, node: NodeId, slot: usize, on: &FxHashSet<NodeId>) -> Option<&Vec<usize>> {
        if on.contains(&node) { self.calls.get(&node)?.order(Port::Operand(slot)) } else { None }
    }

    /// The calls `on`, operands before users.
    pub(super) fn sorted(&self, graph: &Graph, on: &FxHashSet<NodeId>) -> Vec<NodeId> {
        let within = |node: NodeId| {
            let makers = graph.operands(node).flatten().filter_map(|v| graph.producer(v));
            makers.filter(|(maker, _)| on.contains(maker)).count()
        };
        let mut left: FxHashMap<NodeId, usize> = on.iter().map(|&node| (node, within(node))).collect();
        let mut sorted: Vec<NodeId> = self.found.iter().copied().filter(|node| left.get(node) == Some(&0)).collect();
        let mut next = 0;
        while let Some(&node) = sorted.get(next) {
            next += 1;
            for user in graph.results(node).iter().flatten().flat_map(|&v| graph.value(v).users()) {
                let User::Node(user, _) = *user else { continue };
                let Some(count) = left.get_mut(&user) else { continue };
                *count -= 1;
                if *count == 0 {
                    sorted.push(user);
                }
            }
        }
        sorted
    }

    /// The calls that are turned where all costs least, if that is less than it costs now.
    pub(super) fn cheapest(&self, graph: &Graph) -> Option<FxHashSet<NodeId>> {
        let on = self.cut(graph)?;
        let nothing = FxHashSet::default();
        let (before, after) = (self.cost(graph, &nothing)?, self.cost(graph, &on)?);
        (!on.is_empty() && after.count <= before.count && after.price < before.price).then_some(on)
    }

    /// Which calls to turn, as the cheapest cut has it. What stands between the region and itself is taken to be outside
    /// of it, so the cost has to be counted again.
    fn cut(&self, graph: &Graph) -> Option<FxHashSet<NodeId>> {
        let mut network = Network::new(0);
        let places: FxHashMap<NodeId, usize> = self.found.iter().map(|&node| (node, network.node())).collect();
        let mut values: Vec<(&ValueId, &Vec<usize>)> = self.orders.iter().collect();
        values.sort_unstable();
        for (&value, order) in values {
            if order.is_sorted() || graph.constant(value).is_some() {
                continue;
            }
            if graph.value(value).users().len() > MOST_USERS {
                return None;
            }
            let price = price(graph, value);
            // Whoever reads the value in the order that it has now, or in the other.
            let (now, other) = (network.node(), network.node());
            for user in graph.value(value).users() {
                let place = match *user {
                    User::Node(node, slot) => match transpose(graph, node) {
                        Some(_) => continue,
                        None => self.calls.get(&node).and_then(|c| c.order(Port::Operand(slot)).map(|_| places[&node])),
                    },
                    User::Output(..) => None,
                };
                network.arc(now, place.unwrap_or(SINK), NEVER);
                if let Some(place) = place {
                    network.arc(place, other, NEVER);
                }
            }
            let maker = graph.producer(value).map(|(node, _)| node);
            match maker.and_then(|node| transpose(graph, node)) {
                Some((_, perm)) => {
                    network.arc(SOURCE, now, price);
                    if *order != inverse(&perm) {
                        network.arc(other, SINK, price);
                    }
                }
                None => {
                    let place = maker.and_then(|node| places.get(&node).copied()).unwrap_or(SINK);
                    network.arc(place, now, price);
                    network.arc(other, place, price);
                    for user in graph.value(value).users() {
                        // A Transpose goes when its operand is as it makes it.
                        if let User::Node(node, _) = *user
                            && transpose(graph, node).is_some_and(|(_, perm)| perm == *order)
                        {
                            network.arc(SOURCE, place, price);
                            break;
                        }
                    }
                }
            }
        }
        let sides = network.part_with_fewest()?;
        Some(self.found.iter().copied().filter(|node| sides[places[node]]).collect())
    }

    /// What all transposes at values of the region cost when it turns `on`; `None` where that takes too long to count.
    fn cost(&self, graph: &Graph, on: &FxHashSet<NodeId>) -> Option<Cost> {
        let mut bases: Vec<ValueId> = self.orders.keys().map(|&value| base(graph, value).0).collect();
        bases.sort_unstable();
        bases.dedup();
        let mut cost = Cost { count: 0, price: 0 };
        for value in bases.into_iter().filter(|&v| graph.constant(v).is_none()) {
            if graph.value(value).users().len() > MOST_USERS {
                return None;
            }
            let mut needed: Vec<Vec<usize>> = Vec::new();
            let mut need = |order: Option<Vec<usize>>| {
                let order = order.filter(|order| !order.is_sorted()).unwrap_or_default();
                if !needed.contains(&order) {
                    needed.push(order);
                }
            };
            for user in graph.value(value).users() {
                match *user {
                    User::Output(..) => need(None),
                    User::Node(node, slot) => match transpose(graph, node) {
                        None => need(self.read(node, slot, on).cloned()),
                        Some((_, perm)) => {
                            let Some(result) = graph.result(node, 0) else { continue };
                            if graph.value(result).users().len() > MOST_USERS {
                                return None;
                            }
                            for user in graph.value(result).users() {
                                let then = match *user {
                                    User::Node(node, slot) => self.read(node, slot, on),
                                    User::Output(..) => None,
                                };
                                need(match then {
                                    Some(then) => composed(&perm, then),
                                    None => Some(perm.clone()),
                                });
                            }
                        }
                    },
                }
            }
            let stored = self.stored(graph, value, on).filter(|order| !order.is_sorted()).cloned().unwrap_or_default();
            let count = needed.iter().filter(|order| **order != stored).count() as u64;
            cost.count += count;
            cost.price = cost.price.saturating_add(count.saturating_mul(price(graph, value)));
        }
        Some(cost)
    }
}

struct Cost {
    count: u64,
    price: u64,
}

/// The value that `value` is a `Transpose` of, and how; itself where it is none.
pub(super) fn base(graph: &Graph, value: ValueId) -> (ValueId, Option<Vec<usize>>) {
    match graph.producer(value).and_then(|(node, _)| transpose(graph, node)) {
        Some((from, perm)) => (from, Some(perm)),
        None => (value, None),
    }
}

/// What a `Transpose` of `value` costs. Sizes that depend on the run count as 1 everywhere.
fn price(graph: &Graph, value: ValueId) -> u64 {
    let dims = graph.value(value).ty.shape().dims().unwrap_or_default();
    let sizes = dims.iter().map(|d| Int::known(d).and_then(|n| u64::try_from(n).ok()).unwrap_or(1));
    sizes.fold(1u64, u64::saturating_mul).min(NEVER / NODE).saturating_add(NODE)
}

/// The calls of `scope` that make or read `value`, and where.
fn ports(graph: &Graph, value: ValueId, scope: ScopeId) -> Vec<(NodeId, Port)> {
    let maker = match graph.value(value).origin() {
        Origin::Node(node, slot) => Some((node, Port::Result(slot))),
        _ => None,
    };
    let users = graph.value(value).users().iter().filter_map(|user| match *user {
        User::Node(node, slot) => Some((node, Port::Operand(slot))),
        User::Output(..) => None,
    });
    maker.into_iter().chain(users).filter(|(node, _)| graph.node(*node).scope() == scope).collect()
}

fn value_at(graph: &Graph, node: NodeId, port: Port) -> Option<ValueId> {
    match port {
        Port::Operand(slot) => graph.operand(node, slot),
        Port::Result(slot) => graph.result(node, slot),
    }
}
