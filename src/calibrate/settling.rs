//! When more samples tell nothing more.
//!
//! Whenever the samples that were seen have doubled, ranges are compared with those of the first half: the one that
//! holds 99.99 % of all elements, the mean of what single samples reach, and the least to the greatest of all. They have
//! settled when neither of the first two moved by more than [`TENSOR`] of its width in any tensor, and none of the three
//! by more than its share of [`TOGETHER`] in the mean of all tensors. The extremes of all samples only ever grow, and
//! how far is chance: they have to agree in the mean alone, and more loosely.
//!
//! How many samples are compared depends on nothing but their number, so neither threads nor clocks decide.

use crate::calibrate::{Levels, Method, Range, Statistics, range};

/// Ranges that are compared, and by how much each may have moved in the mean of all tensors.
const TOGETHER: [(Method, f64); 3] = [(Method::Percentile(99.99), 0.02), (Method::Mean, 0.02), (Method::MinMax, 0.05)];

/// By how much a range may have moved in one tensor; for all but the extremes.
const TENSOR: f64 = 0.1;

/// Looks at statistics as they come.
#[derive(Debug)]
pub(super) struct Settling {
    /// At so many runs they are looked at next.
    at: u64,
    /// The ranges of each tensor when they were looked at last.
    known: Option<Vec<[Range; 3]>>,
}

impl Settling {
    /// Statistics are looked at after the `first` runs, and then whenever their number has doubled.
    pub(super) fn from(first: u64) -> Settling {
        Settling { at: first.max(1), known: None }
    }

    /// How many more runs there are until statistics are looked at, after `runs`.
    pub(super) fn ahead(&self, runs: u64) -> u64 {
        self.at.saturating_sub(runs)
    }

    /// Whether ranges have settled, as far as they are looked at after so many runs.
    pub(super) fn is_done<'s>(&mut self, runs: u64, seen: impl Iterator<Item = &'s Statistics>) -> bool {
        if runs < self.at {
            return false;
        }
        let levels = Levels::ASYMMETRIC_8;
        let ranges: Vec<[Range; 3]> =
            seen.map(|statistics| TOGETHER.map(|(method, _)| range(statistics, method, levels))).collect();
        self.at = runs.saturating_mul(2);
        let known = self.known.replace(ranges);
        known.is_some_and(|known| agree(&known, self.known.as_deref().unwrap_or_default()))
    }
}

fn agree(before: &[[Range; 3]], after: &[[Range; 3]]) -> bool {
    let moved = |kind: usize| before.iter().zip(after).map(move |(before, after)| moved(before[kind], after[kind]));
    TOGETHER.iter().enumerate().all(|(kind, (method, most))| {
        let each = if *method == Method::MinMax { f64::INFINITY } else { TENSOR };
        let sum: f64 = moved(kind).sum();
        sum <= most * after.len() as f64 && moved(kind).all(|by| by <= each)
    })
}

/// By how much of its width a range is another one.
fn moved(before: Range, after: Range) -> f64 {
    ((after.low - before.low).abs() + (after.high - before.high).abs()) / (after.high - after.low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// At how many of 64 runs statistics of these have settled.
    fn settled(first: u64, mut elements: impl FnMut(u64) -> Vec<f32>) -> Option<u64> {
        let (mut statistics, mut settling) = (Statistics::default(), Settling::from(first));
        (1..=64).find(|&run| {
            statistics.add(&elements(run));
            settling.is_done(run, std::iter::once(&statistics))
        })
    }

    fn within(random: &mut Random, spread: f64) -> Vec<f32> {
        (0..4000).map(|_| ((2.0 * random.unit() - 1.0) * spread) as f32).collect()
    }

    #[test]
    fn samples_that_are_alike_settle_at_the_second_look() {
        let mut random = Random::new(1, "settling");
        assert_eq!(settled(8, |_| within(&mut random, 1.0)), Some(16));
        assert_eq!(settled(1, |_| vec![0.0; 3]), Some(2), "zeros have a range, too");
    }

    #[test]
    fn samples_that_grow_do_not() {
        let mut random = Random::new(2, "settling");
        assert_eq!(settled(8, |run| within(&mut random, run as f64)), None);
    }

    #[test]
    fn one_tensor_that_moves_is_enough() {
        let still = [Range { low: -1.0, high: 1.0 }; 3];
        let mut other = still;
        other[0].high = 1.5;
        let (before, mut after) = (vec![still; 100], vec![still; 100]);
        assert!(agree(&before, &after));
        after[7] = other;
        assert!(!agree(&before, &after), "less than 1 % in the mean of all, but 20 % there");
        other = still;
        other[2].high = 1.5;
        after[7] = other;
        assert!(agree(&before, &after), "extremes may");
        after.fill(other);
        assert!(!agree(&before, &after), "but not everywhere");
    }
}
