//! What a tensor's elements were over all samples, in bounded memory: what every range method needs, and nothing else.

use serde::{Deserialize, Serialize};

use crate::calibrate::channels::Channels;
use crate::calibrate::elements::{Real, Scan, scan};
use crate::calibrate::histogram::Histogram;
use crate::ir::{DType, Tensor};

/// How much of the moving average stays when a sample comes (Jacob et al. 2018, section 3.1, have it close to 1).
pub const MOMENTUM: f64 = 0.99;

/// So many elements of a sample's tensor are counted in the histogram at the least: shares of them are known to a
/// fraction of a percent, and least and greatest element of all of them.
const MANY: usize = 1 << 16;

/// One of so many elements is counted at the least.
const MOST: usize = 4;

/// Elements beside one another that are counted or not. A prime: rows of channels are met everywhere.
const RUN: usize = 251;

/// What one tensor held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// The least element.
    pub min: f32,
    /// The greatest element.
    pub max: f32,
    /// Moving average of each sample's least element, with [`MOMENTUM`].
    pub ema_min: f64,
    /// Moving average of each sample's greatest element, with [`MOMENTUM`].
    pub ema_max: f64,
    /// Mean over samples of the least element.
    pub mean_min: f64,
    /// Mean over samples of the greatest element.
    pub mean_max: f64,
    /// Samples seen.
    pub samples: u64,
    /// Elements that are NaN or infinite, which count nowhere else.
    pub not_finite: u64,
    /// How often elements are where.
    pub histogram: Histogram,
    /// What each channel held, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
}

impl Default for Statistics {
    fn default() -> Statistics {
        Statistics {
            min: 0.0,
            max: 0.0,
            ema_min: 0.0,
            ema_max: 0.0,
            mean_min: 0.0,
            mean_max: 0.0,
            samples: 0,
            not_finite: 0,
            histogram: Histogram::default(),
            channels: None,
        }
    }
}

impl Statistics {
    /// See one sample's elements. One without finite elements counts as no sample.
    pub fn add(&mut self, elements: &[f32]) {
        self.add_reals(elements);
    }

    /// See a float tensor, and its channels where statistics of these are kept; other tensors are not seen.
    pub fn add_tensor(&mut self, tensor: &Tensor) {
        // Elements lie in the tensor's bytes as they are added: nothing is copied or need be aligned.
        if tensor.dtype() == DType::F32
            && let Some(bytes) = tensor.bytes()
        {
            self.add_shaped(bytes.as_chunks::<4>().0, tensor.dims());
        } else if matches!(tensor.dtype(), DType::F16 | DType::BF16 | DType::F64)
            && let Some(reals) = tensor.reals()
        {
            #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
            let elements: Vec<f32> = reals.into_iter().map(|x| x as f32).collect();
            self.add_shaped(&elements, tensor.dims());
        }
    }

    fn add_shaped<T: Real>(&mut self, elements: &[T], dims: &[usize]) {
        let not_finite = self.not_finite;
        self.add_reals(elements);
        if let Some(channels) = self.channels.as_mut().filter(|_| not_finite == self.not_finite) {
            channels.add(elements, dims);
        }
    }

    fn add_reals<T: Real>(&mut self, elements: &[T]) {
        let found = scan(elements);
        self.not_finite += found.not_finite;
        let Some((low, high)) = found.range() else { return };
        self.see(low, high);
        let every = elements.len() / MANY;
        if found.not_finite == 0 && every > 1 {
            let some = thinned(elements, every.min(MOST));
            self.histogram.count(&some, &Scan { zeros: scan(&some).zeros, ..found });
        } else if found.not_finite == 0 {
            self.histogram.count(elements, &found);
        } else {
            let finite: Vec<f32> = elements.iter().map(|x| x.real()).filter(|x| x.is_finite()).collect();
            self.histogram.add(&finite);
        }
    }

    /// A sample between these two.
    fn see(&mut self, low: f32, high: f32) {
        let (first, seen) = (self.samples == 0, (self.samples + 1) as f64);
        self.min = if first { low } else { self.min.min(low) };
        self.max = if first { high } else { self.max.max(high) };
        let moved = |average: f64, x: f32| {
            if first { f64::from(x) } else { average * MOMENTUM + f64::from(x) * (1.0 - MOMENTUM) }
        };
        (self.ema_min, self.ema_max) = (moved(self.ema_min, low), moved(self.ema_max, high));
        self.mean_min += (f64::from(low) - self.mean_min) / seen;
        self.mean_max += (f64::from(high) - self.mean_max) / seen;
        self.samples += 1;
    }

    /// See what was seen elsewhere. Moving averages, which know an order, are averaged by their samples; everything
    /// else is as if seen here.
    pub fn merge(&mut self, other: &Statistics) {
        self.not_finite += other.not_finite;
        if other.samples == 0 {
            return;
        }
        if self.samples == 0 {
            let not_finite = self.not_finite;
            *self = Statistics { not_finite, ..other.clone() };
            return;
        }
        // What only one of two machines was asked for says nothing of the other's samples.
        self.channels = match (self.channels.take(), &other.channels) {
            (Some(mine), Some(theirs)) => mine.merged(theirs),
            _ => None,
        };
        let share = other.samples as f64 / (self.samples + other.samples) as f64;
        let towards = |mine: f64, theirs: f64| mine + (theirs - mine) * share;
        self.ema_min = towards(self.ema_min, other.ema_min);
        self.ema_max = towards(self.ema_max, other.ema_max);
        self.mean_min = towards(self.mean_min, other.mean_min);
        self.mean_max = towards(self.mean_max, other.mean_max);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.samples += other.samples;
        self.histogram.merge(&other.histogram);
    }

    /// Whether the parts fit one another; what is read from a file need not.
    pub fn is_sound(&self) -> bool {
        let averages = [self.ema_min, self.ema_max, self.mean_min, self.mean_max];
        // What was written as decimals comes back the last bit off.
        let slack = f64::from(self.max.abs().max(self.min.abs())) * 1e-9;
        let range = f64::from(self.min) - slack..=f64::from(self.max) + slack;
        self.histogram.is_sound()
            && self.channels.as_ref().is_none_or(Channels::is_sound)
            && self.min.is_finite()
            && self.max.is_finite()
            && self.min <= self.max
            && averages.iter().all(|a| a.is_finite() && range.contains(a))
            && (self.samples == 0) == self.histogram.is_empty()
    }
}

/// One of so many runs of elements.
fn thinned<T: Real>(elements: &[T], every: usize) -> Vec<T> {
    let mut some = Vec::with_capacity(elements.len() / every + RUN);
    elements.chunks(RUN).step_by(every).for_each(|run| some.extend_from_slice(run));
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(samples: &[&[f32]]) -> Statistics {
        let mut statistics = Statistics::default();
        for sample in samples {
            statistics.add(sample);
        }
        statistics
    }

    #[test]
    fn samples_are_averaged_and_elements_counted() {
        let s = of(&[&[-1.0, 2.0], &[-3.0, 0.0, 4.0]]);
        assert_eq!((s.min, s.max, s.samples), (-3.0, 4.0, 2));
        assert_eq!((s.mean_min, s.mean_max), (-2.0, 3.0));
        assert!((s.ema_min + 1.02).abs() < 1e-12 && (s.ema_max - 2.02).abs() < 1e-12, "{s:?}");
        assert_eq!((s.histogram.len(), s.histogram.zeros()), (5, 1));
        assert!(s.is_sound());
    }

    #[test]
    fn of_many_elements_some_are_counted() {
        // Rows of channels, one of them far from all others, and an element further still.
        let mut elements: Vec<f32> =
            (0..MANY * 6).map(|i| if i % 768 == 700 { 50.0 } else { (i % 5) as f32 }).collect();
        elements[MANY + 1] = 90.0;
        let (some, all) = (of(&[&elements]), elements.len() as f64);
        assert_eq!((some.max, some.histogram.len()), (90.0, thinned(&elements, MOST).len() as u64));
        let share = |count: u64| count as f64 / some.histogram.len() as f64;
        let counted: u64 = some.histogram.bins().filter(|bin| bin.middle > 49.0).map(|bin| bin.count).sum();
        let known = |is_one: fn(&f32) -> bool| elements.iter().filter(|x| is_one(x)).count() as f64 / all;
        assert!((share(counted) / known(|x| *x >= 50.0) - 1.0).abs() < 0.05, "{counted}");
        assert!((share(some.histogram.zeros()) / known(|x| *x == 0.0) - 1.0).abs() < 0.01);
        assert!(some.is_sound() && of(&[&elements[..2 * MANY - 1]]).histogram.len() == 2 * MANY as u64 - 1);
    }

    #[test]
    fn what_is_not_finite_counts_apart() {
        let s = of(&[&[f32::NAN, 1.0, f32::INFINITY], &[f32::NEG_INFINITY], &[]]);
        assert_eq!((s.min, s.max, s.samples, s.not_finite), (1.0, 1.0, 1, 3));
        assert_eq!(s.histogram.len(), 1);
    }

    #[test]
    fn what_was_seen_apart_adds_up() {
        let (a, b): (&[&[f32]], &[&[f32]]) = (&[&[-1.0, 2.0], &[5.0]], &[&[-7.0, 0.5]]);
        let mut merged = of(a);
        merged.merge(&of(b));
        let whole = of(&[a, b].concat());
        assert_eq!((merged.min, merged.max, merged.samples), (whole.min, whole.max, whole.samples));
        assert!((merged.mean_min - whole.mean_min).abs() < 1e-12);
        assert_eq!(merged.histogram.bins().collect::<Vec<_>>(), whole.histogram.bins().collect::<Vec<_>>());
        let mut from_nothing = Statistics::default();
        from_nothing.merge(&whole);
        assert_eq!(from_nothing, whole);
        let before = whole.clone();
        from_nothing.merge(&Statistics::default());
        assert_eq!(from_nothing, before);
    }
}
