//! The proof that a result computes what its original does: both are run on the same inputs and compared. Where they
//! differ, the first edit at fault is found by making fewer and fewer of them.

use std::cell::LazyCell;
use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use serde::Serialize;

use crate::exec::{Account, Executor, Plan, Reference, Verdict};
use crate::model::Model;
use crate::rewrite::Exactness;

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
    /// Nothing but the edits that were asked for.
    Edited,
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
            Proof::Without(Reason::Edited) => f.write_str("nothing was changed but what was asked for"),
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
        Verdict::Fails { reason, .. } => {
            format!("not checked: the engine runs the original and not the result: {reason}")
        }
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

/// What `work` finds, in a thread of its own: an engine that does not come back within `patience` holds up nobody.
pub fn patiently(patience: Duration, work: impl FnOnce() -> Verdict + Send + 'static) -> Verdict {
    let (outbox, verdict) = mpsc::channel();
    // Nobody may wait for the answer any more.
    let work = move || drop(outbox.send(work()));
    drop(thread::Builder::new().name("check".into()).spawn(work));
    received(&verdict, patience)
}

fn received(verdicts: &Receiver<Verdict>, patience: Duration) -> Verdict {
    match verdicts.recv_timeout(patience) {
        Ok(verdict) => verdict,
        Err(RecvTimeoutError::Timeout) => {
            let reason = format!("the engine did not come back within {:.0} s", patience.as_secs_f64());
            Verdict::NotRun { reason }
        }
        Err(RecvTimeoutError::Disconnected) => gone(),
    }
}

fn gone() -> Verdict {
    Verdict::NotRun { reason: "the engine stopped without an answer".into() }
}

/// The budget bounds when runs start; the last may take a while.
pub fn patience(plan: &Plan) -> Duration {
    plan.budget.saturating_mul(2).max(Duration::from_secs(1))
}

/// Runs models in a thread of its own, so that an engine that does not come back holds up nobody.
pub struct Referee {
    results: Sender<(Model, Exactness)>,
    verdicts: Receiver<Verdict>,
    patience: Duration,
}

impl Referee {
    /// Compares results with `original`, which is run once.
    pub fn new(original: Model, engine: Arc<dyn Executor>, plan: Plan) -> Referee {
        let patience = patience(&plan);
        let (results, inbox) = mpsc::channel::<(Model, Exactness)>();
        let (outbox, verdicts) = mpsc::channel();
        let work = move || {
            let reference = Reference::run(&original, &*engine, &plan);
            let second = engine.second_opinion();
            let second = LazyCell::new(|| {
                let engine = second.as_deref()?;
                Some((engine, Reference::run(&original, engine, &plan).ok()?))
            });
            for (result, exactness) in inbox {
                let verdict = match &reference {
                    Ok(reference) => reference.compare(&result, exactness, &*engine),
                    Err(reason) => Verdict::NotRun { reason: reason.clone() },
                };
                let verdict = match verdict {
                    Verdict::Different(first) => match &*second {
                        Some((engine, reference)) => outvoted(first, reference.compare(&result, exactness, *engine)),
                        None => Verdict::Different(first),
                    },
                    other => other,
                };
                if outbox.send(verdict).is_err() {
                    // Nobody waits any more.
                    break;
                }
            }
        };
        // Where no thread can be had, its channels close, and no verdict comes.
        drop(thread::Builder::new().name("check".into()).spawn(work));
        Referee { results, verdicts, patience }
    }

    /// Compare `result`, whose outputs may differ by what `exactness` allows.
    pub fn compare(&self, result: Model, exactness: Exactness) -> Verdict {
        if self.results.send((result, exactness)).is_err() {
            return gone();
        }
        received(&self.verdicts, self.patience)
    }
}

/// What to make of a difference that one engine finds, and of what another says of the same runs.
fn outvoted(first: Account, second: Verdict) -> Verdict {
    match second {
        Verdict::Same(mut account) if account.runs == first.runs => {
            account.notes.push(format!("{} finds a difference, and is not followed", first.engine));
            Verdict::Same(account)
        }
        _ => Verdict::Different(first),
    }
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
    use crate::exec::{Cannot, Session};

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

    /// An engine that never answers.
    struct Stuck;

    impl Executor for Stuck {
        fn name(&self) -> &'static str {
            "stuck"
        }

        fn load(&self, _: &Model) -> Result<Box<dyn Session>, Cannot> {
            loop {
                thread::park();
            }
        }
    }

    #[test]
    fn an_engine_that_does_not_come_back_is_left_behind() {
        let plan = Plan { budget: Duration::ZERO, ..Plan::default() };
        let referee = Referee::new(Model::default(), Arc::new(Stuck), plan);
        let verdict = referee.compare(Model::default(), Exactness::Bitwise);
        assert_eq!(summary(&verdict), "not checked: the engine did not come back within 1 s");
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
