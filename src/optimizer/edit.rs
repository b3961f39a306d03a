//! A run of the pipeline on a model, as far as fuel lasts.

use crate::error::Error;
#[cfg(feature = "tract")]
use crate::exec::{fold_with_engine, tract::Tract};
use crate::model::Model;
use crate::ops::CallView;
use crate::optimizer::Optimizer;
use crate::optimizer::allowed::{Allowed, is_fused_product};
use crate::passes::pipeline::Observer;
use crate::passes::{Context, Engine, MergeDuplicates, Pipeline, RemoveDead};
use crate::rewrite::{Fuel, Growth, Limits, Step};
use crate::survey::lacks_words;

impl Optimizer {
    /// Run the pipeline on a model that was read in opset `from`, as far as `fuel` lasts.
    ///
    /// # Errors
    /// When a pass has a defect.
    pub(super) fn edit(
        &self,
        model: &mut Model,
        from: i64,
        may: &Allowed<'_>,
        fuel: &Fuel,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Step>, Error> {
        let tidy = may.tidies.then(|| Pipeline::default().then(MergeDuplicates).then(RemoveDead));
        let mut steps = Vec::new();
        // Each on an account of its own: what equal constants take twice saves nothing that may be spent on others.
        for pipeline in tidy.iter().chain([&self.pipeline]) {
            let growth = Growth::of(growth(model));
            let opset = model.opset();
            let lacks = |call: &CallView<'_>| {
                self.target.lacks(call, opset)
                    || lacks_words(call, opset, from).is_some()
                    || may.splits_products && is_fused_product(call)
            };
            let cx = Context {
                opset,
                avoids: self.target.avoids,
                limits: Limits::new(&lacks),
                narrows: self.target.narrows,
                widens: may.widens,
                contrib: may.contrib,
                fuel,
                enabled: &|name| may.enabled.contains(name),
                growth: &growth,
                engine: embedded(),
            };
            steps.extend(pipeline.run(&mut model.graph, &cx, observer)?);
            model.import_domains();
        }
        Ok(steps)
    }
}

/// What computes calls that the exact kernels lack: the embedded engine, where one is built in.
fn embedded() -> Option<&'static Engine> {
    #[cfg(feature = "tract")]
    return Some(&|call, operands, limit| fold_with_engine(&Tract, call, operands, limit).ok());
    #[cfg(not(feature = "tract"))]
    return None;
}

/// Bytes by which a file may grow: a small one a little, a large one not at all.
fn growth(model: &Model) -> usize {
    if model.file_bytes < 64 << 10 { 4 << 10 } else { 0 }
}
