//! How close outputs are to those of the model in real numbers, and which of several models comes closest.

use crate::calibrate::Sample;
use crate::ir::Tensor;
use crate::quantize::QuantizeError;

/// Outputs nearer than this count as this near, in dB: scores that a model is certain of would outweigh all others.
pub(super) const BEST: f64 = 60.0;

/// Samples that tell early that a model is not better than another: it is behind on all of them.
pub(super) const EARLY: usize = 2;

/// How close outputs are, added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    sum: f64,
    count: u32,
}

impl Judged {
    /// Of several of them together.
    pub(super) fn all(each: &[Judged]) -> Judged {
        let none = Judged { sum: 0.0, count: 0 };
        each.iter().fold(none, |all, one| Judged { sum: all.sum + one.sum, count: all.count + one.count })
    }

    /// In dB.
    pub(super) fn mean(&self) -> f64 {
        if self.count == 0 { BEST } else { self.sum / f64::from(self.count) }
    }
}

/// Run samples and compare with what is known of them.
pub(super) fn judged<'s>(
    samples: impl Iterator<Item = (&'s Sample, &'s Vec<Tensor>)>,
    mut run: impl FnMut(&Sample) -> Result<Vec<Tensor>, QuantizeError>,
) -> Result<Judged, QuantizeError> {
    let mut judged = Judged { sum: 0.0, count: 0 };
    for (feed, reference) in samples {
        for (x, y) in reference.iter().zip(run(feed)?) {
            if let Some(ratio) = decibels(x, &y) {
                judged.sum += ratio;
                judged.count += 1;
            }
        }
    }
    Ok(judged)
}

/// Several models that are run on the same samples, each on no more of them than it takes to tell which is best.
pub(super) struct Rivals<R> {
    samples: usize,
    /// How close each model was on the first samples, as far as it was run.
    judged: Vec<Vec<Judged>>,
    run: R,
}

/// How close the best of several models is, in dB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Told {
    /// On all samples.
    pub(super) all: f64,
    /// On those that the first model was run on, too.
    pub(super) beside: f64,
    /// The first model on these.
    pub(super) first: f64,
}

impl<R: FnMut(usize, usize) -> Result<Judged, QuantizeError>> Rivals<R> {
    /// So many models on so many samples; `run` judges a model on a sample.
    pub(super) fn new(models: usize, samples: usize, run: R) -> Rivals<R> {
        Rivals { samples, judged: vec![Vec::new(); models], run }
    }

    /// Whether a model is better than another in the mean of all samples. It is not where it is behind on each of the first,
    /// [`EARLY`] of them. To be ahead on these is not enough: what cuts ranges off is good for most samples, and very bad
    /// for some.
    pub(super) fn is_better(&mut self, model: usize, than: usize) -> Result<bool, QuantizeError> {
        self.reach(model, EARLY)?;
        self.reach(than, EARLY)?;
        let is_behind = |(model, than): (&Judged, &Judged)| model.mean() < than.mean();
        if self.samples > EARLY && self.judged[model].iter().zip(&self.judged[than]).take(EARLY).all(is_behind) {
            return Ok(false);
        }
        self.reach(model, self.samples)?;
        self.reach(than, self.samples)?;
        Ok(Judged::all(&self.judged[model]).mean() > Judged::all(&self.judged[than]).mean())
    }

    /// How close a model is, which is run on all samples for it.
    pub(super) fn told(&mut self, model: usize) -> Result<Told, QuantizeError> {
        self.reach(model, self.samples)?;
        let (first, model) = (&self.judged[0], &self.judged[model]);
        let beside = &model[..first.len().min(model.len())];
        let [all, beside, first] = [model, beside, first].map(|each| Judged::all(each).mean());
        Ok(Told { all, beside, first })
    }

    /// Run a model on so many samples, as far as there are so many.
    fn reach(&mut self, model: usize, samples: usize) -> Result<(), QuantizeError> {
        for sample in self.judged[model].len()..samples.min(self.samples) {
            let judged = (self.run)(model, sample)?;
            self.judged[model].push(judged);
        }
        Ok(())
    }
}

/// The best of so many places, where they get better up to it and worse behind it: up from the middle, and where that
/// leads nowhere, down from it. Of five places three or four are looked at. The first is what others are compared with.
pub(super) fn highest<E>(
    places: usize,
    mut is_better: impl FnMut(usize, usize) -> Result<bool, E>,
) -> Result<usize, E> {
    let middle = places / 2;
    let mut best = 0;
    let mut climb = |way: &mut dyn Iterator<Item = usize>, best: &mut usize| {
        for at in way {
            if !is_better(at, *best)? {
                break;
            }
            *best = at;
        }
        Ok(())
    };
    climb(&mut (middle.max(1)..places), &mut best)?;
    if best <= middle {
        climb(&mut (1..middle).rev(), &mut best)?;
    }
    Ok(best)
}

/// The signal of a float tensor over the noise in another, in dB, no more than [`BEST`] on either side. `None` of
/// tensors that are no floats or hold nothing.
fn decibels(original: &Tensor, result: &Tensor) -> Option<f64> {
    if !original.dtype().is_float() || original.len() == 0 {
        return None;
    }
    let (x, y) = (original.reals()?, result.reals()?);
    if x.len() != y.len() {
        return Some(-BEST);
    }
    let (mut signal, mut noise) = (0f64, 0f64);
    for (x, y) in x.iter().zip(&y).filter(|(x, _)| x.is_finite()) {
        signal += x * x;
        noise += (x - y) * (x - y);
    }
    if noise == 0.0 {
        return Some(BEST);
    }
    let ratio = 10.0 * (signal / noise).log10();
    // What is no number any more is lost.
    Some(if ratio.is_nan() { -BEST } else { ratio.clamp(-BEST, BEST) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_at_first_is_not_run_on_more() {
        // Of each model on each sample.
        let of = |heights: [[f64; 4]; 2]| {
            let mut runs = [0; 2];
            let mut rivals = Rivals::new(2, 4, |model: usize, sample: usize| {
                runs[model] += 1;
                Ok(Judged { sum: heights[model][sample], count: 1 })
            });
            let is_better = rivals.is_better(1, 0).unwrap();
            let told = rivals.told(usize::from(is_better)).unwrap();
            (is_better, told, runs)
        };
        let first = [20.0, 21.0, 22.0, 23.0];
        let told = |all, beside, first| Told { all, beside, first };
        assert_eq!(of([first, [21.0, 22.0, 1.0, 2.0]]), (false, told(21.5, 21.5, 21.5), [4, 4]), "so it is by chance");
        assert_eq!(of([first, [19.0, 20.0, 60.0, 60.0]]), (false, told(21.5, 21.5, 21.5), [4, 2]));
        assert_eq!(
            of([first, [19.0, 22.0, 30.0, 30.0]]),
            (true, told(25.25, 25.25, 21.5), [4, 4]),
            "they do not agree"
        );
        assert!(!of([first, first]).0);
        let mut few = Rivals::new(2, 1, |model: usize, _| Ok(Judged { sum: model as f64, count: 1 }));
        assert!(few.is_better(1, 0).unwrap() && !few.is_better(0, 1).unwrap(), "so few are all there are");
    }

    #[test]
    fn a_hill_is_climbed_from_its_middle() {
        let of = |heights: &[f64]| {
            let mut seen = std::collections::BTreeSet::new();
            let found = highest(heights.len(), |at, than| {
                seen.extend([at, than]);
                Ok::<bool, ()>(heights[at] > heights[than])
            });
            (found.unwrap(), seen.len())
        };
        assert_eq!(of(&[5.0, 4.0, 3.0, 2.0, 1.0]), (0, 3));
        assert_eq!(of(&[5.0, 6.0, 3.0, 2.0, 1.0]), (1, 3));
        assert_eq!(of(&[2.0, 4.0, 3.0, 2.0, 1.0]), (1, 4));
        assert_eq!(of(&[1.0, 2.0, 3.0, 2.0, 1.0]), (2, 4));
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0]), (4, 4));
        assert_eq!(of(&[1.0, 1.0, 1.0, 1.0, 1.0]), (0, 3));
        assert_eq!((of(&[1.0]).0, of(&[1.0, 2.0]), of(&[1.0, 2.0, 3.0])), (0, (1, 2), (2, 3)));
    }

    #[test]
    fn noise_is_measured_by_sample() {
        let t = |x: &[f32]| Tensor::f32s(&[x.len()], x).unwrap();
        assert_eq!(decibels(&t(&[1.0, 2.0]), &t(&[1.0, 2.0])), Some(BEST));
        assert!((decibels(&t(&[10.0]), &t(&[11.0])).unwrap() - 20.0).abs() < 1e-9);
        assert_eq!(decibels(&t(&[1.0]), &t(&[f32::NAN])), Some(-BEST));
        assert_eq!(decibels(&t(&[0.0]), &t(&[1.0])), Some(-BEST));
        assert_eq!(decibels(&t(&[]), &t(&[])), None);
        assert_eq!(decibels(&Tensor::vector(&[1]), &Tensor::vector(&[2])), None);
    }
}
