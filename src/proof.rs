//! The proof that a result computes what its original does: both are run on the same inputs and compared. Where they
//! differ, the first edit at fault is found by making fewer and fewer of them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::exec::{Account, Verdict};

/// What was found out of a result.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Proof {
    /// Original and result were run, or could not be.
    Run(Verdict),
    /// There was nothing to run.
    Without(Reason),
}

/// Why nothing was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Reason {
    /// No edit was made.
    Unchanged,
    /// Nobody wanted to know.
    NotAsked,
    /// No engine is built in.
    NoEngine,
}

/// How long comparing may take.
pub const BUDGET: Duration = Duration::from_secs(20);

impl Default for Proof {
    fn default() -> Proof {
        Proof::Without(Reason::NotAsked)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::Run(verdict) => f.write_str(&summary(verdict)),
            Proof::Without(Reason::Unchanged) => f.write_str("nothing was changed"),
            Proof::Without(Reason::NotAsked) => f.write_str("not checked"),
            Proof::Without(Reason::NoEngine) => f.write_str("not checked: no engine is built in"),
        }
    }
}

/// A verdict in one line.
pub fn summary(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Same(account) => {
            let exact = account.outputs.iter().all(|d| d.differing == 0);
            let how = if exact { "equal bit for bit" } else { "equal up to rounding" };
            let mut line = format!("{how} in {}", runs(account));
            if !account.notes.is_empty() {
                line.push_str("; ");
                line.push_str(&account.notes.join("; "));
            }
            line
        }
        Verdict::Different(account) => format!("different in {}", runs(account)),
        Verdict::Fails { reason, .. } => format!("the result does not run: {reason}"),
        Verdict::NotRun { reason } => format!("not checked: {reason}"),
    }
}

fn runs(account: &Account) -> String {
    let runs = match account.runs.len() {
        1 => "1 run".to_string(),
        n => format!("{n} runs"),
    };
    format!("{runs} of {}", account.engine)
}

/// Where two models differ and by how much, a line each. Empty for models that do not, as far as is known.
pub fn differences(verdict: &Verdict) -> Vec<String> {
    let fails = match verdict {
        Verdict::Same(_) | Verdict::NotRun { .. } => return Vec::new(),
        Verdict::Different(_) => None,
        Verdict::Fails { reason, .. } => Some(format!("the original runs, the result does not: {reason}")),
    };
    let outputs = verdict.account().into_iter().flat_map(|a| &a.outputs).filter(|d| !d.within);
    let outputs = outputs.map(|d| {
        let what = d.reason.as_deref().unwrap_or("it differs");
        match d.differing {
            0 | 1 => format!("output \"{}\": {what}", d.output),
            n => format!("output \"{}\": {what}; {n} of {} elements differ", d.output, d.elements),
        }
    });
    fails.into_iter().chain(outputs).collect()
}

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
    use crate::exec::compare::Difference;

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
        let difference = |differing, within| Difference {
            output: "y".into(),
            within,
            max_abs: 1.0,
            max_share: 1.0,
            differing,
            elements: 9,
            reason: (!within).then(|| "element 3 is 2, not 1".into()),
        };
        let account = |differing, within| Account {
            engine: "tract".into(),
            runs: vec!["one".into(), "two".into()],
            outputs: vec![difference(differing, within)],
            ..Account::default()
        };
        assert_eq!(summary(&Verdict::Same(account(0, true))), "equal bit for bit in 2 runs of tract");
        assert_eq!(summary(&Verdict::Same(account(1, true))), "equal up to rounding in 2 runs of tract");
        assert_eq!(
            differences(&Verdict::Different(account(5, false))),
            ["output \"y\": element 3 is 2, not 1; 5 of 9 elements differ"]
        );
    }
}
