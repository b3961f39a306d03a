//! One call while it is painted.

use std::sync::Arc;

use rustc_hash::FxHashSet;

use crate::ops::{CallView, End, Port};
use crate::prune::atoms::Atom;

/// An axis while its atoms are still being tied.
#[derive(Clone, Debug)]
pub(super) enum Label {
    Fixed,
    Of(Arc<[Atom]>),
}

/// The axes of a call's results, and which axes its ties name.
pub(super) struct Calling<'g> {
    pub(super) call: CallView<'g>,
    pub(super) results: Vec<Vec<Option<Label>>>,
    pub(super) named: FxHashSet<End>,
}

impl Calling<'_> {
    pub(super) fn result(&self, end: End) -> Option<&Option<Label>> {
        match end.port {
            Port::Result(slot) => self.results.get(slot)?.get(end.axis),
            Port::Operand(_) => None,
        }
    }

    pub(super) fn is_unset(&self, end: End) -> bool {
        matches!(self.result(end), Some(None))
    }

    pub(super) fn set(&mut self, end: End, label: Label) {
        if let Port::Result(slot) = end.port
            && let Some(place) = self.results.get_mut(slot).and_then(|axes| axes.get_mut(end.axis))
        {
            *place = Some(label);
        }
    }
}
