//! What an edit promises, and having an engine confirm it.

use crate::exec::{Executor, Plan, Reference, Verdict};
use crate::ir::Tensor;
use crate::model::Model;
use crate::rewrite::Exactness;

/// An edit that was made.
#[derive(Clone, Debug)]
pub struct Edited {
    /// What was done, in a few words.
    pub what: String,
    /// What it promises, where a run can tell.
    pub claim: Option<Claim>,
}

/// What an edit promises.
#[derive(Clone, Debug)]
pub enum Claim {
    /// `part` computes its outputs as `whole` does, from what `whole` computes for the inputs of `part`.
    Part {
        /// The model that was cut, every end of the cut being an output.
        whole: Model,
        /// What is left of it.
        part: Model,
    },
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
        }
    }

    /// What it means when the claim does not hold.
    pub fn why_not(&self) -> &'static str {
        match self {
            Claim::Part { .. } => "a defect of onnx-slim, please report it",
        }
    }

    /// Whether it is broken when the result does not run where the original does. Otherwise that says as much about
    /// the engine.
    pub fn must_run(&self) -> bool {
        match self {
            Claim::Part { .. } => false,
        }
    }
}
