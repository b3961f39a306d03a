//! When more samples tell nothing more.
//!
//! Ranges are compared with those of the first half of the samples, from a number of samples on whenever there are twice
//! as many, and between as often: the one that holds 99.99 % of all elements, the mean of what single samples reach, and
//! the least to the greatest of all. They have settled when neither of the first two moved by more than [`TENSOR`] of its width in any tensor, and none of the three
//! by more than its share of [`TOGETHER`] in the mean of all tensors. The extremes of all samples only ever grow, and
//! how far is chance: they have to agree in the mean alone, and more loosely.
//!
//! How many samples are compared depends on nothing but their number, so neither threads nor clocks decide.

use crate::calibrate::{Levels, Method, Range, Statistics, range};

/// Ranges that are compared, and by how much each may have moved in the mean of all tensors.
const TOGETHER: [(Method, f64); 3] = [(Method::Percentile(99.99), 0.02), (Method::Mean, 0.02), (Method::MinMax, 0.05)];

/// By how much the means of channels may have moved, in the mean of all tensors whose channels are told apart.
const MEANS: f64 = 0.02;

/// By how much a range, or means of channels, may have moved in one tensor; for all but the extremes.
const TENSOR: f64 = 0.1;

/// What is compared of one tensor.
#[derive(Clone, Debug)]
struct Known {
    ranges: [Range; 3],
    /// The mean of each channel; none where they are not told apart.
    means: Vec<f64>,
    /// The sum of their mean squares.
    power: f64,
}

/// Looks at statistics as they come.
#[derive(Debug)]
pub(super) struct Settling {
    /// After each look the next is when there are twice as many runs.
    looks: [Look; 2],
}

#[derive(Debug)]
struct Look {
    /// At so many runs statistics are looked at next.
    at: u64,
    /// What was known of each tensor when they were looked at last.
    known: Option<Vec<Known>>,
}

impl Settling {
    /// Statistics are looked at after the `first` runs and after a third more, and then whenever either number has
    /// doubled: of 12, at 12 and 16, 24 and 32, 48 and 64.
    pub(super) fn from(first: u64) -> Settling {
        let first = first.max(1);
        Settling { looks: [first, first.saturating_add((first / 3).max(1))].map(|at| Look { at, known: None }) }
    }

    /// How many more runs there are until statistics are looked at, after `runs`.
    pub(super) fn ahead(&self, runs: u64) -> u64 {
        self.looks.iter().map(|look| look.at.saturating_sub(runs)).min().unwrap_or(0)
    }

    /// Whether ranges have settled, as far as they are looked at after so many runs.
    pub(super) fn is_done<'s>(&mut self, runs: u64, seen: impl Iterator<Item = &'s Statistics>) -> bool {
        if self.ahead(runs) > 0 {
            return false;
        }
        let known: Vec<Known> = seen.map(Known::of).collect();
        let mut is_done = false;
        for look in self.looks.iter_mut().filter(|look| look.at <= runs) {
            is_done |= look.known.as_ref().is_some_and(|before| agree(before, &known));
            *look = Look { at: runs.saturating_mul(2), known: Some(known.clone()) };
        }
        is_done
    }
}

impl Known {
    fn of(statistics: &Statistics) -> Known {
        let levels = Levels::ASYMMETRIC_8;
        let ranges = TOGETHER.map(|(method, _)| range(statistics, method, levels));
        let (means, power) = match &statistics.channels {
            // Those of samples that differ in their channels are not known, and nothing goes by them.
            Some(channels) => (channels.mean.clone(), channels.power.iter().sum()),
            None => (Vec::new(), 0.0),
        };
        Known { ranges, means, power }
    }
}

fn agree(before: &[Known], after: &[Known]) -> bool {
    let within = |moved: &[f64], together: f64, each: f64| {
        moved.iter().sum::<f64>() <= together * moved.len() as f64 && moved.iter().all(|by| *by <= each)
    };
    let both = || before.iter().zip(after);
    let ranges = TOGETHER.iter().enumerate().all(|(kind, (method, most))| {
        let each = if *method == Method::MinMax { f64::INFINITY } else { TENSOR };
        let by: Vec<f64> = both().map(|(before, after)| moved(before.ranges[kind], after.ranges[kind])).collect();
        within(&by, *most, each)
    });
    let means: Vec<f64> = both().filter_map(|(before, after)| shifted(before, after)).collect();
    ranges && within(&means, MEANS, TENSOR)
}

/// By how much of their size the means of channels are others. `None` where they are not known of both.
fn shifted(before: &Known, after: &Known) -> Option<f64> {
    let is_known = !after.means.is_empty() && before.means.len() == after.means.len() && after.power > 0.0;
    let squares = || before.means.iter().zip(&after.means).map(|(before, after)| (before - after).powi(2));
    is_known.then(|| (squares().sum::<f64>() / after.power).sqrt())
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
    fn what_does_not_agree_is_looked_at_before_there_are_twice_as_many() {
        let mut random = Random::new(3, "settling");
        // Of 8 runs and of 16 means of what samples reach are others, of 10 and of 20 they are not.
        let spread = |run: u64| {
            if run < 9 {
                1.0
            } else if run < 11 {
                2.0
            } else {
                1.2
            }
        };
        let found = settled(8, |run| within(&mut random, spread(run)));
        assert_eq!(found, Some(20));
    }

    #[test]
    fn samples_that_grow_do_not() {
        let mut random = Random::new(2, "settling");
        assert_eq!(settled(8, |run| within(&mut random, run as f64)), None);
    }

    #[test]
    fn one_tensor_that_moves_is_enough() {
        let known = |range: Range, last: Range, mean: f64| Known {
            ranges: [range, range, last],
            means: vec![mean, 0.0],
            power: 2.0,
        };
        let still = Range { low: -1.0, high: 1.0 };
        let moved = Range { low: -1.0, high: 1.5 };
        let all = |range, last, mean| (0..100).map(|_| known(range, last, mean)).collect::<Vec<_>>();
        let with = |one| all(still, still, 1.0).into_iter().skip(1).chain([one]).collect::<Vec<_>>();
        let before = all(still, still, 1.0);
        assert!(agree(&before, &all(still, still, 1.0)));
        assert!(!agree(&before, &with(known(moved, still, 1.0))), "less than 1 % in the mean of all, but 20 % there");
        assert!(agree(&before, &with(known(still, moved, 1.0))), "extremes may");
        assert!(!agree(&before, &all(still, moved, 1.0)), "but not everywhere");
        assert!(agree(&before, &with(known(still, still, 1.1))), "7 % of what elements are");
        assert!(!agree(&before, &with(known(still, still, 1.2))), "14 %");
        assert!(!agree(&before, &all(still, still, 1.05)), "3.5 %, but everywhere");
        assert!(agree(&before, &all(still, still, 1.02)));
        // Tensors whose channels are not told apart say nothing of means.
        let unknown = || (0..100).map(|_| Known { means: Vec::new(), ..known(still, still, 1.0) });
        let half = |mean: f64| all(still, still, mean).into_iter().chain(unknown()).collect::<Vec<_>>();
        assert!(!agree(&half(1.0), &half(1.05)));
        assert!(agree(&half(1.0), &half(1.02)));
    }
}
