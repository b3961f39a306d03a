//! What changes its type together: the float tensors of a call, and what a body and the node that runs it hand over.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{DType, Graph, NodeId, OpKind, Origin, ScopeId, User, ValueId};
use crate::ops::CallView;
use crate::ops::control::{NUM_SCAN_INPUTS, body};
use crate::precision::keep::{came_with, computes_integers, counting, filled, is_work, keeps, reads_shape};
use crate::precision::slots::Slots;
use crate::precision::{Fit, Io, Role};

/// Index of a cell.
pub(super) type Cell = usize;

/// The cell of what is always float32.
pub(super) const FLOAT: Cell = 0;

/// What is known of a cell.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// The call that it is of; none for what is handed over.
    pub node: Option<NodeId>,
    /// Why it stays float32.
    pub stays: Option<String>,
    /// Whether it must be a half: what the interface is said to be.
    pub must: bool,
    /// What float32 costs here, beside a `Cast`.
    pub worth: u64,
    /// Whether it stays float32 unless halves save a `Cast`.
    pub leans: bool,
}

/// Every cell of a graph, which tensors each makes, and which uses it has.
pub(super) struct Cells {
    pub facts: Vec<Facts>,
    pub makes: BTreeMap<ValueId, Cell>,
    pub reads: FxHashMap<User, Cell>,
}

/// What is asked of a graph.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub opset: i64,
    pub fit: &'a Fit,
    pub io: Io,
    /// Whether bodies may have halves, of which nothing is observed.
    pub bodies: bool,
    /// Nodes that stay, with the reason.
    pub excluded: &'a FxHashMap<NodeId, String>,
    /// The layers, where it is given which of them have halves: those that are not excluded.
    pub layers: Option<&'a FxHashSet<NodeId>>,
}

/// What a cheap call is worth as a half, where a `Cast` costs [`CAST`](super::sides::CAST).
pub(super) const CHEAP: u64 = 1;

/// What a product is worth.
const WORK: u64 = 1 << 20;

/// The cells of `graph`.
pub(super) fn cells(graph: &Graph, asked: &Asked<'_>) -> Cells {
    let counting = counting(graph);
    let mut found = Cells { facts: vec![Facts::default()], makes: BTreeMap::new(), reads: FxHashMap::default() };
    let mut scopes: Vec<ScopeId> = graph.scopes().collect();
    scopes.sort_unstable();
    for scope in scopes {
        interface(graph, scope, asked, &mut found);
        for node in graph.schedule(scope) {
            if graph.node(node).bodies().next().is_some() {
                handed_over(graph, node, asked, &mut found);
            } else {
                call(graph, node, asked, &counting, &mut found);
            }
        }
    }
    judge(graph, asked, &mut found);
    found
}

fn is_float(graph: &Graph, value: ValueId) -> bool {
    graph.value(value).ty.dtype() == Some(DType::F32)
}

impl Cells {
    fn add(&mut self, facts: Facts) -> Cell {
        self.facts.push(facts);
        self.facts.len() - 1
    }
}

/// Inputs and outputs of the main graph. Those of bodies are what their node hands over.
fn interface(graph: &Graph, scope: ScopeId, asked: &Asked<'_>, found: &mut Cells) {
    let converts = scope == ScopeId::MAIN && asked.io == Io::Convert;
    for &input in graph.scope(scope).inputs() {
        if is_float(graph, input) && !found.makes.contains_key(&input) {
            let converts = converts && graph.value(input).default().is_none();
            let cell = if converts { found.add(Facts { must: true, ..Facts::default() }) } else { FLOAT };
            found.makes.insert(input, cell);
        }
    }
    for (index, output) in graph.scope(scope).outputs().iter().enumerate() {
        let user = User::Output(scope, index);
        if is_float(graph, output.value()) && !found.reads.contains_key(&user) {
            let cell = if converts { found.add(Facts { must: true, ..Facts::default() }) } else { FLOAT };
            found.reads.insert(user, cell);
        }
    }
}

fn call(graph: &Graph, node: NodeId, asked: &Asked<'_>, counting: &FxHashSet<NodeId>, found: &mut Cells) {
    let call = CallView::new(graph, node);
    let op = call.node().op;
    let operands: Vec<(usize, ValueId)> =
        graph.operands(node).enumerate().filter_map(|(slot, v)| Some((slot, v?))).collect();
    let results: Vec<(usize, ValueId)> =
        graph.results(node).iter().enumerate().filter_map(|(slot, v)| Some((slot, (*v)?))).collect();
    let floats = || operands.iter().chain(&results).filter(|(_, v)| is_float(graph, *v));
    if reads_shape(op) || floats().next().is_none() {
        return;
    }
    let slots = Slots::new(call, asked.opset, asked.fit.half);
    let takes = |slot: usize| slots.as_ref().is_some_and(|s| s.takes(slot));
    let gives = |slot: usize| slots.as_ref().is_some_and(|s| s.gives(slot));
    let no_tensor = operands.iter().chain(&results).any(|(_, v)| graph.value(*v).ty.dtype().is_none());
    let is_lost = |(slot, v): &(usize, ValueId)| is_float(graph, *v) && !gives(*slot) && *slot == 0;
    let takes_none = !operands.iter().any(|(s, v)| is_float(graph, *v) && takes(*s))
        && !results.iter().any(|(s, v)| is_float(graph, *v) && gives(*s));
    let stays = if let Some(why) = asked.excluded.get(&node) {
        Some(why.clone())
    } else if let Some(why) = keeps(&call, asked.fit) {
        Some(why.to_string())
    } else if computes_integers(&call) {
        Some("it computes with integers".into())
    } else if counting.contains(&node) {
        Some("sizes or counts follow from it".into())
    } else if slots.is_none() {
        Some("nothing is known of an operator of another domain".into())
    } else if no_tensor {
        Some("it has to do with values of unknown types".into())
    } else if takes_none || results.iter().any(is_lost) {
        Some(came_with(slots.as_ref().and_then(Slots::since), asked.fit.half))
    } else if let Some(why) = filled(call.node()).and_then(|t| asked.fit.refuses(t, Role::Number)) {
        Some(why)
    } else if !asked.bodies && call.node().scope() != ScopeId::MAIN {
        Some("nothing is known of what tensors within a body hold".into())
    } else {
        None
    };
    let constants = operands.iter().filter_map(|(_, v)| graph.constant(*v));
    let bytes: usize = constants.map(crate::ir::Tensor::stored_bytes).sum();
    let worth = CHEAP + if is_work(call.node()) { WORK } else { 0 } + (bytes as u64 / 256).min(WORK);
    let cell = found.add(Facts { node: Some(node), stays, worth, ..Facts::default() });
    for &(slot, _) in operands.iter().filter(|(_, v)| is_float(graph, *v)) {
        found.reads.insert(User::Node(node, slot), if takes(slot) { cell } else { FLOAT });
    }
    for &(slot, value) in results.iter().filter(|(_, v)| is_float(graph, *v)) {
        found.makes.insert(value, if gives(slot) { cell } else { FLOAT });
    }
}

/// What a node that runs bodies hands into them, from one run of a body to the next, and out of them.
fn handed_over(graph: &Graph, node: NodeId, asked: &Asked<'_>, found: &mut Cells) {
    let n = graph.node(node);
    let mut groups: Vec<(Vec<ValueId>, Vec<User>)> = Vec::new();
    let outputs = |scope: ScopeId, index: usize| {
        let there = index < graph.scope(scope).outputs().len();
        there.then_some(User::Output(scope, index))
    };
    let result = |slot: usize| graph.result(node, slot);
    match n.op {
        OpKind::If => {
            for slot in 0..graph.results(node).len() {
                let users = n.bodies().filter_map(|scope| outputs(scope, slot)).collect();
                groups.push((result(slot).into_iter().collect(), users));
            }
        }
        OpKind::Loop | OpKind::Scan => {
            let Some(scope) = body(n, "body") else { return };
            let inputs = graph.scope(scope).inputs();
            let (skipped, first) = if n.op == OpKind::Loop { (2, 1) } else { (0, 0) };
            let scanned = if n.op == OpKind::Scan { NUM_SCAN_INPUTS.of(n) } else { 0 };
            let scanned = usize::try_from(scanned).unwrap_or(0);
            let states = inputs.len().saturating_sub(skipped + scanned);
            for state in 0..states {
                let makes = inputs.get(skipped + state).copied().into_iter().chain(result(state)).collect();
                let carried = User::Node(node, skipped + state);
                let given = graph.operand(node, skipped + state).map(|_| carried);
                groups.push((makes, given.into_iter().chain(outputs(scope, first + state)).collect()));
            }
            for at in states..states + scanned {
                let given = graph.operand(node, at).map(|_| User::Node(node, at));
                groups.push((inputs.get(at).copied().into_iter().collect(), given.into_iter().collect()));
            }
            for at in states..graph.results(node).len() {
                groups.push((result(at).into_iter().collect(), outputs(scope, first + at).into_iter().collect()));
            }
        }
        _ => {}
    }
    let stays = (!asked.bodies).then(|| "nothing is known of what tensors within a body hold".to_string());
    for (makes, users) in groups {
        let read = |user: &User| match *user {
            User::Node(node, slot) => graph.operand(node, slot),
            User::Output(scope, index) => Some(graph.scope(scope).outputs()[index].value()),
        };
        let all_float = makes.iter().copied().chain(users.iter().filter_map(read)).all(|v| is_float(graph, v));
        if !all_float {
            continue;
        }
        let cell = found.add(Facts { stays: stays.clone(), worth: CHEAP, ..Facts::default() });
        found.makes.extend(makes.into_iter().map(|v| (v, cell)));
        found.reads.extend(users.into_iter().map(|user| (user, cell)));
    }
    // What is none of these, such as the elements of sequences.
    for value in graph.results(node).iter().copied().flatten().filter(|v| is_float(graph, *v)) {
        found.makes.entry(value).or_insert(FLOAT);
    }
    for (slot, value) in graph.operands(node).enumerate() {
        if value.is_some_and(|v| is_float(graph, v)) {
            found.reads.entry(User::Node(node, slot)).or_insert(FLOAT);
        }
    }
}

/// Whose tensors do not fit stays float32.
fn judge(graph: &Graph, asked: &Asked<'_>, found: &mut Cells) {
    let mut why: FxHashMap<Cell, String> = FxHashMap::default();
    for (&value, &cell) in &found.makes {
        if let Some(reason) = asked.fit.exceeds(value).filter(|_| cell != FLOAT) {
            why.entry(cell).or_insert(reason);
        }
    }
    let mut judged: FxHashMap<(ValueId, Role), Option<String>> = FxHashMap::default();
    for (user, &cell) in &found.reads {
        let value = match *user {
            User::Node(node, slot) => graph.operand(node, slot),
            User::Output(scope, index) => Some(graph.scope(scope).outputs()[index].value()),
        };
        let Some(value) = value.filter(|_| cell != FLOAT) else { continue };
        let reason = match (graph.value(value).origin(), graph.constant(value)) {
            (Origin::Constant, Some(tensor)) => {
                let role = asked.fit.role(graph, value, *user);
                judged.entry((value, role)).or_insert_with(|| asked.fit.refuses(tensor, role)).clone()
            }
            _ => asked.fit.exceeds(value),
        };
        if let Some(reason) = reason {
            why.entry(cell).or_insert(reason);
        }
    }
    for (cell, reason) in why {
        let facts = &mut found.facts[cell];
        facts.must = false;
        facts.stays.get_or_insert(reason);
    }
}
