//! The local rules, applied until none fires. `onnx-slim explain` lists them.

use crate::ir::Graph;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::{Rule, Step, apply};
use crate::rules::{self, Entry};

/// See the module.
pub struct Simplify {
    rules: Vec<Entry>,
}

impl Default for Simplify {
    fn default() -> Simplify {
        Simplify::with(rules::simplify())
    }
}

impl Simplify {
    /// The step that applies `rules`, in this order.
    pub fn with(rules: Vec<Entry>) -> Simplify {
        Simplify { rules }
    }
}

impl Pass for Simplify {
    fn name(&self) -> &'static str {
        "simplify"
    }

    fn doc(&self) -> &'static str {
        include_str!("simplify.rs")
    }

    fn parts(&self) -> Vec<&'static str> {
        self.rules.iter().map(|e| e.rule.name()).collect()
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let enabled: Vec<&Rule> = self.rules.iter().map(|e| &e.rule).filter(|r| (cx.enabled)(r.name())).collect();
        Ok(apply(graph, &enabled, cx.settings())?)
    }
}
