//! What lies between layers whose types are given: cheap calls, which follow the layers around them.
//!
//! Calls from layer to layer are one region. Where all layers at its border have halves, it has them too. Where one has
//! not, halves in it would bring errors that nobody asked for, and save next to nothing: calls of such a region stay
//! float32, but where halves save a `Cast`.

use petgraph::unionfind::UnionFind;
use rustc_hash::FxHashSet;

use crate::ir::{Graph, NodeId};
use crate::precision::cells::{Cell, Cells, FLOAT};
use crate::precision::keep::is_work;

/// Mark the cells of `graph` that stay float32 unless halves save a `Cast`: those of regions next to one of `layers`
/// that stays.
pub(super) fn lean(graph: &Graph, layers: &FxHashSet<NodeId>, cells: &mut Cells) {
    let is_layer = |cell: Cell| cells.facts[cell].node.is_some_and(|node| layers.contains(&node));
    let is_cheap = |cell: Cell| {
        let facts = &cells.facts[cell];
        let is_product = facts.node.is_some_and(|node| is_work(graph.node(node)));
        cell != FLOAT && !is_layer(cell) && !is_product && facts.stays.is_none() && !facts.must
    };
    let mut pairs: Vec<(Cell, Cell)> = Vec::new();
    for (&value, &maker) in &cells.makes {
        let readers = graph.value(value).users().iter().filter_map(|user| cells.reads.get(user));
        pairs.extend(readers.map(|&reader| (maker, reader)));
    }
    let mut regions = UnionFind::<usize>::new(cells.facts.len());
    for &(a, b) in pairs.iter().filter(|(a, b)| is_cheap(*a) && is_cheap(*b)) {
        regions.union(a, b);
    }
    let mut beside_floats: FxHashSet<usize> = FxHashSet::default();
    for (cheap, other) in pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]) {
        if is_cheap(cheap) && is_layer(other) && cells.facts[other].stays.is_some() {
            beside_floats.insert(regions.find(cheap));
        }
    }
    let leaning: Vec<Cell> =
        (0..cells.facts.len()).filter(|&c| is_cheap(c) && beside_floats.contains(&regions.find(c))).collect();
    for cell in leaning {
        cells.facts[cell].leans = true;
    }
}
