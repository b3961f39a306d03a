//! The rules for operators that only the target has, applied until none fires.
//!
//! They come after everything else is done, as no other rule knows these operators, and they fire only for targets that
//! have them.

use crate::ir::Graph;
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::{Rule, Step, apply};
use crate::rules::{self, Entry};

/// See the module.
pub struct Specialize {
    rules: Vec<Entry>,
}

impl Default for Specialize {
    fn default() -> Specialize {
        Specialize { rules: rules::specialize() }
    }
}

impl Pass for Specialize {
    fn name(&self) -> &'static str {
        "specialize"
    }

    fn doc(&self) -> &'static str {
        include_str!("specialize.rs")
    }

    fn parts(&self) -> Vec<&'static str> {
        self.rules.iter().map(|e| e.rule.name()).collect()
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let enabled: Vec<&Rule> = self.rules.iter().map(|e| &e.rule).filter(|r| (cx.enabled)(r.name())).collect();
        Ok(apply(graph, &enabled, cx.settings())?)
    }
}
