//! Numbers that stand for minus infinity: what is added to scores so that a `Softmax` gives nothing to them.
//!
//! Exporters write −3.4e38 or −1e9, which no float16 holds. Where everything that such a constant is moved, chosen or
//! added into ends in a `Softmax`, half of the largest float16 does the same: `exp` of it is zero beside any score
//! that a half holds, and the sum with a score does not overflow.

use rustc_hash::FxHashSet;

use crate::ir::OpKind::{self, *};
use crate::ir::{DType, Graph, Origin, User, ValueId};

/// Constants that are such masks, and what is made of them on the way to a `Softmax`.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    constants: FxHashSet<ValueId>,
    values: FxHashSet<ValueId>,
}

/// Operators that a mask passes.
const PASSES: &[OpKind] = &[
    Where, Mul, Add, Sub, Expand, Tile, Unsqueeze, Squeeze, Reshape, Flatten, Transpose, Slice, Gather, Concat, Split,
    Identity, Trilu,
];

/// Values that are looked at on the way from one constant.
const FAR: usize = 4096;

impl Masks {
    /// Those of `graph` that hold numbers of a magnitude above `most`.
    pub(super) fn of(graph: &Graph, most: f64) -> Masks {
        let mut found = Masks::default();
        let is_large = |x: f64| x.is_finite() && x.abs() > most;
        for value in graph.values() {
            let Some(tensor) = graph.constant(value).filter(|t| t.dtype() == DType::F32) else { continue };
            let large = match tensor.uniform_real() {
                Some(element) => is_large(element),
                None => tensor.reals().is_some_and(|reals| reals.into_iter().any(is_large)),
            };
            if large && let Some(values) = ways_to_softmax(graph, value) {
                found.constants.insert(value);
                found.values.extend(values);
            }
        }
        found
    }

    /// Whether this is such a constant.
    pub(super) fn is_mask(&self, constant: ValueId) -> bool {
        self.constants.contains(&constant)
    }

    /// Whether what is large in this tensor is a mask.
    pub(super) fn is_masked(&self, value: ValueId) -> bool {
        self.values.contains(&value)
    }
}

/// What lies between `from` and the `Softmax`es that it ends in; nothing where it ends elsewhere, too.
fn ways_to_softmax(graph: &Graph, from: ValueId) -> Option<FxHashSet<ValueId>> {
    let (mut seen, mut open) = (FxHashSet::default(), vec![from]);
    while let Some(value) = open.pop() {
        for user in graph.value(value).users() {
            let User::Node(node, slot) = *user else { return None };
            let op = graph.node(node).op;
            if op == Softmax || reads_type(op) {
                continue;
            }
            let is_moved = PASSES.contains(&op) && graph.value(value).ty.dtype() == Some(DType::F32);
            // A mask is not taken from anything.
            if !is_moved || op == Sub && slot == 1 {
                return None;
            }
            for result in graph.results(node).iter().copied().flatten() {
                if seen.insert(result) {
                    open.push(result);
                }
            }
        }
        if seen.len() > FAR {
            return None;
        }
    }
    seen.retain(|&value| matches!(graph.value(value).origin(), Origin::Node(..)));
    (!seen.is_empty()).then_some(seen)
}

fn reads_type(op: OpKind) -> bool {
    matches!(op, Shape | Size)
}
