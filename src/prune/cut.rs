//! What remains of each tensor.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::ir::ValueId;

/// What remains of each tensor: for a value and an axis, the kept indices of the original axis, ascending.
///
/// Every tensor that loses something is named: activations, weights, biases, parameters of normalizations, scales. An
/// axis without an entry is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    kept: FxHashMap<(ValueId, usize), Arc<[usize]>>,
}

impl Cut {
    /// Of `axis` of `value`, keep these indices, ascending.
    pub fn keep(&mut self, value: ValueId, axis: usize, kept: impl Into<Arc<[usize]>>) {
        self.kept.insert((value, axis), kept.into());
    }

    /// What is kept of `axis` of `value`; `None` when the whole axis is.
    pub fn kept(&self, value: ValueId, axis: usize) -> Option<&[usize]> {
        self.kept.get(&(value, axis)).map(|kept| &**kept)
    }

    /// Whether nothing is cut.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Every axis with an entry, in the order of values and axes.
    pub fn iter(&self) -> impl Iterator<Item = (ValueId, usize, &Arc<[usize]>)> {
        let mut all: Vec<_> = self.kept.iter().map(|(&(value, axis), kept)| (value, axis, kept)).collect();
        all.sort_unstable_by_key(|&(value, axis, _)| (value, axis));
        all.into_iter()
    }
}

impl Extend<(ValueId, usize, Arc<[usize]>)> for Cut {
    fn extend<T: IntoIterator<Item = (ValueId, usize, Arc<[usize]>)>>(&mut self, entries: T) {
        self.kept.extend(entries.into_iter().map(|(value, axis, kept)| ((value, axis), kept)));
    }
}
