//! Where integers pay: what a policy places, less what the target would run slower for it.
//!
//! Operators gain or lose by integers, and what lies between real numbers and integers costs: a `QuantizeLinear` or a
//! `DequantizeLinear` for every tensor that one makes and another reads. Which operators should have integers, so that
//! all of it together takes the least, is a cut of a network between those with and those without: exact, and found by
//! the greatest flow. Integers count a little more than they take, which makes every connected region of them earn that
//! much. Then the policy is asked again, without what was taken out: who shares a scale with whom and who follows whom
//! is its own matter.

mod cut;
mod field;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::ir::{Graph, NodeId, ValueId};
use crate::quantize::pays::field::{Field, Pin};
use crate::quantize::{Choice, ChoiceError, Plan, TakenOut, place_without};
use crate::target::Policy;
use crate::target::policy::Borders;

/// What a run takes, as the target's costs have it. What no row of costs speaks of counts nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Nanoseconds in real numbers.
    pub float_ns: f64,
    /// Nanoseconds as it was quantized.
    pub integer_ns: f64,
    /// Nanoseconds with integers wherever the target takes them.
    pub everywhere_ns: f64,
    /// Operators that could have integers and would lose by them.
    pub taken_out: usize,
}

/// Places integers where they pay.
pub struct Paying<'a> {
    /// The model's graph.
    pub graph: &'a Graph,
    /// The same with the sizes of a run; `None` where nobody knows them, and integers are placed wherever they can be.
    pub run: Option<&'a Graph>,
    /// How the target wants its integers.
    pub policy: &'a Policy,
    /// The opset that is written.
    pub opset: i64,
    /// What may have them.
    pub choice: &'a Choice,
    /// Whether they are placed wherever they can be.
    pub everywhere: bool,
}

/// Integers are to take this share of the time of real numbers at most: costs are not known better.
const SHARE: f64 = 0.9;

/// Each time that something is taken out, others may lose who they followed.
const ROUNDS: usize = 6;

/// What is pinned to keep the runtime from quantizing by itself may leave another operator between integers.
const PINNINGS: usize = 16;

impl Paying<'_> {
    /// What gets integers, when those `unfit` get none, and what it takes.
    ///
    /// # Errors
    /// For a pattern of the choice that nothing matches.
    pub fn place(&self, unfit: &FxHashSet<ValueId>) -> Result<(Plan, Option<Estimate>), ChoiceError> {
        let mut taken = TakenOut::default();
        let place = |taken: &TakenOut| place_without(self.graph, self.policy, self.opset, self.choice, unfit, taken);
        let mut plan = place(&taken)?;
        let Some(borders) = self.policy.borders.as_ref() else { return Ok((plan, None)) };
        let mut estimate: Option<Estimate> = None;
        for _ in 0..ROUNDS {
            let field = self.field(borders, &plan);
            let everywhere = vec![true; field.parts.len()];
            let estimate = estimate.get_or_insert_with(|| Estimate {
                float_ns: field.total(&vec![false; field.parts.len()]),
                everywhere_ns: field.total(&everywhere),
                ..Estimate::default()
            });
            estimate.integer_ns = field.total(&everywhere);
            let Some(kept) = self.kept(&field) else { break };
            let out = reasons(&field, &everywhere, &kept);
            if out.is_empty() {
                break;
            }
            taken.extend(out);
            plan = place(&taken)?;
            estimate.taken_out = taken.len();
            estimate.integer_ns = self.field(borders, &plan).all_integers();
        }
        Ok((plan, estimate.filter(|_| self.run.is_some())))
    }

    fn field<'a>(&'a self, borders: &'a Borders, plan: &Plan) -> Field<'a> {
        Field::of(self.run.unwrap_or(self.graph), self.policy, borders, self.opset, plan)
    }

    /// Which parts keep their integers; `None` where that cannot be told.
    fn kept(&self, field: &Field<'_>) -> Option<Vec<bool>> {
        let is_decided = self.everywhere || self.run.is_none();
        let mut pins: FxHashMap<usize, Pin> = FxHashMap::default();
        let find = |pins: &FxHashMap<usize, Pin>| match is_decided {
            true => Some((0..field.parts.len()).map(|part| pins.get(&part) != Some(&Pin::Reals)).collect()),
            false => field.paying(SHARE, pins),
        };
        let mut kept: Vec<bool> = find(&pins)?;
        for _ in 0..PINNINGS {
            let converted = field.converted(&kept);
            if converted.is_empty() {
                break;
            }
            pins.extend(converted);
            kept = find(&pins)?;
        }
        Some(kept)
    }
}

impl Field<'_> {
    fn all_integers(&self) -> f64 {
        self.total(&vec![true; self.parts.len()])
    }
}

/// What is taken out, each with the rule and the reason.
fn reasons(field: &Field<'_>, before: &[bool], kept: &[bool]) -> Vec<(NodeId, (String, String))> {
    let mut found = Vec::new();
    let mut at = kept.to_vec();
    for region in field.regions(before, kept) {
        let (float, int8) = field.both(&region, &mut at);
        let times = match int8 / float {
            ratio if ratio.is_finite() && ratio >= 1.05 => format!("integers would take {ratio:.1} times as long here"),
            ratio if ratio.is_finite() && ratio > SHARE => "integers would gain too little here".to_string(),
            _ => "the runtime would give its neighbour integers of its own".to_string(),
        };
        let (float, int8) = (float / 1000.0, int8 / 1000.0);
        for &part in &region {
            let part = &field.parts[part];
            found.push((part.head, (part.rule.clone(), format!("{times}: {int8:.1} µs, and {float:.1} without"))));
        }
    }
    found
}
