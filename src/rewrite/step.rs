//! An account of one step of a pipeline: what fired in it, where it held back, and how exact it was.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rule::Exactness;

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
