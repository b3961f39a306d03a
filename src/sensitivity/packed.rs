//! What the weights of a model's layers are as integers of few bits.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::ir::{Graph, NodeId, Tensor, ValueId};
use crate::lowbit::Trial;
use crate::model::Model;
use crate::sensitivity::{Precision, Sensitivity};

/// Bytes of weights that integers gave back which are kept to be asked for again.
const GIVEN_BACK: usize = 512 << 20;

/// The weights of one model as integers of few bits. Ids of values and nodes are that model's.
pub(crate) struct Packed {
    /// By precision: what weights are, or why none can be.
    trials: BTreeMap<Precision, Result<Trial, String>>,
    /// Weights that integers have given back, and how many bytes they take.
    given_back: Mutex<(usize, FxHashMap<(NodeId, Precision), (ValueId, Tensor)>)>,
}

impl Packed {
    /// The weights of `model`, in those precisions of few bits that are asked for.
    pub(super) fn of(asked: &Sensitivity, model: &Model) -> Packed {
        let is_asked = |precision: &Precision| asked.candidates.contains(precision) || asked.candidates.is_empty();
        let few = Precision::ALL.into_iter().filter(is_asked);
        let trials = few.filter_map(|precision| Some((precision, asked.trial(model, precision.few_bits()?))));
        Packed { trials: trials.collect(), given_back: Mutex::default() }
    }

    /// A weight of a layer of `graph` as integers of few bits give it back: the constant, and its new elements.
    pub(crate) fn weight(&self, graph: &Graph, node: NodeId, precision: Precision) -> Option<(ValueId, Tensor)> {
        let kept = || self.given_back.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept().1.get(&(node, precision)) {
            return Some(found.clone());
        }
        let found = self.trials.get(&precision)?.as_ref().ok()?.rounded(graph, node)?;
        let mut kept = kept();
        if kept.0.saturating_add(found.1.stored_bytes()) <= GIVEN_BACK {
            kept.0 += found.1.stored_bytes();
            kept.1.insert((node, precision), found.clone());
        }
        Some(found)
    }

    /// Have `to`, a layer's `node` or a copy of it, read what the target may round where the layer has integers of few
    /// bits.
    pub(crate) fn round_read(&self, graph: &mut Graph, node: NodeId, precision: Precision, to: NodeId) {
        if let Some(Ok(trial)) = self.trials.get(&precision) {
            trial.round_read(graph, node, to);
        }
    }

    /// Bytes of a layer's weight, by precision.
    pub(crate) fn bytes(&self, graph: &Graph, node: NodeId) -> BTreeMap<Precision, u64> {
        let of = |(&precision, trial): (&Precision, &Result<Trial, String>)| {
            Some((precision, trial.as_ref().ok()?.bytes(graph, node)?))
        };
        self.trials.iter().filter_map(of).collect()
    }

    /// Why the weight of a layer of `graph` cannot be such integers.
    pub(super) fn refuses(&self, graph: &Graph, node: NodeId, precision: Precision) -> Option<String> {
        match self.trials.get(&precision) {
            Some(Ok(trial)) => trial.refuses(graph, node),
            Some(Err(why)) => Some(why.clone()),
            None => Some("it was not tried".into()),
        }
    }
}
