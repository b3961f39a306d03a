//! What a run did, as data. Only the command line renders it.

use serde::Serialize;

use crate::census::Census;
use crate::edit::Confirmed;
use crate::interface::Interface;
use crate::proof::Proof;
use crate::rewrite::{Exactness, Step};
use crate::stages::{Accounts, Stand};
use crate::survey::Finding;

/// What a run did to a model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The target, as `--target` calls it.
    pub target: String,
    /// The opset of the default domain that the model is written in.
    pub opset: i64,
    /// What was asked of the model, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Confirmed>,
    /// Every step, in order.
    pub steps: Vec<Step>,
    /// The loosest exactness among what fired.
    pub exactness: Exactness,
    /// The model as it was.
    pub before: Census,
    /// The model as it is.
    pub after: Census,
    /// Its inputs and outputs.
    #[serde(flatten)]
    pub interface: Interface,
    /// Whether the result computes what the original does.
    pub proof: Proof,
    /// What each stage tells of itself.
    #[serde(flatten)]
    pub accounts: Accounts,
    /// How the model stood behind each stage, and before the first; none where there was no stage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stand>,
    /// What the target cannot run of the result, or runs badly.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What else there is to say, of the file or of the target.
    pub notes: Vec<String>,
}

impl Report {
    /// Whether something was said in other words for the target or the opset to have them.
    pub fn lowered(&self) -> bool {
        self.steps.iter().any(|s| s.pass == "lower" && s.changed())
    }

    /// Whether anything was changed.
    pub fn changed(&self) -> bool {
        self.steps.iter().any(Step::changed)
    }
}
