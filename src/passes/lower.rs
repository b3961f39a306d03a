//! Calls that the target or the opset lacks are said in operators that it has. `onnx-slim explain` lists the rules.
//!
//! Only these calls are touched. What the rules make, no fusion puts together again: a fusion may not bring in a call
//! that cannot be run.

use crate::ir::Graph;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::{Growth, Limits, Rule, Settings, Step, apply_where};
use crate::rules::{self, Entry};

/// See the module.
pub struct Lower {
    rules: Vec<Entry>,
}

impl Default for Lower {
    fn default() -> Lower {
        Lower { rules: rules::lower::all() }
    }
}

impl Pass for Lower {
    fn name(&self) -> &'static str {
        "lower"
    }

    fn doc(&self) -> &'static str {
        include_str!("lower.rs")
    }

    fn parts(&self) -> Vec<&'static str> {
        self.rules.iter().map(|e| e.rule.name()).collect()
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let enabled: Vec<&Rule> = self.rules.iter().map(|e| &e.rule).filter(|r| (cx.enabled)(r.name())).collect();
        // A model that does not run is no use however small it is.
        let growth = Growth::unbounded();
        let settings = Settings { limits: Limits::NONE, avoids: &[], growth: &growth, ..cx.settings() };
        Ok(apply_where(graph, &enabled, settings, |call| cx.limits.lacks(call))?)
    }
}
