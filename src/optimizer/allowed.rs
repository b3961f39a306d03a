//! What a run of the pipeline may do: as the user says, and as the stages behind it need it.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::ops::CallView;
use crate::optimizer::Optimizer;
use crate::passes::{InferShapes, Pass, Widens};
use crate::rewrite::CONTRIB;
use crate::similar::similar;

/// What a run of the pipeline may do.
pub(super) struct Allowed<'n> {
    /// Rules and passes, by name.
    pub enabled: BTreeSet<&'n str>,
    /// Operators of com.microsoft that may be brought in.
    pub contrib: &'static [&'static str],
    /// Products with an activation in one are taken apart.
    pub splits_products: bool,
    /// What of half precision is computed in single precision.
    pub widens: Widens,
    /// What a stage left twice is merged before anything else, and saves nothing that may be spent.
    pub tidies: bool,
}

/// Whether the call is a product with an activation in one, which a runtime makes of integers itself.
pub(super) fn is_fused_product(call: &CallView<'_>) -> bool {
    let node = call.node();
    node.domain() == CONTRIB && matches!(node.op_name(), "FusedConv" | "FusedGemm" | "FusedMatMul")
}

impl Optimizer {
    /// What may be done before the stage at `next`, with an eye to all that are still to come; rules and passes that are
    /// `enabled` at all.
    pub(super) fn before_stage<'n>(&self, next: usize, enabled: &BTreeSet<&'n str>) -> Allowed<'n> {
        let needs: Vec<_> = self.stages.iter().skip(next).map(|stage| stage.needs()).collect();
        let mut enabled = enabled.clone();
        enabled.retain(|name| !needs.iter().flat_map(|n| n.holds_back).any(|held| name.starts_with(held)));
        Allowed {
            enabled,
            contrib: if self.only_onnx || needs.iter().any(|n| n.plain) { &[] } else { self.target.contrib },
            splits_products: needs.iter().any(|n| n.splits_products),
            widens: needs.iter().map(|n| n.widens).fold(self.widens, Widens::max),
            tidies: next > 0,
        }
    }

    /// Whether every rule and pass that was named exists.
    ///
    /// # Errors
    /// For the first that does not.
    pub fn check_names(&self) -> Result<(), Error> {
        self.enabled().map(drop)
    }

    /// Whether there is a pass called `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn check_pass(&self, name: &str) -> Result<(), Error> {
        if self.pipeline.passes().any(|p| p.name() == name) {
            return Ok(());
        }
        let similar = similar(name, self.pipeline.passes().map(|p| p.name()));
        Err(Error::NoSuchPass { name: name.into(), similar })
    }

    /// The names of what may run.
    pub(super) fn enabled(&self) -> Result<BTreeSet<&str>, Error> {
        let passes: Vec<(&str, Vec<&str>)> = self.pipeline.passes().map(|p| (p.name(), p.parts())).collect();
        let all: BTreeSet<&str> = passes.iter().flat_map(|(pass, parts)| parts.iter().chain([pass])).copied().collect();
        for name in self.without.iter().chain(&self.only) {
            if !all.contains(&**name) {
                return Err(Error::NoSuchRule { name: name.clone(), similar: similar(name, all.iter().copied()) });
            }
        }
        let mut enabled = all;
        if !self.only.is_empty() {
            enabled.clear();
            for (pass, parts) in passes {
                let named = |name: &str| self.only.contains(name);
                let chosen = parts.iter().copied().filter(|part| named(pass) || named(part));
                enabled.extend(chosen);
                // A pass runs when it is named or anything in it is; what others build on always does.
                if named(pass) || parts.iter().any(|part| named(part)) || pass == InferShapes.name() {
                    enabled.insert(pass);
                }
            }
        }
        enabled.retain(|name| !self.without.contains(*name));
        Ok(enabled)
    }
}
