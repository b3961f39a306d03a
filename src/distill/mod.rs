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

mod calls;
mod compile;
mod draw;
mod kernel;
mod linear;
mod net;
mod pairwise;
mod pointwise;
#[cfg(all(test, feature = "tract"))]
mod tests;
mod trial;

pub use trial::{Trial, distill_after_trial};

use std::ops::Deref;

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use serde::Serialize;

use crate::distill::compile::{Compiled, compile};
use crate::distill::draw::{Draw, Input};
use crate::distill::pairwise::add_each;
use crate::distill::pointwise::probabilities;
use crate::exec::{Cannot, Executor};
use crate::ir::Tensor;
use crate::model::Model;
use crate::quality::loss::{Heads, row_divergence};
use crate::random::Random;

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
    /// Whether half of the steps are enough: it is only asked whether they help.
    pub trial: bool,
    /// The loss that the size of steps follows; `None` for the one that is measured.
    pub loss: Option<f64>,
    /// Which samples are mixed.
    pub seed: u64,
}

impl Default for Distillation {
    fn default() -> Distillation {
        Distillation { steps: None, batch: 64, rate: 3.8e-2, trial: false, loss: None, seed: 1 }
    }
}

/// Steps where nobody says how many, at the most.
pub const STEPS: usize = 800;

/// Fewer than these bring too little.
const FEWEST: usize = 200;

/// Weights and biases that may follow slopes at the most.
const MOST_PARAMETERS: usize = 1 << 24;

/// Multiplications that steps may take where nobody says how many: a few minutes on two cores.
const WORK: f64 = 3e12;

/// What became of a model that was distilled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Distilled {
    /// Steps that were taken; those after the best are taken back where others tell.
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

/// The root of the largest loss that steps grow with.
const FARTHEST: f64 = 0.6;

/// Samples and mixtures that the larger model is asked about at the most, and bytes that may be kept of what it says;
/// where there would be more, steps draw some of them again.
const MOST_ASKED: usize = 1 << 16;
const MOST_SAID: usize = 512 << 20;

/// Of samples that were learned from, so many are measured where there are no others.
const MEASURED: usize = 32;

/// Each of those that are measured is measured moved as well, so many times.
const COPIES: usize = 3;

/// How often the loss is measured.
const LOOKS: usize = 8;

/// A batch is worked on in so many parts, whose sums are added up in order: threads do not change the result.
const PARTS: usize = 16;

/// Teach `small`, which has the inputs and outputs of `large`, on `samples`, as long as `held_out` ones say that it gets
/// better; without such, to the end. `progress` hears how many steps of how many are done.
///
/// # Errors
/// When the engine cannot run one of the models on the samples. Inside: why nothing is distilled.
pub fn distill<S: Deref<Target = [(String, Tensor)]>>(
    large: &Model,
    small: &mut Model,
    (samples, held_out): (&[S], &[S]),
    engine: &dyn Executor,
    distillation: &Distillation,
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
    let steps = if distillation.trial { whole.div_ceil(2) } else { whole };
    let asked = batch.saturating_mul(steps).min(MOST_ASKED).min(MOST_SAID / said.max(1)).max(batch);
    let (teacher, student) = match both(&all)? {
        Ok(both) => both,
        Err(why) => return Ok(Err(why)),
    };
    let are_mixed = teacher.inputs.is_some() && teacher.inputs == student.inputs;
    let kinds = heads.are_scores().into_iter().zip(&teacher.rows).map(|(is, &row)| is.then_some(row)).collect();
    let lesson = Lesson { teacher, student, kinds, samples: samples.len(), are_mixed };
    let Some((distilled, parameters)) = lesson.hold((steps, batch, asked), distillation, progress) else {
        return Ok(Err("numbers are not finite".into()));
    };
    let is_better = distilled.after < distilled.before || held_out.is_empty();
    if is_better && lesson.student.net.write(&parameters, &mut small.graph).is_none() {
        return Ok(Err("a weight cannot be written".into()));
    }
    Ok(Ok(distilled))
}

/// Slopes that one core adds up in one go.
const SUMMED: usize = 1 << 14;

struct Lesson {
    teacher: Compiled,
    student: Compiled,
    /// Of each head, whether it is scores of classes: of rows of so many elements.
    kinds: Vec<Option<usize>>,
    /// How many samples are learned from; those behind them tell.
    samples: usize,
    are_mixed: bool,
}

impl Lesson {
    fn hold(
        &self,
        (steps, batch, asked): (usize, usize, usize),
        distillation: &Distillation,
        progress: &dyn Fn(usize, usize),
    ) -> Option<(Distilled, Vec<f32>)> {
        let net = &self.student.net;
        let mut parameters = net.parameters.clone();
        let energies = self.energies()?;
        let mut random = Random::new(distillation.seed, "distill");
        let draws: Vec<Draw> = (0..asked).map(|_| Draw::any(self.samples, self.are_mixed, &mut random)).collect();
        let wants = self.wants(&draws)?;
        let all = self.student.samples.len();
        let is_told = self.samples < all;
        let measured = if is_told { self.samples..all } else { 0..self.samples.min(MEASURED) };
        // A few samples are hard and decide by chance; moved a little, they are others.
        let copies = if self.is_moved() { COPIES } else { 0 };
        let moved: Vec<Draw> = measured
            .clone()
            .flat_map(|sample| [sample; COPIES].into_iter().take(copies))
            .map(|sample| Draw::moved(sample, &mut random))
            .collect();
        let measured: Vec<Draw> = measured.map(Draw::Whole).chain(moved).collect();
        let told = self.wants(&measured)?;
        let loss = |parameters: &[f32]| self.loss(parameters, &measured, &told, &energies);
        let before = loss(&parameters)?;
        let rates = self.rates(distillation.rate * distillation.loss.unwrap_or(before).sqrt().min(FARTHEST) as f32)?;
        let (mut best, mut after) = (parameters.clone(), before);
        let mut adam = Adam::new(parameters.len());
        for step in 0..steps {
            let places: Vec<usize> = (0..batch).map(|_| random.below(asked as u64) as usize).collect();
            let parts: Vec<&[usize]> = places.chunks(batch.div_ceil(PARTS)).collect();
            let of_part = |part: &[usize]| -> Option<Vec<f32>> {
                let mut slopes = vec![0.0; parameters.len()];
                for &place in part {
                    let sample = (&draws[place], &wants[place][..]);
                    self.follow(&parameters, sample, &energies, 1.0 / batch as f32, &mut slopes)?;
                }
                Some(slopes)
            };
            let parts: Vec<Vec<f32>> = parts.into_par_iter().map(of_part).collect::<Option<_>>()?;
            let mut slopes = vec![0f32; parameters.len()];
            slopes.par_chunks_mut(SUMMED).enumerate().for_each(|(chunk, slopes)| {
                for part in &parts {
                    add_each(slopes, &part[chunk * SUMMED..]);
                }
            });
            let part = (step as f32 + 0.5) / steps as f32;
            adam.step(&mut parameters, &slopes, &rates, 0.5 * (1.0 + (std::f32::consts::PI * part).cos()));
            if (step + 1) % steps.div_ceil(LOOKS) == 0 || step + 1 == steps {
                match loss(&parameters) {
                    Some(now) if now < after || !is_told => (best, after) = (parameters.clone(), now),
                    Some(_) => {}
                    None => break,
                }
            }
            progress(step + 1, steps);
        }
        let held_out = all - self.samples;
        Some((Distilled { steps, samples: self.samples, held_out, before, after }, best))
    }

    /// Whether samples can be moved a little.
    fn is_moved(&self) -> bool {
        self.are_mixed && self.student.inputs.iter().flatten().any(Input::is_moved)
    }

    /// What a model makes of what is drawn.
    fn made(&self, of: &Compiled, parameters: &[f32], draw: &Draw) -> Option<Vec<Vec<f32>>> {
        let inputs = of.inputs.as_deref().unwrap_or_default();
        of.net.forward(parameters, draw.elements(&of.samples, inputs))
    }

    /// What each head of the larger model says of each of these.
    fn wants(&self, draws: &[Draw]) -> Option<Vec<Vec<Vec<f32>>>> {
        let net = &self.teacher.net;
        let of_draw = |draw: &Draw| -> Option<Vec<Vec<f32>>> {
            let mut slots = self.made(&self.teacher, &net.parameters, draw)?;
            Some(net.heads.iter().map(|&head| std::mem::take(&mut slots[head])).collect())
        };
        draws.par_iter().map(of_draw).collect()
    }

    /// Add to `slopes` how the loss on what is drawn follows the parameters, times a factor.
    fn follow(
        &self,
        parameters: &[f32],
        (draw, wants): (&Draw, &[Vec<f32>]),
        energies: &[f32],
        factor: f32,
        slopes: &mut [f32],
    ) -> Option<()> {
        let net = &self.student.net;
        let slots = self.made(&self.student, parameters, draw)?;
        let of_heads = net.heads.iter().zip(wants).enumerate().map(|(head, (&at, want))| {
            let made = &slots[at];
            let Some(row) = self.kinds[head] else {
                return made.iter().zip(want).map(|(a, b)| factor * 2.0 * (a - b) / energies[head]).collect();
            };
            let rows = (made.len() / row).max(1) as f32;
            let (mut p, mut q) = (vec![0.0; made.len()], vec![0.0; made.len()]);
            want.chunks(row).zip(p.chunks_mut(row)).for_each(|(x, p)| probabilities(x, p));
            made.chunks(row).zip(q.chunks_mut(row)).for_each(|(x, q)| probabilities(x, q));
            q.iter().zip(&p).map(|(q, p)| factor * (q - p) / rows).collect()
        });
        net.backward(parameters, &slots, of_heads.collect(), slopes)
    }

    /// The mean loss on what is drawn. `None` where it is no number.
    fn loss(&self, parameters: &[f32], draws: &[Draw], wants: &[Vec<Vec<f32>>], energies: &[f32]) -> Option<f64> {
        let net = &self.student.net;
        let of_draw = |(draw, wants): (&Draw, &Vec<Vec<f32>>)| -> Option<f64> {
            let slots = self.made(&self.student, parameters, draw)?;
            let of_head = |(head, (&at, want)): (usize, (&usize, &Vec<f32>))| match self.kinds[head] {
                Some(row) => {
                    let rows = (want.len() / row).max(1) as f64;
                    want.chunks(row).zip(slots[at].chunks(row)).map(|(x, y)| divergence(x, y)).sum::<f64>() / rows
                }
                None => {
                    let off: f64 = slots[at].iter().zip(want).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                    off / f64::from(energies[head])
                }
            };
            Some(net.heads.iter().zip(wants).enumerate().map(of_head).sum())
        };
        let losses: Vec<f64> = draws.par_iter().zip(wants).map(of_draw).collect::<Option<_>>()?;
        let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
        mean.is_finite().then_some(mean)
    }

    /// The energy of each head that is no scores: its mean over some samples.
    fn energies(&self) -> Option<Vec<f32>> {
        let net = &self.teacher.net;
        let some: Vec<usize> = (0..self.samples).step_by(self.samples.div_ceil(32)).collect();
        let slots = some.iter().map(|&sample| net.forward(&net.parameters, self.teacher.samples[sample].clone()));
        let slots: Vec<Vec<Vec<f32>>> = slots.collect::<Option<_>>()?;
        let energy = |head: &usize| {
            let sum: f32 = slots.iter().flat_map(|slots| &slots[*head]).map(|x| x * x).sum();
            (sum / slots.len() as f32).max(f32::MIN_POSITIVE)
        };
        Some(net.heads.iter().map(energy).collect())
    }

    /// The size of a step of each parameter: for weights in parts of those of their output, for biases in parts of what
    /// the layer makes, a tenth as large.
    fn rates(&self, rate: f32) -> Option<Vec<f32>> {
        let net = &self.student.net;
        let mut rates = vec![0.0; net.parameters.len()];
        let slots = net.forward(&net.parameters, self.student.samples[0].clone())?;
        let root =
            |elements: &[f32]| (elements.iter().map(|x| x * x).sum::<f32>() / elements.len().max(1) as f32).sqrt();
        for changing in &net.changing {
            let weights = &net.parameters[changing.weight.clone()];
            let whole = root(weights);
            let columns = changing.layer.columns();
            for (row, rates) in weights.chunks(columns).zip(rates[changing.weight.clone()].chunks_mut(columns)) {
                let own = root(row);
                rates.fill(rate * if own > 0.0 { own } else { whole });
            }
            if let Some(bias) = &changing.bias {
                rates[bias.clone()].fill(0.1 * rate * root(&slots[changing.result]));
            }
        }
        Some(rates)
    }
}

/// How far the probabilities that one row of scores stands for are from those of another.
fn divergence(x: &[f32], y: &[f32]) -> f64 {
    let wide = |row: &[f32]| row.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    row_divergence(&wide(x), &wide(y)).max(0.0)
}

/// Steps of which each parameter's are alike in size, whatever its slopes are.
struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    fn new(count: usize) -> Adam {
        Adam { mean: vec![0.0; count], square: vec![0.0; count], steps: 0 }
    }

    fn step(&mut self, parameters: &mut [f32], slopes: &[f32], rates: &[f32], factor: f32) {
        const KEEP: (f32, f32) = (0.9, 0.999);
        self.steps += 1;
        let (mean, square) = (1.0 - KEEP.0.powi(self.steps), 1.0 - KEEP.1.powi(self.steps));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for (((parameter, &slope), &rate), (m, s)) in parameters.iter_mut().zip(slopes).zip(rates).zip(moments) {
            *m = KEEP.0 * *m + (1.0 - KEEP.0) * slope;
            *s = KEEP.1 * *s + (1.0 - KEEP.1) * slope * slope;
            let deviation = (*s / square).sqrt();
            if deviation > 0.0 {
                *parameter -= factor * rate * (*m / mean) / (deviation + 1e-12);
            }
        }
    }
}
