//! What an edit promises, and having an engine confirm it.

use std::sync::Arc;

use serde::Serialize;

use super::Broken;
use crate::exec::compare::{Difference, Tolerance, difference};
use crate::exec::{Account, Executor, Plan, Reference, Session, Verdict, join_along, more_inputs};
use crate::ir::{Atom, Int, ScopeId, Tensor};
use crate::model::Model;
use crate::proof::{self, Proof, Reason};
use crate::rewrite::Exactness;

/// An edit that was made.
#[derive(Clone, Debug)]
pub struct Edited {
    /// What was done, in a few words.
    pub what: String,
    /// What it promises, where a run can tell.
    pub claim: Option<Claim>,
}

/// What was asked of a model before optimizing it, with what a run told of its promise.
#[derive(Clone, Debug, Serialize)]
pub struct Confirmed {
    /// What was done.
    pub what: String,
    /// Whether the edited model computes what it should of the original; not asked where there is nothing to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What an edit promises.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a few in a run")]
pub enum Claim {
    /// `part` computes its outputs as `whole` does, from what `whole` computes for the inputs of `part`.
    Part {
        /// The model that was cut, every end of the cut being an output.
        whole: Model,
        /// What is left of it.
        part: Model,
    },
    /// `opened` computes what `original` does where the open size is what it was; and, where it counts samples, of
    /// twice as many samples what `original` computes of each half.
    Opened {
        /// The model in which the size is fixed.
        original: Model,
        /// The model in which it is open.
        opened: Model,
        /// The name of the open size.
        size: String,
        /// Whether the size counts samples.
        samples: bool,
        /// Nodes that may be why the claim does not hold, a line each.
        suspects: Vec<String>,
    },
    /// `joined` computes what `second` does of what `first` computes.
    Joined {
        /// Both as one.
        joined: Model,
        /// The first, everything that the second takes from it being an output.
        first: Model,
        /// The second.
        second: Model,
        /// Outputs of the first and the inputs of the second that they are.
        links: Vec<(String, String)>,
        /// Names of the second, and what they are in `joined`, where that is another name.
        names: Vec<(String, String)>,
    },
}

impl Edited {
    /// Have an engine confirm what the edit promises, if one is given.
    ///
    /// # Errors
    /// When the edited model does not compute what it should.
    pub fn confirmed(self, check: Result<(&Arc<dyn Executor>, &Plan), Reason>) -> Result<Confirmed, Broken> {
        let Edited { what, claim } = self;
        let proof = match (claim, check) {
            (None, _) => None,
            (Some(_), Err(why)) => Some(Proof::Without(why)),
            (Some(claim), Ok((engine, plan))) => {
                let (must_run, why, suspects) = (claim.must_run(), claim.why_not(), claim.suspects().to_vec());
                let doubts = claim.doubts();
                let (engine, plan) = (Arc::clone(engine), plan.clone());
                let verdict = proof::patiently(proof::patience(&plan), move || claim.confirm(&*engine, &plan));
                if matches!(verdict, Verdict::Different(_)) || (must_run && verdict.is_different()) {
                    let mut differences = proof::differences(&verdict);
                    differences.extend(suspects);
                    return Err(Broken { what, differences, why });
                }
                if let (Verdict::NotRun { reason }, false) = (&verdict, doubts.is_empty()) {
                    let differences = [format!("not checked: {reason}")].into_iter().chain(doubts).chain(suspects);
                    return Err(Broken { what, differences: differences.collect(), why });
                }
                Some(Proof::Run(verdict))
            }
        };
        Ok(Confirmed { what, proof })
    }
}

impl Claim {
    /// Run what the claim speaks of in `engine` as `plan` says, and compare.
    pub fn confirm(&self, engine: &dyn Executor, plan: &Plan) -> Verdict {
        match self {
            Claim::Part { whole, part } => {
                let reference = match Reference::run(whole, engine, plan) {
                    Ok(reference) => reference,
                    Err(reason) => return Verdict::NotRun { reason },
                };
                let names = reference.outputs().to_vec();
                let feed = |given: &[(String, Tensor)], computed: &[Tensor]| {
                    let computed = names.iter().cloned().zip(computed.iter().cloned());
                    given.iter().cloned().chain(computed).collect()
                };
                // An engine may run a part in another way than the whole.
                reference.compare_fed(part, Exactness::Rounding, engine, &feed)
            }
            Claim::Opened { original, opened, size, samples, .. } => {
                let reference = match Reference::run(original, engine, plan) {
                    Ok(reference) => reference,
                    Err(reason) => return Verdict::NotRun { reason },
                };
                match reference.compare(opened, Exactness::Rounding, engine) {
                    Verdict::Same(account) if *samples => {
                        match two_batches(&reference, original, opened, size, engine, plan) {
                            Ok(found) => with_samples(account, found),
                            Err(Stopped::Nothing(reason)) => Verdict::NotRun { reason },
                            Err(Stopped::Fails(reason)) => Verdict::Fails { reason, account },
                        }
                    }
                    verdict => verdict,
                }
            }
            Claim::Joined { joined, first, second, links, names } => {
                let reference = match Reference::run(joined, engine, plan) {
                    Ok(reference) => reference,
                    Err(reason) => return Verdict::NotRun { reason },
                };
                one_after_the_other(&reference, first, second, links, names, engine)
                    .unwrap_or_else(|reason| Verdict::NotRun { reason })
            }
        }
    }

    /// What it means when the claim does not hold.
    pub fn why_not(&self) -> &'static str {
        match self {
            Claim::Part { .. } | Claim::Joined { .. } => "a defect of onnx-slim, please report it",
            Claim::Opened { samples: true, .. } => {
                "the model does not treat each sample by itself, or holds on to the size of the batch it was exported with"
            }
            Claim::Opened { samples: false, .. } => "export the model again with that dimension open",
        }
    }

    /// Outputs that cannot be what the claim says, unless a run shows that they are, a line each.
    pub fn doubts(&self) -> Vec<String> {
        let Claim::Opened { opened, size, samples: true, .. } = self else { return Vec::new() };
        let is_open = |d: &Int| d.mentions(&|atom| matches!(atom, Atom::Named(name) if **name == *size));
        let outputs = opened.graph.scope(ScopeId::MAIN).outputs().iter();
        let without = outputs.filter(|o| !o.declared.shape().dims().is_some_and(|dims| dims.iter().any(is_open)));
        without.map(|o| format!("output \"{}\" has no axis for the samples of a batch", o.name)).collect()
    }

    /// Nodes that may be why the claim does not hold, a line each.
    pub fn suspects(&self) -> &[String] {
        match self {
            Claim::Part { .. } | Claim::Joined { .. } => &[],
            Claim::Opened { suspects, .. } => suspects,
        }
    }

    /// Whether it is broken when the result does not run where the original does. Otherwise that says as much about
    /// the engine.
    pub fn must_run(&self) -> bool {
        match self {
            Claim::Part { .. } | Claim::Joined { .. } => false,
            Claim::Opened { .. } => true,
        }
    }
}

/// Why two batches were not compared.
enum Stopped {
    /// Nothing is known.
    Nothing(String),
    /// The original runs, the opened model does not.
    Fails(String),
}

/// Two batches that `original` runs one after the other, in `opened` at once.
fn two_batches(
    reference: &Reference<'_>,
    original: &Model,
    opened: &Model,
    size: &str,
    engine: &dyn Executor,
    plan: &Plan,
) -> Result<Vec<Difference>, Stopped> {
    let nothing = |why: &str| Stopped::Nothing(why.to_string());
    let (first, outputs) = reference.first().ok_or_else(|| nothing("the original did not run"))?;
    let is_open = |d: &Int| d.mentions(&|atom| matches!(atom, Atom::Named(name) if **name == *size));
    let inputs = opened.graph.scope(ScopeId::MAIN).inputs();
    let axis_of = |name: &str| {
        let input = inputs.iter().find(|&&i| *opened.graph.value(i).name == *name)?;
        opened.graph.value(*input).ty.shape().dims()?.iter().position(is_open)
    };
    let mut second = more_inputs(original, first, plan.seed.wrapping_add(7))
        .ok_or_else(|| nothing("there are no inputs for a second batch"))?;
    let mut both = Vec::with_capacity(first.len());
    for ((name, a), (_, b)) in first.iter().zip(&mut second) {
        let tensor = match axis_of(name) {
            Some(axis) => join_along(a, b, axis).ok_or_else(|| nothing("two batches cannot be joined"))?,
            None => {
                // What is not of a sample is the same for both.
                b.clone_from(a);
                a.clone()
            }
        };
        both.push((name.clone(), tensor));
    }
    let mut session = engine.load(original).map_err(|e| Stopped::Nothing(e.to_string()))?;
    let others = session.run(&second).map_err(|e| Stopped::Nothing(e.to_string()))?;
    drop(session);
    let mut session: Box<dyn Session> = engine.load(opened).map_err(|e| Stopped::Nothing(e.to_string()))?;
    let together = session.run(&both).map_err(|e| Stopped::Fails(format!("on two batches at once, {e}")))?;
    let tolerance = Tolerance::of(Exactness::Rounding, [&original.graph, &opened.graph]);
    let mut found = Vec::with_capacity(together.len());
    for (((name, a), b), got) in reference.outputs().iter().zip(outputs).zip(&others).zip(&together) {
        let axis = (0..got.rank()).find(|&k| got.dims().get(k) != a.dims().get(k));
        let expected = match axis {
            Some(axis) => join_along(a, b, axis).ok_or_else(|| nothing("two batches cannot be joined"))?,
            None => a.clone(),
        };
        let mut difference = difference(name, &expected, got, tolerance);
        if axis.is_none() && a != b && !difference.within {
            difference.reason = Some("it has no axis for the samples of a batch".into());
        } else if let Some(reason) = &mut difference.reason {
            *reason = format!("two batches at once and one after the other: {reason}");
        }
        // An output that differs from batch to batch has to have a place for both.
        if axis.is_none() && a != b && difference.within {
            difference.within = false;
            difference.reason = Some("it has no axis for the samples of a batch".into());
        }
        found.push(difference);
    }
    Ok(found)
}

/// What `second` makes of what `first` makes of the inputs of a joined model, compared with what that makes.
fn one_after_the_other(
    reference: &Reference<'_>,
    first: &Model,
    second: &Model,
    links: &[(String, String)],
    names: &[(String, String)],
    engine: &dyn Executor,
) -> Result<Verdict, String> {
    let mut sessions = Vec::with_capacity(2);
    for model in [first, second] {
        sessions.push(engine.load(model).map_err(|e| e.to_string())?);
    }
    let outputs = |model: &Model| -> Vec<String> {
        model.graph.scope(ScopeId::MAIN).outputs().iter().map(|o| o.name.to_string()).collect()
    };
    let inputs = |model: &Model| -> Vec<String> {
        let inputs = model.graph.scope(ScopeId::MAIN).inputs();
        inputs.iter().map(|&i| model.graph.value(i).name.to_string()).collect()
    };
    let named = |name: &str| names.iter().find(|(old, _)| old == name).map_or(name, |(_, new)| new).to_string();
    let tolerance = Tolerance::of(Exactness::Rounding, [&first.graph, &second.graph]);
    let mut account = Account { engine: engine.name().into(), tolerance: Some(tolerance), ..Account::default() };
    for (label, given, together) in reference.runs() {
        let find = |name: &str| given.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        let feed: Vec<(String, Tensor)> =
            inputs(first).into_iter().filter_map(|name| Some((name.clone(), find(&name)?))).collect();
        let made = sessions[0].run(&feed).map_err(|e| e.to_string())?;
        let made: Vec<(String, Tensor)> = outputs(first).into_iter().zip(made).collect();
        let feed = inputs(second).into_iter().filter_map(|name| {
            let tensor = match links.iter().find(|(_, to)| *to == name) {
                Some((from, _)) => made.iter().find(|(n, _)| n == from).map(|(_, t)| t.clone())?,
                None => find(&named(&name))?,
            };
            Some((name, tensor))
        });
        let feed: Vec<(String, Tensor)> = feed.collect();
        let after = sessions[1].run(&feed).map_err(|e| e.to_string())?;
        let after = outputs(second).into_iter().map(|name| named(&name)).zip(after);
        let apart: Vec<(String, Tensor)> = made.into_iter().chain(after).collect();
        account.runs.push(label.to_string());
        for (name, got) in reference.outputs().iter().zip(together) {
            if let Some((_, expected)) = apart.iter().rev().find(|(n, _)| n == name) {
                account.outputs.push(difference(name, expected, got, tolerance));
            }
        }
    }
    let within = account.outputs.iter().all(|d| d.within);
    Ok(if within { Verdict::Same(account) } else { Verdict::Different(account) })
}

fn with_samples(mut account: Account, found: Vec<Difference>) -> Verdict {
    account.runs.push("two batches at once".into());
    let within = found.iter().all(|d| d.within);
    account.outputs.extend(found);
    if within { Verdict::Same(account) } else { Verdict::Different(account) }
}
