//! What a run did, as data. Only the command line renders it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::interface::Interface;
use crate::proof::Proof;
use crate::quantize::Summary;
use crate::rewrite::Exactness;
use crate::stages::Stand;
use crate::survey::Finding;

/// What one step did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Step {
    /// The pass.
    pub pass: String,
    /// Nodes before, bodies included.
    pub nodes_before: usize,
    /// Nodes after, bodies included.
    pub nodes_after: usize,
    /// Wall time.
    pub seconds: f64,
    /// How often each rule or action fired.
    pub applied: BTreeMap<String, usize>,
    /// Where rules held back: rule, reason, how often.
    pub declined: BTreeMap<String, BTreeMap<String, usize>>,
    /// How often a newer opset than the model's would have let a rule fire, by that opset.
    pub wanting_opset: BTreeMap<u32, usize>,
    /// The loosest exactness among what fired.
    pub exactness: Exactness,
}

impl Step {
    /// Count one firing.
    pub fn fired(&mut self, what: &str) {
        self.fired_times(what, 1);
    }

    /// Count several firings.
    pub fn fired_times(&mut self, what: &str, times: usize) {
        if times > 0 {
            *self.applied.entry(what.to_string()).or_default() += times;
        }
    }

    /// Count one reason for holding back.
    pub fn held_back(&mut self, rule: &str, why: &str) {
        *self.declined.entry(rule.to_string()).or_default().entry(why.to_string()).or_default() += 1;
    }

    /// Count one rule that `opset` would have let fire.
    pub fn wants_opset(&mut self, opset: u32) {
        *self.wanting_opset.entry(opset).or_default() += 1;
    }

    /// Whether anything fired.
    pub fn changed(&self) -> bool {
        !self.applied.is_empty()
    }
}

/// What a model holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Census {
    /// Nodes, bodies included.
    pub nodes: usize,
    /// Nodes by operator.
    pub ops: BTreeMap<String, usize>,
    /// Elements of constants.
    pub parameters: u64,
    /// Bytes of constants.
    pub parameter_bytes: u64,
    /// Multiply-accumulates of one run, where every shape on the way is a number.
    pub macs: Option<u64>,
    /// Bytes of the file with its external data.
    pub file_bytes: u64,
}

/// What was asked of a model before optimizing it.
#[derive(Clone, Debug, Serialize)]
pub struct Edit {
    /// What was done.
    pub what: String,
    /// Whether the edited model computes what it should of the original; not asked where there is nothing to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What a run did to a model.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The target, as `--target` calls it.
    pub target: String,
    /// The opset of the default domain that the model is written in.
    pub opset: i64,
    /// What was asked of the model, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
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
    /// What became of a model that was pruned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruning: Option<crate::prune::Summary>,
    /// What became of a model whose weights got zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity: Option<crate::sparsify::Summary>,
    /// What became of a model whose layers got a precision each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignment: Option<crate::assign::Summary>,
    /// What became of a model that got integers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Summary>,
    /// What became of a model that got halves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<crate::precision::Summary>,
    /// How the model stood behind each stage, and before the first; none where there was no stage.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stand>,
    /// What became of a model whose weights got few bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low_bits: Option<crate::lowbit::Summary>,
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
