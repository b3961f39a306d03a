//! One call with what a [`Cut`] leaves of its operands and results.

use crate::ir::{Graph, NodeId, ValueId};
use crate::ops::{CallView, End, Port, Ties, row_of, ties};
use crate::prune::{Cut, Refused};

/// A call of the uncut graph.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) view: CallView<'a>,
    cut: &'a Cut,
}

impl<'a> Call<'a> {
    pub(super) fn new(graph: &'a Graph, node: NodeId, cut: &'a Cut) -> Call<'a> {
        Call { view: CallView::new(graph, node), cut }
    }

    /// The value at `port`; `None` where it is left out.
    pub(super) fn value(&self, port: Port) -> Option<ValueId> {
        match port {
            Port::Operand(slot) => self.view.operand(slot),
            Port::Result(slot) => self.view.graph().result(self.view.id(), slot),
        }
    }

    /// What is kept of an axis; `None` when all of it is, or it is not there.
    pub(super) fn kept(&self, end: End) -> Option<&'a [usize]> {
        self.cut.kept(self.value(end.port)?, end.axis)
    }

    /// What is kept of an axis of any value.
    pub(super) fn kept_of(&self, value: ValueId, axis: usize) -> Option<&'a [usize]> {
        self.cut.kept(value, axis)
    }

    /// The size of an axis before the cut, as a number.
    pub(super) fn size(&self, end: End) -> Option<usize> {
        ties::size(&self.view, end)
    }

    /// The size of an axis after the cut, as a number.
    pub(super) fn size_after(&self, end: End) -> Option<usize> {
        self.kept(end).map(<[usize]>::len).or_else(|| self.size(end))
    }

    /// The number of axes at `port`; 0 where that is not known.
    pub(super) fn rank(&self, port: Port) -> usize {
        let dims = self.value(port).and_then(|value| self.view.graph().value(value).ty.shape().rank());
        dims.unwrap_or(0)
    }

    /// Every axis of the operands and results that loses something.
    pub(super) fn ends(&self) -> Vec<End> {
        let operands = (0..self.view.operand_count()).map(Port::Operand);
        let results = (0..self.view.graph().results(self.view.id()).len()).map(Port::Result);
        let axes = |port| (0..self.rank(port)).map(move |axis| End { port, axis });
        operands.chain(results).flat_map(axes).filter(|&end| self.kept(end).is_some()).collect()
    }

    /// What the operator's row ties.
    pub(super) fn ties(&self) -> Ties {
        (row_of(self.view.node()).ties)(&self.view)
    }

    /// Why the call cannot be cut as asked, and what to do.
    pub(super) fn refuse(&self, why: impl Into<String>, hint: impl Into<String>) -> Refused {
        Refused { at: self.to_string(), why: why.into(), hint: hint.into() }
    }
}

impl std::fmt::Display for Call<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} \"{}\"", self.view.node().op_name(), self.view.graph().label(self.view.id()))
    }
}

/// How messages call an axis.
pub(super) fn name(end: End) -> String {
    match end.port {
        Port::Operand(slot) => format!("axis {} of operand {slot}", end.axis),
        Port::Result(slot) => format!("axis {} of result {slot}", end.axis),
    }
}
