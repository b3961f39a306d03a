//! Whether the result computes what the original does, and which edit is at fault where it does not.

use std::time::Instant;

use crate::error::{Error, Guilty};
use crate::exec::Verdict;
use crate::model::Model;
use crate::optimizer::allowed::Allowed;
use crate::optimizer::{Check, Optimizer, exactness};
use crate::passes::pipeline::Silent;
use crate::proof::{self, Referee};
use crate::rewrite::{Exactness, Fuel};

impl Optimizer {
    /// Compare `result` with `original`; name the edit at fault where they differ.
    pub(super) fn prove(
        &self,
        check: &Check,
        original: &Model,
        result: &Model,
        may: &Allowed<'_>,
        fuel: &Fuel,
        exactness: Exactness,
    ) -> Result<Verdict, Error> {
        let referee = Referee::new(original.clone(), check.engine.clone(), check.plan.clone());
        let verdict = referee.compare(result.clone(), exactness);
        // An engine that runs the original and not the result says as much about itself as about the result.
        if matches!(verdict, Verdict::Different(_)) {
            let until = Instant::now() + check.plan.budget;
            let differs = |result: Model, exactness| {
                match referee.compare(result, exactness) {
                    Verdict::Different(_) => Some(true),
                    Verdict::Same(_) => Some(false),
                    // Where the engine cannot run what is between, nothing is known of it.
                    Verdict::Fails { .. } | Verdict::NotRun { .. } => None,
                }
            };
            let guilty = self.find_guilty(original, may, fuel.spent(), until, &differs);
            return Err(Error::Different { guilty, differences: proof::differences(&verdict) });
        }
        Ok(verdict)
    }

    /// The first of `total` edits with which the result differs, if it is found in time.
    fn find_guilty(
        &self,
        original: &Model,
        may: &Allowed<'_>,
        total: u64,
        until: Instant,
        differs: &dyn Fn(Model, Exactness) -> Option<bool>,
    ) -> Option<Guilty> {
        let with = |edits: u64| {
            let (mut model, fuel) = (original.clone(), Fuel::new(edits));
            model.set_opset(self.opset_for(model.opset()).ok()?);
            let steps = self.edit(&mut model, original.opset(), may, &fuel, &mut Silent).ok()?;
            Some((model, steps, fuel))
        };
        let first = proof::first_guilty(total, |edits| {
            if Instant::now() >= until {
                return None;
            }
            let (model, steps, _) = with(edits)?;
            differs(model, exactness(&steps))
        })?;
        let (_, steps, fuel) = with(first)?;
        let last = fuel.last();
        let (rule, at) = last.split_once(" at ")?;
        // What can be disabled is the rule or, for a pass that has no parts, the pass.
        let pass = steps.iter().rev().find(|s| s.applied.contains_key(rule)).map(|s| s.pass.clone());
        let disable =
            if may.enabled.contains(rule) { rule.to_string() } else { pass.unwrap_or_else(|| rule.to_string()) };
        Some(Guilty { rule: rule.into(), at: at.into(), disable })
    }
}
