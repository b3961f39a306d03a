//! What a layer's loss is.

use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::quality::loss::Heads;

/// What a layer's loss is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Of outputs that are scores of classes [`Measure::Kl`], of others [`Measure::Nmse`].
    #[default]
    Auto,
    /// The divergence of Kullback and Leibler, in nats: how much the probabilities of classes changed.
    Kl,
    /// Power of the error over power of the output.
    Nmse,
    /// The same of the layer's own result: what it does to outputs is not looked at.
    Local,
    /// The same of the layer's weights: nothing is run.
    Weights,
}

impl Measure {
    /// What is compared of a model's outputs.
    pub(super) fn heads(self, model: &Model) -> Heads {
        match self {
            Measure::Auto | Measure::Kl => Heads::of(model),
            Measure::Nmse | Measure::Local | Measure::Weights => Heads::as_numbers(model),
        }
    }
}
