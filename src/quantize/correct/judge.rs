//! How close outputs are to those of the model in real numbers, and which of several models comes closest.

use crate::calibrate::Sample;
use crate::ir::Tensor;
use crate::quantize::QuantizeError;

/// Outputs nearer than this count as this near, in dB: scores that a model is certain of would outweigh all others.
pub(super) const BEST: f64 = 60.0;

/// Samples that tell early that a model is not the best: it is behind on all of them.
const EARLY: usize = 2;

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

/// Run samples with one of several models, and compare each with what is known of it. A model that is behind the `best`
/// so far on each of the first samples, [`EARLY`] of them, is not run on more.
pub(super) fn beside<'s>(
    samples: impl Iterator<Item = (&'s Sample, &'s Vec<Tensor>)>,
    best: &[Judged],
    mut run: impl FnMut(&Sample) -> Result<Vec<Tensor>, QuantizeError>,
) -> Result<Vec<Judged>, QuantizeError> {
    let mut each: Vec<Judged> = Vec::with_capacity(best.len());
    for sample in samples {
        let is_behind = |(found, best): (&Judged, &Judged)| found.mean() < best.mean();
        if each.len() == EARLY && best.len() > EARLY && each.iter().zip(best).all(is_behind) {
            break;
        }
        each.push(judged(std::iter::once(sample), &mut run)?);
    }
    Ok(each)
}

/// Where `height` is greatest among so many places, where it rises and then falls: up from the middle, and where that
/// leads nowhere, down from it. Of five places three or four are looked at. The first is what others are compared with.
pub(super) fn highest<E>(places: usize, mut height: impl FnMut(usize) -> Result<f64, E>) -> Result<usize, E> {
    let middle = places / 2;
    let mut best = (height(0)?, 0);
    let mut climb = |way: &mut dyn Iterator<Item = usize>, best: &mut (f64, usize)| {
        for at in way {
            let found = height(at)?;
            if found <= best.0 {
                break;
            }
            *best = (found, at);
        }
        Ok(())
    };
    climb(&mut (middle.max(1)..places), &mut best)?;
    if best.1 <= middle {
        climb(&mut (1..middle).rev(), &mut best)?;
    }
    Ok(best.1)
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
    use crate::exec::Origin;

    #[test]
    fn what_is_behind_at_first_is_not_run_on_more() {
        let t = |x: f32| Tensor::f32s(&[1], &[x]).unwrap();
        let origin = Origin::MadeUp { index: 0 };
        let samples: Vec<Sample> = (0..4).map(|_| Sample::new(Vec::new(), origin.clone()).unwrap()).collect();
        let reference = vec![vec![t(1.0)]; 4];
        let run = |best: &[Judged], noise: [f32; 4]| {
            let mut noise = noise.into_iter();
            beside(samples.iter().zip(&reference), best, |_| Ok(vec![t(1.0 + noise.next().unwrap())])).unwrap()
        };
        let best = run(&[], [0.1; 4]);
        assert_eq!(best.len(), 4, "there is nothing to be behind of");
        assert_eq!(run(&best, [0.2, 0.2, 0.01, 0.01]).len(), 2);
        assert_eq!(run(&best, [0.2, 0.01, 0.2, 0.2]).len(), 4);
        assert_eq!(run(&best[..2], [0.2; 4]).len(), 4, "so few are all to be run");
        let mean = Judged::all(&run(&best, [0.01; 4])).mean();
        assert!((mean - 40.0).abs() < 0.01, "{mean}");
    }

    #[test]
    fn a_hill_is_climbed_from_its_middle() {
        let of = |heights: &[f64]| {
            let mut seen = 0;
            let found = highest(heights.len(), |at| {
                seen += 1;
                Ok::<f64, ()>(heights[at])
            });
            (found.unwrap(), seen)
        };
        assert_eq!(of(&[5.0, 4.0, 3.0, 2.0, 1.0]), (0, 3));
        assert_eq!(of(&[5.0, 6.0, 3.0, 2.0, 1.0]), (1, 3));
        assert_eq!(of(&[2.0, 4.0, 3.0, 2.0, 1.0]), (1, 4));
        assert_eq!(of(&[1.0, 2.0, 3.0, 2.0, 1.0]), (2, 4));
        assert_eq!(of(&[1.0, 2.0, 3.0, 4.0, 5.0]), (4, 4));
        assert_eq!(of(&[1.0, 1.0, 1.0, 1.0, 1.0]), (0, 3));
        assert_eq!((of(&[1.0]), of(&[1.0, 2.0]), of(&[1.0, 2.0, 3.0])), ((0, 1), (1, 2), (2, 3)));
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
