//! Which indices of a call's axes stand or fall together: what a structural pruner must know of an operator.
//!
//! A call's ties name axes of its operands and results. To take an index out of one axis, the indices tied to it must
//! go too; what is left computes what the call computed with the contracted operands masked by zero there. An axis that
//! no tie names keeps all of its indices. So a row without ties claims nothing, and fails safe.

use smallvec::SmallVec;

use crate::ir::Int;
use crate::ops::window::groups;
use crate::ops::{CallView, Channels};

/// An operand or a result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// The operand in this slot.
    Operand(usize),
    /// The result in this slot.
    Result(usize),
}

/// An axis of an operand or a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// Whose axis it is.
    pub port: Port,
    /// Which axis.
    pub axis: usize,
}

impl End {
    /// `axis` of the operand in `slot`.
    pub const fn operand(slot: usize, axis: usize) -> End {
        End { port: Port::Operand(slot), axis }
    }

    /// `axis` of the result in `slot`.
    pub const fn result(slot: usize, axis: usize) -> End {
        End { port: Port::Result(slot), axis }
    }
}

/// One relation between indices of axes.
///
/// A left-out operand or result that a tie names is no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tie {
    /// Index `i` of the one axis is index `i` of the other.
    Same(End, End),
    /// The same of two operands, and the call sums over it: an index at which either is zero may be left out.
    Contracted(End, End),
    /// The call sums over this axis of a single operand: an index at which it is zero may be left out.
    Summed(End),
    /// Index `i` of `to` is index `indices[i]` of `from`.
    Picked {
        /// The axis picked from.
        from: End,
        /// The axis of picked indices.
        to: End,
        /// Which.
        indices: Vec<usize>,
    },
    /// The indices of `parts`, one axis after another, are those of `whole`.
    Joined {
        /// The long axis.
        whole: End,
        /// The short axes.
        parts: SmallVec<[End; 4]>,
    },
    /// Each axis falls into `count` equal runs; the indices of run `r`, in all of the axes, stand or fall as one.
    Runs {
        /// The axes.
        ends: SmallVec<[End; 4]>,
        /// How many runs.
        count: usize,
    },
    /// The channels of a convolution in `groups` groups, which may lose groups, or the same indices of each group.
    Grouped {
        /// How many groups there are.
        groups: usize,
        /// The weight's axis that counts the channels of all groups, the bias, and what they belong to.
        wide: SmallVec<[End; 4]>,
        /// The weight's axis that counts the channels of one group.
        narrow: End,
        /// The channels of all groups that `narrow` has one group's of.
        other: End,
    },
    /// Operand 0 and result 0 have the same elements in the same order.
    View,
}

/// What is related in a call.
pub type Ties = Vec<Tie>;

/// The ties that follow from how channels travel.
pub fn of_channels(call: &CallView<'_>) -> Ties {
    let results = call.graph().results(call.id()).len();
    match (super::row_of(call.node()).channels)(call) {
        Channels::Barrier => Ties::new(),
        Channels::Tied => (0..results).flat_map(|slot| broadcast(call, 0..call.operand_count(), slot)).collect(),
        Channels::Mixed { weight, input: (x, 1), bias, output: 1, .. } => {
            convolution(call, x, weight, bias.unwrap_or(usize::MAX))
        }
        Channels::Mixed { .. } => Ties::new(),
        Channels::PerChannel { axis, parameters } => {
            let mut ties = same_axes(call, |_| true);
            ties.extend(parameters.iter().map(|&slot| Tie::Same(End::result(0, axis), End::operand(slot, 0))));
            ties
        }
        // Statistics change with every index, of the result too, so that nothing is tied along these axes.
        Channels::Normalized { axes, groups: 1, .. } => same_axes(call, |axis| !axes.contains(&axis)),
        Channels::Normalized { axes, groups, parameters } => {
            let mut ties = same_axes(call, |axis| !axes.contains(&axis));
            if let Some(&axis) = axes.first() {
                let mut ends: SmallVec<[End; 4]> = SmallVec::from_slice(&[End::operand(0, axis), End::result(0, axis)]);
                ends.extend(parameters.iter().map(|&slot| End::operand(slot, 0)));
                ties.push(Tie::Runs { ends, count: groups });
            }
            ties
        }
        Channels::Moved(axes) => {
            let moved = |slot| {
                let axes = axes.iter().enumerate();
                axes.filter_map(move |(to, from)| Some(Tie::Same(End::operand(0, (*from)?), End::result(slot, to))))
            };
            (0..results).flat_map(moved).collect()
        }
        Channels::Joined { axis } => {
            let count = call.operand_count();
            let mut ties: Ties = (0..count).flat_map(|slot| beside(call, slot, 0, axis)).collect();
            let parts = (0..count).map(|slot| End::operand(slot, axis)).collect();
            ties.push(Tie::Joined { whole: End::result(0, axis), parts });
            ties
        }
        Channels::Parted { axis } => {
            let mut ties: Ties = (0..results).flat_map(|slot| beside(call, 0, slot, axis)).collect();
            let parts = (0..results).map(|slot| End::result(slot, axis)).collect();
            ties.push(Tie::Joined { whole: End::operand(0, axis), parts });
            ties
        }
    }
}

/// The axes of operand and result but for `axis`, index by index.
fn beside(call: &CallView<'_>, operand: usize, result: usize, axis: usize) -> Ties {
    let rank = call.rank(operand).unwrap_or(0);
    let others = (0..rank).filter(|&at| at != axis);
    others.map(|at| Tie::Same(End::operand(operand, at), End::result(result, at))).collect()
}

/// Operand 0 and result 0 index by index, along the axes of which `passes` holds.
pub fn same_axes(call: &CallView<'_>, passes: impl Fn(usize) -> bool) -> Ties {
    let rank = call.rank(0).unwrap_or(0);
    (0..rank).filter(|&axis| passes(axis)).map(|axis| Tie::Same(End::operand(0, axis), End::result(0, axis))).collect()
}

/// Operands whose axes are those of the result in `slot`, aligned from the last; an axis of size 1 serves every index.
pub fn broadcast(call: &CallView<'_>, operands: impl IntoIterator<Item = usize>, slot: usize) -> Ties {
    let Some(rank) = call.result_dims(slot).map(<[Int]>::len) else { return Ties::new() };
    let mut ties = Ties::new();
    for operand in operands {
        let Some(dims) = call.dims(operand) else { continue };
        let Some(missing) = rank.checked_sub(dims.len()) else { continue };
        for (axis, dim) in dims.iter().enumerate() {
            if dim.known() != Some(1) {
                ties.push(Tie::Same(End::operand(operand, axis), End::result(slot, missing + axis)));
            }
        }
    }
    ties
}

/// A convolution of operand `x` with weight `w` `[M, C/group, …]` and bias `b`, where that is given.
pub fn convolution(call: &CallView<'_>, x: usize, w: usize, b: usize) -> Ties {
    convolution_with(call, x, w, &[b])
}

/// A convolution of operand `x` with weight `w` and further operands, where they are given, that are vectors of an
/// element per output channel.
pub fn convolution_with(call: &CallView<'_>, x: usize, w: usize, vectors: &[usize]) -> Ties {
    convolved(call, x, vectors, End::operand(w, 0), End::operand(w, 1), false)
}

/// A transposed convolution of operand `x` with weight `w` `[C, M/group, …]` and bias `b`, where that is given.
pub fn transposed_convolution(call: &CallView<'_>, x: usize, w: usize, b: usize) -> Ties {
    convolved(call, x, &[b], End::operand(w, 0), End::operand(w, 1), true)
}

fn convolved(call: &CallView<'_>, x: usize, vectors: &[usize], full: End, part: End, is_transposed: bool) -> Ties {
    let (input, output) = (End::operand(x, 1), End::result(0, 1));
    let mut ties = vec![Tie::Same(End::operand(x, 0), End::result(0, 0))];
    let given = vectors.iter().filter(|&&slot| slot < call.operand_count() && call.has(slot));
    let vectors: SmallVec<[End; 4]> = given.map(|&slot| End::operand(slot, 0)).collect();
    let groups = groups(call);
    match groups {
        None => {}
        Some(1) => {
            let (of_input, of_output) = if is_transposed { (full, part) } else { (part, full) };
            ties.push(Tie::Contracted(input, of_input));
            ties.push(Tie::Same(of_output, output));
            ties.extend(vectors.iter().map(|&vector| Tie::Same(vector, output)));
        }
        Some(groups) => {
            let (mine, other) = if is_transposed { (input, output) } else { (output, input) };
            let mut wide: SmallVec<[End; 4]> = SmallVec::from_slice(&[full, mine]);
            if is_transposed {
                ties.extend(vectors.iter().map(|&vector| Tie::Same(vector, output)));
            } else {
                wide.extend(vectors);
            }
            ties.push(Tie::Grouped { groups, wide, narrow: part, other });
        }
    }
    ties
}

/// A matrix product of operands `a` and `b` with numpy's rank cases.
pub fn product(call: &CallView<'_>, a: usize, b: usize) -> Ties {
    product_of(call, (a, false), (b, false))
}

/// A matrix product of operands, each with whether its last two axes are turned around first.
pub fn product_of(call: &CallView<'_>, (a, turns_a): (usize, bool), (b, turns_b): (usize, bool)) -> Ties {
    let (Some(rank_a), Some(rank_b), Some(rank)) = (call.rank(a), call.rank(b), call.result_dims(0).map(<[Int]>::len))
    else {
        return Ties::new();
    };
    if rank_a == 0 || rank_b == 0 {
        return Ties::new();
    }
    // Of a vector there is one axis only.
    let last = |slot: usize, rank: usize, back: usize| End::operand(slot, rank.saturating_sub(back));
    let (inner_a, rows) = if turns_a && rank_a >= 2 { (2, 1) } else { (1, 2) };
    let (inner_b, columns) = if turns_b && rank_b >= 2 { (1, 2) } else { (2, 1) };
    let mut ties = vec![Tie::Contracted(last(a, rank_a, inner_a), last(b, rank_b, inner_b))];
    let batch = rank_a.max(rank_b).saturating_sub(2);
    if rank_a >= 2 {
        ties.push(Tie::Same(last(a, rank_a, rows), End::result(0, batch)));
    }
    if rank_b >= 2 {
        ties.push(Tie::Same(last(b, rank_b, columns), End::result(0, rank - 1)));
    }
    for (slot, of) in [(a, rank_a), (b, rank_b)] {
        let own = of.saturating_sub(2);
        for axis in 0..own {
            if call.dims(slot).is_some_and(|dims| dims[axis].known() != Some(1)) {
                ties.push(Tie::Same(End::operand(slot, axis), End::result(0, batch - own + axis)));
            }
        }
    }
    ties
}

/// Indices of longer axes are not told apart: a file of a few bytes can speak of any number of them.
pub const MOST_INDICES: usize = 1 << 20;

/// The size of an axis as a number, of no more than [`MOST_INDICES`].
pub fn size(call: &CallView<'_>, end: End) -> Option<usize> {
    let dims = match end.port {
        Port::Operand(slot) => call.dims(slot),
        Port::Result(slot) => call.result_dims(slot),
    };
    usize::try_from(dims?.get(end.axis)?.known()?).ok().filter(|&size| size <= MOST_INDICES)
}
