//! Growth: edits may make one part of a file larger as long as the whole does not outgrow what it was.
//!
//! What is saved in one place (dead nodes, merged constants) may be spent in another (a mask computed once, a folded
//! weight), and a small file may grow a little. One allowance serves a whole run, so that many small additions cannot
//! add up.

use std::cell::Cell;

use rustc_hash::FxHashSet;

use crate::ir::{Data, Graph, OpKind};

/// How many bytes edits may still add.
#[derive(Debug)]
pub struct Growth {
    extra: usize,
    bounded: bool,
    limit: Cell<Option<usize>>,
    left: Cell<usize>,
}

/// Bytes that a node takes in a file, at least: operator, operand and result names.
pub(crate) const NODE_BYTES: usize = 48;

/// What a `ConstantOfShape` takes besides: an attribute with a tensor of the element that it repeats.
const REPEAT_BYTES: usize = 24;

/// No single edit adds more than this.
const MAX_EDIT: usize = 1 << 20;

impl Growth {
    /// The file may become up to `extra` bytes larger than it was.
    pub fn of(extra: usize) -> Growth {
        Growth { extra, bounded: true, limit: Cell::new(None), left: Cell::new(0) }
    }

    /// Edits that have to be made may add whatever they take.
    pub fn unbounded() -> Growth {
        Growth { bounded: false, ..Growth::of(0) }
    }

    /// Look at what the graph takes now. The first look sets the limit.
    pub fn measure(&self, graph: &Graph) {
        // A large uniform tensor is a node and its shape in the file, whether it has been folded here or not; those of
        // one shape share it.
        let mut shapes: FxHashSet<&[usize]> = FxHashSet::default();
        let mut now = NODE_BYTES * graph.node_count();
        now += REPEAT_BYTES * graph.nodes().filter(|&n| graph.node(n).op == OpKind::ConstantOfShape).count();
        for tensor in graph.values().filter_map(|v| graph.constant(v)) {
            now += match tensor.data() {
                Data::Splat(_) if shapes.insert(tensor.dims()) => {
                    NODE_BYTES + REPEAT_BYTES + tensor.rank() * size_of::<i64>()
                }
                Data::Splat(_) => NODE_BYTES + REPEAT_BYTES,
                Data::Raw(_) | Data::Strings(_) => tensor.stored_bytes(),
            };
        }
        let limit = self.limit.get().unwrap_or(now + self.extra);
        self.limit.set(Some(limit));
        self.left.set(limit.saturating_sub(now));
    }

    /// As [`Growth::take`], of what this run saved alone: a second run, which saves nothing, adds nothing.
    #[must_use]
    pub fn take_saved(&self, bytes: usize) -> bool {
        bytes.checked_add(self.extra).is_some_and(|needed| needed <= self.left.get()) && self.take(bytes)
    }

    /// Add `bytes` to the file, if they are still allowed.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        if !self.bounded {
            return true;
        }
        match self.left.get().checked_sub(bytes) {
            Some(left) if bytes <= MAX_EDIT => {
                self.left.set(left);
                true
            }
            _ => false,
        }
    }
}
