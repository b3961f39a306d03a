//! What lies between layers whose types are given: cheap calls, which follow the layers around them.
//!
//! Calls from layer to layer are one region. Where all layers at its border have halves, it has them too. Where one has
//! not, halves in it would bring errors that nobody asked for, and save next to nothing: calls of such a region stay
//! float32, but where halves save a `Cast`.

use rustc_hash::{FxHashMap, FxHashSet};

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
    // From what stands beside a layer that stays to all that is of its region.
    let mut near: FxHashMap<Cell, Vec<Cell>> = FxHashMap::default();
    let mut open: Vec<Cell> = Vec::new();
    for (cheap, other) in pairs.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).filter(|(cheap, _)| is_cheap(*cheap)) {
        if is_cheap(other) {
            near.entry(cheap).or_default().push(other);
        } else if is_layer(other) && cells.facts[other].stays.is_some() {
            open.push(cheap);
        }
    }
    while let Some(cell) = open.pop() {
        if !std::mem::replace(&mut cells.facts[cell].leans, true) {
            open.extend(near.remove(&cell).unwrap_or_default());
        }
    }
}
