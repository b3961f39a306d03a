//! From what a tensor held to the range that integers stand for.
//!
//! All methods read the same [`Statistics`], so another one needs no other run. Every range holds zero, which padding
//! and Relu need exactly (Jacob et al. 2018, section 2.1), and is wider than nothing.

use std::str::FromStr;

use crate::calibrate::histogram::{BINS, Bin, Histogram};
use crate::calibrate::statistics::Statistics;

/// How a range is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// From the least element to the greatest.
    MinMax,
    /// Between moving averages of each sample's least and greatest element.
    Ema,
    /// Between the means of each sample's least and greatest element.
    Mean,
    /// So that this percentage of all elements is inside, as many being cut off on either side.
    Percentile(f64),
    /// Where the distribution of what integers give back diverges least from the elements' (Migacz 2017, "8-bit
    /// inference with TensorRT").
    Entropy,
    /// Where the mean squared error of what integers give back is least.
    Mse,
}

/// The percentage that is inside where none is said.
const INSIDE: f64 = 99.99;

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Method, String> {
        Ok(match text {
            "minmax" => Method::MinMax,
            "ema" => Method::Ema,
            "mean" => Method::Mean,
            "percentile" => Method::Percentile(INSIDE),
            "entropy" => Method::Entropy,
            "mse" => Method::Mse,
            _ => match text.strip_prefix("percentile=") {
                // Of less than half, nothing is left of a tensor.
                Some(inside) => match inside.trim_end_matches('%').parse() {
                    Ok(inside) if (50.0..=100.0).contains(&inside) => Method::Percentile(inside),
                    _ => return Err("a percentile is a number from 50 to 100".into()),
                },
                None => return Err("expected minmax, ema, mean, percentile, entropy or mse".into()),
            },
        })
    }
}

/// The integers that stand for a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// Bits of each integer, 2 to 16.
    pub bits: u32,
    /// Zero is the integer 0, and the range reaches as far down as up.
    pub symmetric: bool,
}

/// Real numbers that integers stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least; not above zero.
    pub low: f64,
    /// The greatest; not below zero.
    pub high: f64,
}

impl Levels {
    /// 8 bits with a zero point.
    pub const ASYMMETRIC_8: Levels = Levels { bits: 8, symmetric: false };
    /// 8 bits around zero.
    pub const SYMMETRIC_8: Levels = Levels { bits: 8, symmetric: true };

    /// From the range's least number to its greatest in steps of one integer.
    fn steps(self) -> f64 {
        let all = f64::from((1u32 << self.bits) - 1);
        // -128 stands for nothing: the range ends where it ends above.
        if self.symmetric { all - 1.0 } else { all }
    }

    /// `range` as these integers can stand for it.
    fn fit(self, range: Range) -> Range {
        let (low, high) = (range.low.min(0.0), range.high.max(0.0));
        match self.symmetric {
            true => Range { low: -high.max(-low), high: high.max(-low) },
            false => Range { low, high },
        }
    }
}

impl Range {
    /// What one integer is worth.
    pub fn scale(self, levels: Levels) -> f64 {
        (self.high - self.low) / levels.steps()
    }
}

/// The narrowest range: scales stay normal as `f32`, and so do their products with a weight's.
const NARROWEST: f64 = 1e-25;

/// What a tensor that is zero throughout gets: any scale is exact, and an ordinary one troubles no kernel.
const ALL_ZERO: Range = Range { low: 0.0, high: 1.0 };

/// Candidates for each end of a range, from a [`SHARES`]th of all to all.
const SHARES: u32 = 128;

/// The range for a tensor of these statistics.
pub fn range(statistics: &Statistics, method: Method, levels: Levels) -> Range {
    let all = Range { low: statistics.min.into(), high: statistics.max.into() };
    let found = match method {
        Method::MinMax => all,
        Method::Ema => Range { low: statistics.ema_min, high: statistics.ema_max },
        Method::Mean => Range { low: statistics.mean_min, high: statistics.mean_max },
        Method::Percentile(percent) => percentile(&statistics.histogram, percent, levels),
        Method::Entropy => entropy(&statistics.histogram, all, levels),
        Method::Mse => least_error(&statistics.histogram, all, levels),
    };
    // Bins reach a little further than elements.
    let inside = Range { low: found.low.max(all.low), high: found.high.min(all.high) };
    let fitted = levels.fit(inside);
    if fitted.high - fitted.low >= NARROWEST {
        return fitted;
    }
    levels.fit(match fitted {
        Range { low: 0.0, high: 0.0 } => ALL_ZERO,
        Range { low, high } if high >= -low => Range { low: 0.0, high: NARROWEST },
        _ => Range { low: -NARROWEST, high: 0.0 },
    })
}

/// The mean squared error of elements that pass through integers for `range`, as far as bins tell.
pub fn mean_squared_error(histogram: &Histogram, range: Range, levels: Levels) -> f64 {
    let bins: Vec<Bin> = histogram.bins().collect();
    squared_error(&bins, histogram.width(), range, levels) / histogram.len().max(1) as f64
}

fn squared_error(bins: &[Bin], width: f64, range: Range, levels: Levels) -> f64 {
    let scale = range.scale(levels);
    if scale <= 0.0 {
        return bins.iter().map(|b| b.count as f64 * b.middle * b.middle).sum();
    }
    // The zero point is an integer, so the range that integers really stand for may be off by half a step.
    let offset = (range.low / scale).round() * scale;
    let end = offset + scale * levels.steps();
    // Where bins are not much narrower than steps, middles say nothing of the rounding of what is around them.
    let fine = width * 4.0 <= scale;
    let error = |x: f64| match x {
        x if x < offset => x - offset,
        x if x > end => x - end,
        x if fine => x - offset - ((x - offset) / scale).round() * scale,
        _ => scale / 12f64.sqrt(),
    };
    bins.iter().map(|b| b.count as f64 * error(b.middle).powi(2)).sum()
}

fn percentile(histogram: &Histogram, percent: f64, levels: Levels) -> Range {
    let outside = (1.0 - (percent / 100.0).clamp(0.0, 1.0)) * histogram.len() as f64;
    let half = histogram.width() / 2.0;
    let bins: Vec<Bin> = histogram.bins().collect();
    if levels.symmetric {
        let end = cut(Magnitudes::of(&bins, histogram.width()).outermost_first(), outside);
        return Range { low: -end, high: end };
    }
    let low = cut(bins.iter().filter(|b| b.middle < 0.0).map(|b| (b.middle, b.count)), outside / 2.0) - half;
    let high = cut(bins.iter().rev().filter(|b| b.middle > 0.0).map(|b| (b.middle, b.count)), outside / 2.0) + half;
    Range { low, high }
}

/// The first place, coming from outside, by which more than `outside` elements were passed.
fn cut(mut places: impl Iterator<Item = (f64, u64)>, outside: f64) -> f64 {
    let mut passed = 0.0;
    let found = places.find(|(_, count)| {
        passed += *count as f64;
        passed > outside
    });
    found.map_or(0.0, |(place, _)| place)
}

/// Counts by distance from zero: the first belongs to distances from 0 to below `width`, the second to the next.
struct Magnitudes {
    width: f64,
    counts: Vec<u64>,
}

impl Magnitudes {
    /// Of bins of this width; wider where there would be more than a histogram has.
    fn of(bins: &[Bin], width: f64) -> Magnitudes {
        let farthest = bins.iter().map(|b| b.middle.abs()).fold(0.0, f64::max);
        let mut width = width;
        while farthest / width >= BINS as f64 {
            width *= 2.0;
        }
        let mut counts = vec![0; if bins.is_empty() { 0 } else { (farthest / width) as usize + 1 }];
        for bin in bins {
            counts[(bin.middle.abs() / width) as usize] += bin.count;
        }
        Magnitudes { width, counts }
    }

    /// Distances from zero, the farthest first.
    fn outermost_first(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.counts.iter().enumerate().rev().map(|(i, &count)| ((i + 1) as f64 * self.width, count))
    }
}

/// Each end is moved towards zero as far as it helps, by turns.
fn least_error(histogram: &Histogram, all: Range, levels: Levels) -> Range {
    let bins: Vec<Bin> = histogram.bins().collect();
    let error = |range: Range| squared_error(&bins, histogram.width(), levels.fit(range), levels);
    let mut best = levels.fit(all);
    let mut least = error(best);
    let whole = best;
    for _ in 0..3 {
        let before = best;
        for end in 0..2 {
            for share in 1..=SHARES {
                let share = f64::from(share) / f64::from(SHARES);
                let tried = match (levels.symmetric, end) {
                    (true, _) => Range { low: whole.low * share, high: whole.high * share },
                    (false, 0) => Range { high: whole.high * share, ..best },
                    (false, _) => Range { low: whole.low * share, ..best },
                };
                let found = error(tried);
                if found < least {
                    (best, least) = (tried, found);
                }
            }
        }
        if best == before || levels.symmetric {
            break;
        }
    }
    best
}

/// Bins between two candidates of [`entropy`].
const STRIDE: usize = 8;

/// The end at which what is cut off and what is rounded together change the distribution of magnitudes least.
fn entropy(histogram: &Histogram, all: Range, levels: Levels) -> Range {
    let bins: Vec<Bin> = histogram.bins().collect();
    let Magnitudes { width, counts } = Magnitudes::of(&bins, histogram.width());
    let counts: Vec<f64> = counts.into_iter().map(|count| count as f64).collect();
    let cut_at = |end: f64| levels.fit(Range { low: all.low.max(-end), high: all.high.min(end) });
    let mut best = (f64::INFINITY, cut_at(f64::INFINITY));
    let ends = (STRIDE..counts.len()).step_by(STRIDE).chain([counts.len()]);
    for end in ends {
        let range = cut_at(end as f64 * width);
        // How many integers stand for the magnitudes up to here.
        let levels_here = (end as f64 * width / range.scale(levels)).round() as usize;
        if levels_here < 1 || end < levels_here {
            continue;
        }
        let found = divergence(&counts, end, levels_here);
        if found < best.0 {
            best = (found, range);
        }
    }
    best.1
}

/// Kullback-Leibler divergence from the first `end` counts, the rest being added to the last of them, to those that are
/// left when `levels` groups of neighbours each share their counts evenly among those that have any.
fn divergence(counts: &[f64], end: usize, levels: usize) -> f64 {
    let outliers: f64 = counts[end..].iter().sum();
    let total: f64 = counts.iter().sum();
    let inside: f64 = total - outliers;
    if total <= 0.0 || inside <= 0.0 {
        return f64::INFINITY;
    }
    let mut sum = 0.0;
    for level in 0..levels {
        let group = level * end / levels..(level + 1) * end / levels;
        let some = counts[group.clone()].iter().filter(|c| **c > 0.0).count();
        let mean = counts[group.clone()].iter().sum::<f64>() / some.max(1) as f64;
        for i in group {
            let p = (counts[i] + if i + 1 == end { outliers } else { 0.0 }) / total;
            if p <= 0.0 {
                continue;
            }
            // Where outliers pile up on nothing, nothing gives them back.
            let q = if counts[i] > 0.0 { mean / inside } else { f64::MIN_POSITIVE };
            sum += p * (p / q).ln();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn methods_are_said_by_name() {
        let all: [Method; 6] =
            ["minmax", "ema", "mean", "percentile", "entropy", "mse"].map(|name| name.parse().unwrap());
        assert_eq!(all, METHODS);
        assert_eq!("percentile=99.9%".parse(), Ok(Method::Percentile(99.9)));
        for wrong in ["", "max", "percentile=", "percentile=0", "percentile=nan", "percentile=101", "mse=1"] {
            assert!(wrong.parse::<Method>().is_err(), "{wrong}");
        }
    }

    const A8: Levels = Levels::ASYMMETRIC_8;
    const S8: Levels = Levels::SYMMETRIC_8;
    const METHODS: [Method; 6] =
        [Method::MinMax, Method::Ema, Method::Mean, Method::Percentile(99.99), Method::Entropy, Method::Mse];

    fn of(elements: &[f32]) -> Statistics {
        let mut statistics = Statistics::default();
        statistics.add(elements);
        statistics
    }

    fn bell(outliers: &[f32]) -> Statistics {
        let mut random = Random::new(7, "range");
        let mut elements: Vec<f32> = (0..100_000).map(|_| random.normal() as f32).collect();
        elements.extend(outliers);
        of(&elements)
    }

    /// What the numbers themselves lose, rather than their bins.
    fn measured(elements: &[f32], range: Range, levels: Levels) -> f64 {
        let scale = range.scale(levels);
        let low = (range.low / scale).round();
        let back = |x: f32| (f64::from(x) / scale).round().clamp(low, low + levels.steps()) * scale;
        elements.iter().map(|&x| (f64::from(x) - back(x)).powi(2)).sum::<f64>() / elements.len() as f64
    }

    #[test]
    fn every_range_holds_zero_and_is_wider_than_nothing() {
        let tensors = [&[][..], &[0.0], &[1e-30], &[-1e-30], &[5.0], &[-5.0], &[1.0, 2.0, 3.0], &[f32::MAX, -f32::MAX]];
        for elements in tensors {
            for method in METHODS {
                for levels in [A8, S8] {
                    let r = range(&of(elements), method, levels);
                    assert!(r.low <= 0.0 && r.high >= 0.0, "{elements:?} {method:?} {r:?}");
                    let scale = r.scale(levels) as f32;
                    assert!(scale.is_normal(), "{elements:?} {method:?} {r:?}");
                    assert!(!levels.symmetric || r.low == -r.high, "{elements:?} {method:?} {r:?}");
                }
            }
        }
    }

    #[test]
    fn min_max_is_what_was_seen() {
        let s = of(&[-1.0, 0.5, 3.0]);
        assert_eq!(range(&s, Method::MinMax, A8), Range { low: -1.0, high: 3.0 });
        assert_eq!(range(&s, Method::MinMax, S8), Range { low: -3.0, high: 3.0 });
        assert_eq!(range(&of(&[1.0, 2.0]), Method::MinMax, A8), Range { low: 0.0, high: 2.0 });
    }

    #[test]
    fn a_percentile_leaves_that_much_outside() {
        let mut random = Random::new(3, "percentile");
        let elements: Vec<f32> = (0..100_000).map(|_| random.unit() as f32 * 2.0 - 1.0).collect();
        for levels in [A8, S8] {
            let r = range(&of(&elements), Method::Percentile(90.0), levels);
            assert!((r.high - 0.9).abs() < 0.01 && (r.low + 0.9).abs() < 0.01, "{r:?}");
        }
    }

    #[test]
    fn one_outlier_does_not_take_all_integers() {
        let s = bell(&[1000.0]);
        for method in [Method::Percentile(99.99), Method::Entropy] {
            for levels in [A8, S8] {
                let r = range(&s, method, levels);
                assert!(r.high < 100.0, "{method:?} {r:?}");
            }
        }
        // Rounding a hundred thousand elements in steps of 0.8 costs more than cutting one of 100 down.
        assert!(range(&bell(&[100.0]), Method::Mse, S8).high < 90.0);
    }

    #[test]
    fn the_least_error_is_no_larger_than_any_other() {
        let mut random = Random::new(11, "laplace");
        let elements: Vec<f32> = (0..50_000).map(|_| (random.normal() * random.normal() * 2.0) as f32).collect();
        let s = of(&elements);
        for levels in [A8, S8] {
            let least = measured(&elements, range(&s, Method::Mse, levels), levels);
            for method in METHODS {
                let other = measured(&elements, range(&s, method, levels), levels);
                assert!(least <= other * 1.02, "{method:?} {levels:?}: {least} > {other}");
            }
            let told = mean_squared_error(&s.histogram, range(&s, Method::Mse, levels), levels);
            assert!((told / least - 1.0).abs() < 0.1, "{told} for {least}");
        }
    }

    #[test]
    fn a_bell_is_cut_where_the_literature_cuts_it() {
        // Banner et al. 2019, table 1: 8 bits of a normal distribution are best cut at about 3.9 standard deviations.
        let r = range(&bell(&[]), Method::Mse, S8);
        assert!((3.6..4.3).contains(&r.high), "{r:?}");
    }
}
