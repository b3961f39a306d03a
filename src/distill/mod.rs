//! A smaller model taught by the one it was made from: its weights follow how its outputs are off.
//!
//! Repair layer by layer brings every layer's result near to what it was; what errors of one layer do behind others it
//! does not see. Here the loss is of the outputs themselves: for scores of classes the divergence of the probabilities
//! (Hinton, Vinyals and Dean 2015), for others the power of the error. Samples need no labels: the larger model says
//! what is right, of mixtures of samples that are moved a little, too (Zhang et al. 2018; Beyer et al. 2022 for
//! teachers), of which there are any number, so that few samples are not learned by heart. Steps are Adam's (Kingma and
//! Ba 2015), their size is a part of the weights' own of each output, falling to zero along a cosine.
//!
//! Functions are compiled for what pruned models consist of; a model with another call behind its first layer is not
//! taught, and that is said. What is compiled has to make what the engine makes.

mod adam;
mod calls;
mod compile;
mod draw;
mod kernel;
mod lesson;
mod linear;
mod net;
mod pairwise;
mod pointwise;
mod teach;
#[cfg(all(test, feature = "tract"))]
mod tests;

use std::ops::Deref;

use serde::Serialize;

use crate::distill::teach::{Part, teach};
use crate::exec::{Cannot, Executor};
use crate::ir::Tensor;
use crate::model::Model;

/// How a model is distilled.
#[derive(Clone, Debug)]
pub struct Distillation {
    /// Steps; `None` takes [`STEPS`], or fewer where that is too much work, or none.
    pub steps: Option<usize>,
    /// Samples, or mixtures of two, of each step.
    pub batch: usize,
    /// The size of the first steps, in parts of the weights of an output and times the root of the loss: losses are squares
    /// of how far there is to go.
    pub rate: f32,
    /// Which samples are mixed.
    pub seed: u64,
}

impl Default for Distillation {
    fn default() -> Distillation {
        Distillation { steps: None, batch: 64, rate: 3.8e-2, seed: 1 }
    }
}

/// Steps where nobody says how many, at the most.
pub const STEPS: usize = 800;

/// What became of a model that was distilled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distilled {
    /// Steps that were taken, those of a trial that helped with them; of a trial, those after the best are taken back.
    pub steps: usize,
    /// Samples that weights followed.
    pub samples: usize,
    /// Others, that the loss was measured on.
    pub held_out: usize,
    /// The loss on these, before.
    pub before: f64,
    /// And then.
    pub after: f64,
}

/// Where steps of gradients do not help, so much smaller ones are tried: what is too large for one model is right for
/// another.
const SMALLER: f32 = 0.25;

/// A model in whose making some samples had no part, and these.
pub struct Trial<'a, S> {
    /// The smaller model, made without those that are held out.
    pub model: Model,
    /// What it was made from.
    pub samples: &'a [S],
    /// Others: they say whether steps help.
    pub held_out: &'a [S],
}

/// Teach a model that was made from `large`, if half of the steps help on samples that neither they nor the model have
/// seen. Then the model of the trial learns on from `all` samples and becomes `small`; otherwise that stays as it is,
/// and no steps are reported.
///
/// # Errors
/// When the engine cannot run one of the models on the samples. Inside: why nothing is distilled.
pub fn distill<S: Deref<Target = [(String, Tensor)]>>(
    large: &Model,
    small: &mut Model,
    all: &[S],
    trial: Trial<'_, S>,
    engine: &dyn Executor,
    distillation: &Distillation,
    progress: &dyn Fn(usize, usize),
) -> Result<Result<Distilled, String>, Cannot> {
    let Trial { mut model, samples, held_out } = trial;
    let mut how = distillation.clone();
    let mut attempt =
        |how: &Distillation| teach(large, &mut model, (samples, held_out), engine, (how, Part::Trial), progress);
    let mut told = attempt(&how)?;
    // A trial that fails leaves weights as they are.
    if told.as_ref().is_ok_and(|told| told.after >= told.before) {
        how.rate *= SMALLER;
        told = attempt(&how)?;
    }
    let told = match told {
        Ok(told) if told.after < told.before => told,
        Ok(told) => return Ok(Ok(Distilled { samples: 0, steps: 0, ..told })),
        Err(why) => return Ok(Err(why)),
    };
    // As far as it was at first: steps from where the trial ended would be too small to leave what it learned by heart.
    let part = Part::Whole { loss: Some(told.before) };
    Ok(teach(large, &mut model, (all, &[]), engine, (&how, part), progress)?.map(|made| {
        *small = model;
        Distilled { samples: made.samples, steps: told.steps + made.steps, ..told }
    }))
}
