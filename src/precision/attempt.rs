//! One way to give a model halves: what becomes one, what stays and why, and what that computes.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{DType, Graph, NodeId, ScopeId, ValueId};
use crate::model::Model;
use crate::precision::Fit;
use crate::precision::cells::{Asked, Cell, Cells, FLOAT, cells};
use crate::precision::emit::emit;
use crate::precision::leaning::lean;
use crate::precision::rehearse::rehearse;
use crate::precision::sides::sides;
use crate::precision::summary::Kept;

/// One way to do it.
pub(super) struct Attempt {
    pub model: Model,
    /// What it computes, in float32.
    pub rehearsal: Model,
    pub halves: usize,
    pub floats: usize,
    pub casts: usize,
    pub kept: Vec<Kept>,
    /// Whether calls in bodies have halves.
    pub in_bodies: bool,
    cells: Cells,
    is_half: Vec<bool>,
}

impl Attempt {
    /// Halves in `float` wherever they pay of what is asked for.
    pub(super) fn new(float: &Model, asked: &Asked<'_>) -> Attempt {
        let mut model = float.clone();
        let fit = asked.fit;
        let mut cells = cells(&model.graph, asked);
        if let Some(layers) = asked.layers {
            lean(&model.graph, layers, &mut cells);
        }
        let is_half = sides(&model.graph, &cells);
        let kept = kept(&model.graph, &cells);
        let nodes = |is: bool| {
            let of = cells.facts.iter().enumerate().filter(move |(cell, _)| *cell != FLOAT);
            of.filter(|(cell, _)| is_half[*cell] == is).filter_map(|(_, facts)| facts.node).collect::<Vec<NodeId>>()
        };
        let (halves, floats) = (nodes(true), nodes(false).len());
        let in_bodies = halves.iter().any(|&n| model.graph.node(n).scope() != ScopeId::MAIN);
        let mut rehearsal = model.clone();
        rehearse(&mut rehearsal.graph, &cells, &is_half, fit);
        let written = emit(&mut model.graph, &cells, &is_half, fit);
        let (halves, casts) = (halves.len(), written.casts);
        Attempt { model, rehearsal, halves, floats, casts, kept, in_bodies, cells, is_half }
    }

    /// Calls of the main graph that have halves, in order.
    pub(super) fn calls(&self, float: &Graph) -> Vec<Cell> {
        let is_main = |node: NodeId| float.node(node).scope() == ScopeId::MAIN;
        let is_call = |cell: Cell| self.is_half[cell] && self.cells.facts[cell].node.is_some_and(is_main);
        (0..self.cells.facts.len()).filter(|&cell| is_call(cell)).collect()
    }

    /// The node of a call.
    pub(super) fn node(&self, call: Cell) -> Option<NodeId> {
        self.cells.facts[call].node
    }

    /// `float` with these calls of the main graph in halves and no others, as it computes in float32.
    pub(super) fn rehearsed(&self, float: &Model, fit: &Fit, calls: &[Cell]) -> Model {
        let mut is_half = vec![false; self.is_half.len()];
        calls.iter().for_each(|&call| is_half[call] = true);
        let mut rehearsal = float.clone();
        rehearse(&mut rehearsal.graph, &self.cells, &is_half, fit);
        rehearsal
    }
}

/// Why a call stays that reads a weight of one that does.
pub(super) const SHARED: &str = "its weight stays for others, and would be there twice";

/// Bytes of a weight that is not to be there twice.
const WORTH: usize = 1024;

/// Other calls that read a weight which one of these reads.
pub(super) fn sharing(graph: &Graph, staying: &FxHashMap<NodeId, String>) -> Vec<NodeId> {
    let is_weight = |value: &ValueId| {
        graph.constant(*value).is_some_and(|tensor| tensor.dtype() == DType::F32 && tensor.stored_bytes() >= WORTH)
    };
    let weights: FxHashSet<ValueId> =
        staying.keys().flat_map(|&node| graph.operands(node).flatten()).filter(is_weight).collect();
    let reads = |node: &NodeId| graph.operands(*node).flatten().any(|value| weights.contains(&value));
    graph.nodes().filter(|node| !staying.contains_key(node) && reads(node)).collect()
}

/// What had to stay.
fn kept(graph: &Graph, cells: &Cells) -> Vec<Kept> {
    let mut kept = Kepts::default();
    for facts in &cells.facts {
        let (Some(node), Some(why)) = (facts.node, &facts.stays) else { continue };
        kept.add(graph.node(node).op_name().to_string(), why.clone(), graph.label(node));
    }
    kept.list()
}

/// Gathers nodes by operator and reason.
#[derive(Default)]
pub(super) struct Kepts(BTreeMap<(String, String), Vec<String>>);

impl Kepts {
    pub(super) fn add(&mut self, op: String, why: String, node: String) {
        self.0.entry((op, why)).or_default().push(node);
    }

    pub(super) fn count(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    pub(super) fn list(self) -> Vec<Kept> {
        self.0.into_iter().map(|((op, why), nodes)| Kept { op, why, nodes }).collect()
    }
}
