//! Steps of gradients: what is drawn, what is lost on it, and how weights follow.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::distill::adam::Adam;
use crate::distill::compile::Compiled;
use crate::distill::draw::{Draw, Input};
use crate::distill::pairwise::add_each;
use crate::distill::pointwise::probabilities;
use crate::distill::{Distillation, Distilled};
use crate::quality::loss::row_divergence;
use crate::random::Random;

/// The root of the largest loss that steps grow with.
const FARTHEST: f64 = 0.6;

/// Of samples that were learned from, so many are measured where there are no others.
const MEASURED: usize = 32;

/// Each of those that are measured is measured moved as well, so many times.
const COPIES: usize = 3;

/// How often the loss is measured.
const LOOKS: usize = 8;

/// A batch is worked on in so many parts, whose sums are added up in order: threads do not change the result.
const PARTS: usize = 16;

/// Slopes that one core adds up in one go.
const SUMMED: usize = 1 << 14;

/// Two models, and what one learns from the other.
pub(super) struct Lesson {
    pub(super) teacher: Compiled,
    pub(super) student: Compiled,
    /// Of each head, whether it is scores of classes: of rows of so many elements.
    pub(super) kinds: Vec<Option<usize>>,
    /// How many samples are learned from; those behind them tell.
    pub(super) samples: usize,
    pub(super) are_mixed: bool,
}

impl Lesson {
    /// Take `steps` on as many draws as a batch has, of those that the larger model is `asked` about. Gives what became of
    /// it and the parameters; `None` where numbers are not finite.
    pub(super) fn hold(
        &self,
        (steps, batch, asked): (usize, usize, usize),
        (distillation, loss_at_first): (&Distillation, Option<f64>),
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
            .flat_map(|sample| std::iter::repeat_n(sample, copies))
            .map(|sample| Draw::moved(sample, &mut random))
            .collect();
        let measured: Vec<Draw> = measured.map(Draw::Whole).chain(moved).collect();
        let told = self.wants(&measured)?;
        let loss = |parameters: &[f32]| self.loss(parameters, &measured, &told, &energies);
        let before = loss(&parameters)?;
        let rates = self.rates(distillation.rate * loss_at_first.unwrap_or(before).sqrt().min(FARTHEST) as f32)?;
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
