//! One course of steps: what two models are compiled to, how many steps there are, and what becomes of weights.

use std::ops::Deref;

use crate::distill::compile::{Compiled, compile};
use crate::distill::lesson::Lesson;
use crate::distill::{Distillation, Distilled, STEPS};
use crate::exec::{Cannot, Executor};
use crate::ir::Tensor;
use crate::model::Model;
use crate::quality::loss::Heads;

/// What steps are for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// To ask whether they help: half of them are enough.
    Trial,
    /// To learn. The size of steps follows this loss, without it the one that is measured.
    Whole { loss: Option<f64> },
}

/// Fewer than these bring too little.
const FEWEST: usize = 200;

/// Weights and biases that may follow slopes at the most.
const MOST_PARAMETERS: usize = 1 << 24;

/// Multiplications that steps may take where nobody says how many: a few minutes on two cores.
const WORK: f64 = 3e12;

/// Samples and mixtures that the larger model is asked about at the most, and bytes that may be kept of what it says;
/// where there would be more, steps draw some of them again.
const MOST_ASKED: usize = 1 << 16;
const MOST_SAID: usize = 512 << 20;

/// Teach `small`, which has the inputs and outputs of `large`, on `samples`, as long as `held_out` ones say that it gets
/// better; without such, to the end. `progress` hears how many steps of how many are done.
///
/// # Errors
/// When the engine cannot run one of the models on the samples. Inside: why nothing is distilled.
pub(super) fn teach<S: Deref<Target = [(String, Tensor)]>>(
    large: &Model,
    small: &mut Model,
    (samples, held_out): (&[S], &[S]),
    engine: &dyn Executor,
    (distillation, part): (&Distillation, Part),
    progress: &dyn Fn(usize, usize),
) -> Result<Result<Distilled, String>, Cannot> {
    let (heads, of_small) = (Heads::of(large), Heads::of(small));
    if heads.values().is_empty() || heads.are_scores() != of_small.are_scores() {
        return Ok(Err("it has no outputs of floats to compare".into()));
    }
    if samples.is_empty() {
        return Ok(Err("there are no samples to learn from".into()));
    }
    let all: Vec<&[(String, Tensor)]> = samples.iter().chain(held_out).map(|sample| &**sample).collect();
    let both = |samples: &[&[(String, Tensor)]]| -> Result<Result<(Compiled, Compiled), String>, Cannot> {
        let teacher = match compile(large, &heads.values(), samples, engine)? {
            Ok(compiled) => compiled,
            Err(why) => return Ok(Err(why)),
        };
        Ok(compile(small, &of_small.values(), samples, engine)?.map(|student| (teacher, student)))
    };
    let batch = distillation.batch.min(samples.len()).max(1);
    // One sample tells what all would take.
    let (whole, said) = match both(&all[..1])? {
        Err(why) => return Ok(Err(why)),
        Ok((teacher, student)) => {
            if student.net.parameters.len() > MOST_PARAMETERS {
                return Ok(Err(format!("it has more than {MOST_PARAMETERS} weights")));
            }
            let of_step = (3.0 * student.net.work() + teacher.net.work()) * batch as f64;
            let affordable = (WORK / of_step.max(1.0)) as usize;
            if distillation.steps.is_none() && affordable < FEWEST {
                return Ok(Err(format!(
                    "{FEWEST} steps take {:.0} G multiplications, more than are made unasked: --distill says how many to \
                     take",
                    FEWEST as f64 * of_step / 1e9
                )));
            }
            let said = teacher.net.heads.iter().map(|&head| size_of::<f32>() * teacher.net.sizes[head]).sum::<usize>();
            (distillation.steps.unwrap_or(affordable.min(STEPS)), said)
        }
    };
    let (steps, loss) = match part {
        Part::Trial => (whole.div_ceil(2), None),
        Part::Whole { loss } => (whole, loss),
    };
    let asked = batch.saturating_mul(steps).min(MOST_ASKED).min(MOST_SAID / said.max(1)).max(batch);
    let (teacher, student) = match both(&all)? {
        Ok(both) => both,
        Err(why) => return Ok(Err(why)),
    };
    let are_mixed = teacher.inputs.is_some() && teacher.inputs == student.inputs;
    let kinds = heads.are_scores().into_iter().zip(&teacher.rows).map(|(is, &row)| is.then_some(row)).collect();
    let lesson = Lesson { teacher, student, kinds, samples: samples.len(), are_mixed };
    let Some((distilled, parameters)) = lesson.hold((steps, batch, asked), (distillation, loss), progress) else {
        return Ok(Err("numbers are not finite".into()));
    };
    let is_better = distilled.after < distilled.before || held_out.is_empty();
    if is_better && lesson.student.net.write(&parameters, &mut small.graph).is_none() {
        return Ok(Err("a weight cannot be written".into()));
    }
    Ok(Ok(distilled))
}
