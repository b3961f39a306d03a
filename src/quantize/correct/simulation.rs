//! A model in integers that is loaded once and run with any scales.
//!
//! Scales and zero points of what a run computes are inputs of it, so another range costs runs and no loading: weights
//! stay as the engine has laid them out. Biases are real numbers in it, also where the target wants integers of them:
//! steps of these are far finer than those of any other tensor.

use std::collections::BTreeMap;

use crate::calibrate::Sample;
use crate::exec::{Executor, Session};
use crate::ir::{DType, ScopeId, Tensor, TensorError, ValueId};
use crate::model::Model;
use crate::quantize::correct::giving;
use crate::quantize::{Group, Plan, QuantizeError, Scaling, emit};
use crate::target::policy::BiasForm;

/// What the integers of each group of tensors are worth.
pub type Scales = BTreeMap<Group, Scaling>;

/// A model in an engine that takes scales beside its inputs.
pub(super) struct Simulation {
    session: Box<dyn Session>,
    /// Of each pair: whose scale it has, the integers' type, and the names of the inputs for scale and zero point.
    pairs: Vec<(Group, DType, [String; 2])>,
}

impl Simulation {
    /// `float` with the integers of `plan`, giving `values`. `scales` says which groups have integers.
    pub(super) fn of(
        float: &Model,
        plan: &Plan,
        scales: &Scales,
        values: &[ValueId],
        engine: &dyn Executor,
    ) -> Result<Simulation, QuantizeError> {
        let (mut model, written) = with_integers(float, plan, scales)?;
        let graph = &mut model.graph;
        let mut pairs = Vec::new();
        for (site, [scale, zero]) in written {
            let site = &plan.sites[site];
            if site.fixed.is_some() {
                continue;
            }
            // No file has such names.
            let names = ["scale", "zero"].map(|what| format!("\u{1}{what} {}", pairs.len()));
            for (value, name) in [scale, zero].into_iter().zip(&names) {
                let ty = graph.value(value).ty.clone();
                let input = graph.add_input(ScopeId::MAIN, name, ty);
                graph.replace(value, input);
            }
            pairs.push((site.group, site.grid.dtype, names));
        }
        Ok(Simulation { session: engine.load(&giving(&model, values))?, pairs })
    }

    /// What it gives for a sample with these scales.
    pub(super) fn run(&mut self, feed: &Sample, scales: &Scales) -> Result<Vec<Tensor>, QuantizeError> {
        let mut given = feed.feed().to_vec();
        for (group, dtype, [scale, zero]) in &self.pairs {
            let Some(scaling) = scales.get(group) else { continue };
            given.push((scale.clone(), Tensor::f32s(&[], &[scaling.scale])?));
            given.push((zero.clone(), integer(*dtype, scaling.zero_point)?));
        }
        Ok(self.session.run(&given)?)
    }
}

/// `float` with the integers of `plan`, but for biases; and as [`emit`], where scales are written.
pub(super) fn with_integers(
    float: &Model,
    plan: &Plan,
    scales: &Scales,
) -> Result<(Model, Vec<(usize, [ValueId; 2])>), TensorError> {
    let mut plan = plan.clone();
    plan.weights.iter_mut().for_each(|site| site.bias = BiasForm::Float);
    let mut model = float.clone();
    let written = emit(&mut model.graph, &plan, scales)?;
    Ok((model, written))
}

fn integer(dtype: DType, number: i64) -> Result<Tensor, TensorError> {
    Tensor::raw(dtype, &[], number.to_le_bytes()[..dtype.bits().div_ceil(8)].to_vec().into())
}
