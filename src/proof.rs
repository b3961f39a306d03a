//! The proof that a result computes what its original does: both are run on the same inputs and compared. Where they
//! differ, the first edit at fault is found by making fewer and fewer of them.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::model::Model;
use crate::rewrite::Exactness;

/// Runs two models and compares what they compute.
pub trait Judge: Send + Sync {
    /// Compare `result` with `original`, whose outputs may differ by what `exactness` allows. Start nothing new after
    /// `until`.
    fn judge(&self, original: &Model, result: &Model, exactness: Exactness, until: Instant) -> Verdict;
}

/// What comparing two models has shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// Every output was the same, within what is allowed.
    Equal {
        /// What ran the models.
        engine: String,
        /// How many sets of inputs were run.
        runs: usize,
        /// The largest difference of two elements, as a part of what is allowed; 0 when every bit was the same.
        worst: f64,
        /// What was not run, and why.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        missing: Vec<String>,
    },
    /// An output was not the same.
    Different {
        /// What ran the models.
        engine: String,
        /// Where and by how much.
        differences: Vec<String>,
    },
    /// The models could not be compared.
    Unknown {
        /// Why not.
        why: String,
    },
    /// There is nothing to compare: no edit was made.
    Unchanged,
}

/// Verdict and cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    /// What has been shown.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Wall time.
    pub seconds: f64,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Equal { engine, runs, worst, missing } => {
                let how = if *worst == 0.0 { "bit for bit" } else { "up to rounding" };
                let sets = if *runs == 1 { "one set".into() } else { format!("{runs} sets") };
                write!(f, "equal {how} on {sets} of inputs ({engine})")?;
                if !missing.is_empty() {
                    write!(f, "; not run: {}", missing.join("; "))?;
                }
                Ok(())
            }
            Verdict::Different { engine, .. } => write!(f, "different ({engine})"),
            Verdict::Unknown { why } => write!(f, "not checked: {why}"),
            Verdict::Unchanged => f.write_str("nothing was changed"),
        }
    }
}

/// How long a proof may take.
pub const BUDGET: Duration = Duration::from_secs(20);

/// The number of the first of `total` edits with which results differ; `differs` makes that many edits and compares,
/// and gives up with `None`.
///
/// Edits build on each other, so with ever fewer of them there is one that makes the difference first. Where several
/// are at fault, it is one of them.
pub fn first_guilty(total: u64, mut differs: impl FnMut(u64) -> Option<bool>) -> Option<u64> {
    // With `equal` edits results are equal, with `different` they are not.
    let (mut equal, mut different) = (0, total);
    while different - equal > 1 {
        let middle = equal + (different - equal) / 2;
        if differs(middle)? { different = middle } else { equal = middle }
    }
    (total > 0).then_some(different)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_edit_at_fault_is_found_in_few_tries() {
        for total in [1, 2, 7, 100_000] {
            for guilty in [1, total / 3 + 1, total] {
                let mut tries = 0;
                let found = first_guilty(total, |n| {
                    tries += 1;
                    Some(n >= guilty)
                });
                assert_eq!(found, Some(guilty));
                assert!(tries <= 17, "{tries} tries among {total}");
            }
        }
        assert_eq!(first_guilty(0, |_| Some(true)), None);
        assert_eq!(first_guilty(9, |_| None), None);
    }

    #[test]
    fn a_verdict_is_one_line() {
        let equal = |runs, worst| Verdict::Equal { engine: "tract".into(), runs, worst, missing: Vec::new() };
        assert_eq!(equal(1, 0.0).to_string(), "equal bit for bit on one set of inputs (tract)");
        assert_eq!(equal(2, 0.1).to_string(), "equal up to rounding on 2 sets of inputs (tract)");
    }
}
