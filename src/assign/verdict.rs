//! How good a model is beside the one that it was made of, and how sure of it so many samples make.
//!
//! Bounds are kept on samples that nobody has seen, so what is measured on a few hundred is given room: the mean noise is
//! taken at the upper end of its confidence interval, and so is the share of samples whose class changes. That share is a
//! few samples out of a few hundred and says little by counting; it is told by how near each sample is to another class,
//! beside the noise of scores: were that noise normal, a sample whose best class is `g` above the next changes with
//! probability Φ(−g/σ). What was counted has to keep the bound, too. And it counts twice: samples to calibrate on are
//! often some that a network was trained on, of which it is surer than of others. Measured on a small network: the
//! divergence on unseen samples is 1.8 times that on those held out.

use crate::calibrate::Sample;
use crate::exec::{Cannot, Executor, Stepper};
use crate::ir::{ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::quality::{Bounds, Quality, compare_outputs};
use crate::sensitivity::loss::{Heads, mean};

/// How good a model is.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    /// What outputs lose, as sensitivities count it.
    pub loss: f64,
    /// Each output.
    pub outputs: Vec<Quality>,
    /// The least signal over noise of an output that is likely, in dB.
    pub sqnr: f64,
    /// The largest share of samples with another class that is likely, in percent. `None` where no output has classes.
    pub drop: Option<f64>,
}

impl Verdict {
    /// Whether it is likely that bounds are kept.
    pub(super) fn meets(&self, bounds: &Bounds) -> bool {
        bounds.check(&self.outputs).is_ok()
            && bounds.min_sqnr.is_none_or(|least| self.sqnr >= least)
            && bounds.max_drop.is_none_or(|most| self.drop.is_none_or(|drop| drop <= most))
    }

    /// The share of samples that have another class, in percent, as counted.
    pub(super) fn counted(&self) -> Option<f64> {
        self.outputs.iter().filter_map(|q| Some(100.0 * (1.0 - q.agreement?))).reduce(f64::max)
    }
}

/// Nineteen of twenty means of so many samples are below the mean by no more than so many of their deviations.
const CONFIDENCE: f64 = 1.645;

/// Compares models with one.
pub(super) struct Verifier<'a> {
    float: &'a Model,
    samples: &'a [Sample],
    engine: &'a dyn Executor,
    heads: &'a Heads,
    outputs: Vec<ValueId>,
    /// Of the float model: each output's tensors, and each head's.
    reference: [Vec<Vec<Tensor>>; 2],
}

impl<'a> Verifier<'a> {
    /// Of models that `float` was made into, on `samples`.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub(super) fn new(
        float: &'a Model,
        samples: &'a [Sample],
        engine: &'a dyn Executor,
        heads: &'a Heads,
    ) -> Result<Verifier<'a>, Cannot> {
        let outputs = outputs(float);
        let none = [Vec::new(), Vec::new()];
        let mut verifier = Verifier { float, samples, engine, heads, outputs, reference: none };
        let (shown, _) = verifier.run(float, &verifier.outputs)?;
        verifier.reference = shown;
        Ok(verifier)
    }

    /// How many runs a verdict takes.
    pub(super) fn samples(&self) -> usize {
        self.samples.len()
    }

    /// How good `model` is, whose values have the ids of the float model's.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub(super) fn judge(&self, model: &Model) -> Result<Verdict, Cannot> {
        let ([outputs, heads], has_heads) = self.run(model, &outputs(model))?;
        let by_sample = |columns: &[Vec<Tensor>]| -> Vec<Vec<Tensor>> {
            (0..self.samples.len()).map(|i| columns.iter().map(|c| c[i].clone()).collect()).collect()
        };
        let qualities = compare_outputs(self.float, &by_sample(&self.reference[0]), &by_sample(&outputs));
        let loss = match has_heads {
            true => {
                let want: Vec<&[Tensor]> = self.reference[1].iter().map(Vec::as_slice).collect();
                let got: Vec<&[Tensor]> = heads.iter().map(Vec::as_slice).collect();
                mean(&self.heads.losses(&want, &got))
            }
            false => f64::INFINITY,
        };
        let pairs = || self.reference[0].iter().zip(&outputs);
        let sqnr = pairs().filter_map(|(want, got)| likely_sqnr(want, got)).fold(f64::INFINITY, f64::min);
        // Before a softmax noise is alike for samples that are certain and those that are not.
        let shown = || match has_heads {
            true => self.reference[1].iter().zip(&heads),
            false => self.reference[0].iter().zip(&outputs),
        };
        let drop = shown().filter_map(|(want, got)| likely_drop(want, got)).reduce(f64::max);
        Ok(Verdict { loss, outputs: qualities, sqnr, drop })
    }

    /// The tensors of outputs and of heads; whether there are heads at all.
    fn run(&self, model: &Model, outputs: &[ValueId]) -> Result<([Vec<Vec<Tensor>>; 2], bool), Cannot> {
        let heads = self.heads.values();
        let has_heads = heads.iter().all(|&v| model.graph.has_value(v));
        let mut asked = outputs.to_vec();
        if has_heads {
            asked.extend(&heads);
        }
        let mut stepper = Stepper::new(model, self.samples, self.engine)?;
        stepper.reach(model, &asked)?;
        let column = |&value: &ValueId| match (stepper.of(value), model.graph.constant(value)) {
            (Some(tensors), _) => tensors.to_vec(),
            (None, Some(constant)) => vec![constant.clone(); self.samples.len()],
            // Of what is gone nothing is as it was.
            (None, None) => vec![Tensor::vector(&[]); self.samples.len()],
        };
        let shown = [outputs.iter().map(column).collect(), heads.iter().map(column).collect()];
        Ok((shown, has_heads))
    }
}

fn outputs(model: &Model) -> Vec<ValueId> {
    model.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value).collect()
}

/// The least signal over noise that is likely, in dB; `None` of what is no float.
fn likely_sqnr(want: &[Tensor], got: &[Tensor]) -> Option<f64> {
    let noises = crate::sensitivity::loss::noises_of(want, got)?;
    Some(-10.0 * upper(&noises).log10())
}

/// The upper end of the mean's confidence interval.
fn upper(numbers: &[f64]) -> f64 {
    let n = numbers.len() as f64;
    let mean = mean(numbers);
    if numbers.len() < 2 || !mean.is_finite() {
        return mean;
    }
    let variance = numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0);
    mean + CONFIDENCE * (variance / n).sqrt()
}

/// So many times as many samples that nobody trained on change their class.
const UNSEEN: f64 = 2.0;

/// Classes beside the best whose scores are looked at.
const NEXT: usize = 4;

/// The largest share of rows with another largest element that is likely, in percent; `None` of what has no classes.
fn likely_drop(want: &[Tensor], got: &[Tensor]) -> Option<f64> {
    let mut gaps = Vec::new();
    let (mut squares, mut count) = (0.0, 0usize);
    for (x, y) in want.iter().zip(got) {
        let row = x.dims().last().copied().filter(|&row| x.rank() == 2 && row > 1 && x.dtype().is_float())?;
        if x.dims() != y.dims() {
            return Some(100.0);
        }
        let (x, y) = (x.reals()?, y.reals()?);
        for (x, y) in x.chunks(row).zip(y.chunks(row)) {
            let mut order: Vec<usize> = (0..row).collect();
            order.sort_by(|&a, &b| x[b].total_cmp(&x[a]));
            let best = order[0];
            gaps.push(x[best] - x[order[1]]);
            for &next in order[1..].iter().take(NEXT) {
                let noise = (y[best] - x[best]) - (y[next] - x[next]);
                squares += noise * noise;
                count += 1;
            }
        }
    }
    if count == 0 {
        return None;
    }
    let sigma = (squares / count as f64).sqrt();
    if sigma == 0.0 {
        return Some(0.0);
    }
    let chances: Vec<f64> = gaps.iter().map(|gap| below(-gap / sigma)).collect();
    Some(100.0 * (UNSEEN * upper(&chances)).min(1.0))
}

/// Φ: the share of a normal distribution below `x`, to 1e-7. Source: Abramowitz and Stegun, 7.1.26.
fn below(x: f64) -> f64 {
    if x.is_nan() {
        return 1.0;
    }
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let tail = 0.5 * series * (-z * z).exp();
    if x < 0.0 { tail } else { 1.0 - tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_is_told() {
        for (x, share) in [(0.0, 0.5), (-1.0, 0.158_655_3), (1.644_853_6, 0.95), (-8.0, 0.0)] {
            assert!((below(x) - share).abs() < 1e-6, "{x}");
        }
        assert_eq!(below(f64::NAN), 1.0);
    }

    fn rows(rows: &[[f32; 2]]) -> Vec<Tensor> {
        rows.iter().map(|row| Tensor::f32s(&[1, 2], row).unwrap()).collect()
    }

    #[test]
    fn a_share_is_likely_by_how_near_classes_are() {
        let far = rows(&[[9.0, 0.0]; 50]);
        let noisy = rows(&[[9.1, 0.0]; 50]);
        assert!(likely_drop(&far, &noisy).unwrap() < 1e-6);
        assert_eq!(likely_drop(&far, &far), Some(0.0));
        let near = rows(&[[0.1, 0.0]; 50]);
        let moved = rows(&[[0.2, 0.0]; 50]);
        let chance = likely_drop(&near, &moved).unwrap();
        assert!((chance - UNSEEN * 100.0 * below(-1.0)).abs() < 1e-3, "{chance}");
        let one = [Tensor::f32s(&[2], &[1.0, 2.0]).unwrap()];
        assert_eq!(likely_drop(&one, &one), None);
    }

    #[test]
    fn the_upper_end_is_above_the_mean_as_far_as_numbers_vary() {
        assert_eq!(upper(&[2.0, 2.0, 2.0]), 2.0);
        assert!((upper(&[1.0, 3.0]) - (2.0 + CONFIDENCE)).abs() < 1e-12);
        assert_eq!(upper(&[1.0, f64::INFINITY]), f64::INFINITY);
        assert_eq!(upper(&[3.0]), 3.0);
    }
}
