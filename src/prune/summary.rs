//! What became of a model that was pruned, to be told.

use serde::Serialize;

use crate::distill::Distilled;
use crate::exec::Verdict;
use crate::proof::summary;
use crate::prune::account::StopAccount;
use crate::prune::recover::{How, Recovered};
use crate::quality::Measured;

/// What became of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pruned {
    /// The layers that make its channels, by node.
    pub layers: Vec<String>,
    /// How many classes it had.
    pub before: usize,
    /// And how many are left.
    pub after: usize,
}

/// What became of a model that was pruned.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// What told which classes go first.
    pub importance: String,
    /// What became of each group.
    pub groups: Vec<Pruned>,
    /// Multiply-accumulates that are left, as a share.
    pub macs: f64,
    /// How the structure compares with the original in which removed channels are masked by zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structure: Option<Verdict>,
    /// What was done to give accuracy back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Recovered>,
    /// The distillation of the outputs, with what a trial of it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distilled: Option<Distilled>,
    /// Samples that decided how much of each group goes, where samples did.
    pub decided_on: usize,
    /// How far outputs are from the original's, on samples that both were run on. Where a note does not say otherwise,
    /// these decided nothing, and no weight was made from them.
    #[serde(flatten)]
    pub measured: Measured,
    /// Operators about whose channels nothing is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<StopAccount>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Summary {
    /// What was done, in lines.
    pub fn lines(&self) -> Vec<String> {
        let changed: Vec<&Pruned> = self.groups.iter().filter(|group| group.after < group.before).collect();
        let (before, after) = changed.iter().fold((0, 0), |n, group| (n.0 + group.before, n.1 + group.after));
        let mut lines = vec![format!(
            "{} of {} groups pruned by {}: {before} classes to {after}, {:.0} % of the multiply-accumulates left",
            changed.len(),
            self.groups.len(),
            self.importance,
            100.0 * self.macs
        )];
        if self.decided_on > 0 {
            lines.push(format!("how much of each group goes was decided on {} samples", self.decided_on));
        }
        if let Some(recovered) = &self.recovered {
            let better = recovered.layers.iter().filter(|layer| layer.how != How::Nothing).count();
            lines.push(format!(
                "{better} of {} layers repaired from {} samples",
                recovered.layers.len(),
                recovered.samples
            ));
        }
        if let Some(distilled) = &self.distilled {
            let trial = format!(
                "what outputs lose on {} others went from {:.3} to {:.3} in a trial",
                distilled.held_out, distilled.before, distilled.after
            );
            lines.push(match distilled.steps {
                0 => format!("not distilled: {trial}"),
                steps => format!("distilled in {steps} steps from {} samples: {trial}", distilled.samples),
            });
        }
        if let Some(verdict) = &self.structure {
            lines.push(format!("structure against the masked original: {}", summary(verdict)));
        }
        lines
    }
}
