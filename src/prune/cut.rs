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

    /// What this cut, of the whole, leaves of what `before` left of it.
    ///
    /// What `before` took is gone: this cut takes at least as much.
    #[must_use]
    pub fn behind(&self, before: &Cut) -> Cut {
        let mut rest = Cut::default();
        for (&(value, axis), kept) in &self.kept {
            let Some(was) = before.kept(value, axis) else {
                rest.keep(value, axis, kept.clone());
                continue;
            };
            let places: Arc<[usize]> = kept.iter().filter_map(|index| was.binary_search(index).ok()).collect();
            if places.len() < was.len() {
                rest.keep(value, axis, places);
            }
        }
        rest
    }

    /// Forget what is cut of tensors of which `is_there` does not hold.
    pub fn retain(&mut self, is_there: impl Fn(ValueId) -> bool) {
        self.kept.retain(|&(value, _), _| is_there(value));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Graph, ScopeId, Shape, Type};

    #[test]
    fn a_cut_after_another_counts_what_is_left() {
        let mut graph = Graph::default();
        let x = graph.add_input(ScopeId::MAIN, "x", Type::tensor(DType::F32, Shape::known(&[6, 3])));
        let (mut first, mut then) = (Cut::default(), Cut::default());
        first.keep(x, 0, vec![0, 2, 3, 5]);
        then.keep(x, 0, vec![2, 5]);
        then.keep(x, 1, vec![1]);
        let rest = then.behind(&first);
        assert_eq!((rest.kept(x, 0), rest.kept(x, 1)), (Some(&[1, 3][..]), Some(&[1][..])));
        assert!(then.behind(&then).is_empty());
    }
}
