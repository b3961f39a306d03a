//! Which cells have halves: with the fewest `Cast`s, as the greatest flow through a network tells.

use rustc_hash::FxHashSet;

use crate::ir::Graph;
use crate::min_cut::{NEVER, Network, SINK as FLOATS, SOURCE as HALVES};
use crate::precision::cells::{CHEAP, Cell, Cells, FLOAT};

/// What a `Cast` costs.
pub(super) const CAST: u64 = 16;

/// For each cell whether it has halves.
///
/// A tensor that is made in one type and read in the other by anyone costs one `Cast`. A cheap call next to what stays
/// float32 stays too where that saves one; a product never does.
pub(super) fn sides(graph: &Graph, cells: &Cells) -> Vec<bool> {
    let mut network = Network::new(cells.facts.len().saturating_sub(1));
    let at = |cell: Cell| if cell == FLOAT { FLOATS } else { cell + 1 };
    for (cell, facts) in cells.facts.iter().enumerate().skip(1) {
        if facts.stays.is_some() {
            network.arc(at(cell), FLOATS, NEVER);
        } else if facts.leans {
            network.arc(at(cell), FLOATS, CHEAP);
        } else {
            network.arc(HALVES, at(cell), if facts.must { NEVER } else { facts.worth });
        }
    }
    for (&value, &maker) in &cells.makes {
        let users = graph.value(value).users();
        let readers: FxHashSet<Cell> = users.iter().filter_map(|user| cells.reads.get(user)).copied().collect();
        let mut readers: Vec<Cell> = readers.into_iter().filter(|&reader| reader != maker).collect();
        readers.sort_unstable();
        match readers[..] {
            [] => {}
            [reader] => {
                network.arc(at(maker), at(reader), CAST);
                network.arc(at(reader), at(maker), CAST);
            }
            _ => {
                // Paid once, however many read the other type.
                let (to_float, to_half) = (network.node(), network.node());
                network.arc(at(maker), to_float, CAST);
                network.arc(to_half, at(maker), CAST);
                for reader in readers {
                    network.arc(to_float, at(reader), NEVER);
                    network.arc(at(reader), to_half, NEVER);
                }
            }
        }
    }
    match network.part() {
        Some(parted) => (0..cells.facts.len()).map(|cell| cell != FLOAT && parted[at(cell)]).collect(),
        // Too knotted: halves wherever they may be.
        None => {
            cells.facts.iter().enumerate().map(|(cell, f)| cell != FLOAT && f.stays.is_none() && !f.leans).collect()
        }
    }
}
