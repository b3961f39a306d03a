//! Whether a model is distilled at all, by a trial, and how large its steps are.

use std::ops::Deref;

use crate::distill::{Distillation, Distilled, distill};
use crate::exec::{Cannot, Executor};
use crate::ir::Tensor;
use crate::model::Model;

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
pub fn distill_after_trial<S: Deref<Target = [(String, Tensor)]>>(
    large: &Model,
    small: &mut Model,
    all: &[S],
    trial: Trial<'_, S>,
    engine: &dyn Executor,
    distillation: &Distillation,
    progress: &dyn Fn(usize, usize),
) -> Result<Result<Distilled, String>, Cannot> {
    let Trial { mut model, samples, held_out } = trial;
    let mut how = Distillation { trial: true, ..distillation.clone() };
    let mut told = match distill(large, &mut model, (samples, held_out), engine, &how, progress)? {
        Ok(told) => told,
        Err(why) => return Ok(Err(why)),
    };
    // A trial that fails leaves weights as they are.
    if told.after >= told.before {
        how.rate *= SMALLER;
        told = match distill(large, &mut model, (samples, held_out), engine, &how, progress)? {
            Ok(told) => told,
            Err(why) => return Ok(Err(why)),
        };
    }
    if told.after >= told.before {
        return Ok(Ok(Distilled { samples: 0, steps: 0, ..told }));
    }
    // As far as it was at first: steps from where the trial ended would be too small to leave what it learned by heart.
    let how = Distillation { trial: false, loss: Some(told.before), ..how };
    Ok(distill(large, &mut model, (all, &[]), engine, &how, progress)?.map(|made| {
        *small = model;
        Distilled { samples: made.samples, steps: told.steps + made.steps, ..told }
    }))
}
