//! Ranges by expected error, with elements that are cut off counting more than those that are rounded.
//!
//! Rounding errs to either side and averages out over the many products of the next layer; what is cut off errs to one
//! side, and the largest elements are those that a network says most with. So the squared error of cut elements counts
//! a number of times.

use crate::calibrate::{Histogram, Levels, Method, Range, Statistics, range};

/// Candidates for each end of a range.
const SHARES: u32 = 128;

/// The range of a tensor with the least expected error, the squared error of elements outside counting `weight` times.
pub fn careful(statistics: &Statistics, weight: f64, levels: Levels) -> Range {
    let all = range(statistics, Method::MinMax, levels);
    let sums = Sums::of(&statistics.histogram);
    let steps = (all.high - all.low) / all.scale(levels);
    let error = |low: f64, high: f64| {
        let step = (high - low) / steps;
        step * step / 12.0 * sums.count + weight * (sums.above(high) + sums.below(low))
    };
    let mut best = (error(all.low, all.high), all);
    let share = |n: u32| f64::from(n) / f64::from(SHARES);
    if levels.symmetric {
        for n in 1..SHARES {
            let tried = Range { low: all.low * share(n), high: all.high * share(n) };
            let found = error(tried.low, tried.high);
            if found < best.0 {
                best = (found, tried);
            }
        }
        return best.1;
    }
    for _ in 0..3 {
        let before = best.1;
        for n in 0..=SHARES {
            for tried in [Range { high: all.high * share(n), ..best.1 }, Range { low: all.low * share(n), ..best.1 }] {
                let found = error(tried.low, tried.high);
                if tried.high > tried.low && found < best.0 {
                    best = (found, tried);
                }
            }
        }
        if best.1 == before {
            break;
        }
    }
    best.1
}

/// Counts of elements with their first and second moments, added up from either end.
struct Sums {
    /// Elements that rounding may move.
    count: f64,
    /// Middles of bins, ascending.
    middles: Vec<f64>,
    /// Count, sum and sum of squares of all bins before each.
    before: Vec<[f64; 3]>,
}

impl Sums {
    fn of(histogram: &Histogram) -> Sums {
        let mut sums = Sums { count: 0.0, middles: Vec::new(), before: vec![[0.0; 3]] };
        let mut so_far = [0.0; 3];
        for bin in histogram.bins() {
            let count = bin.count as f64;
            sums.middles.push(bin.middle);
            so_far = [so_far[0] + count, so_far[1] + count * bin.middle, so_far[2] + count * bin.middle * bin.middle];
            sums.before.push(so_far);
        }
        sums.count = so_far[0];
        sums
    }

    /// The squared error of elements that are cut down to `end`.
    fn above(&self, end: f64) -> f64 {
        let at = self.middles.partition_point(|&middle| middle <= end);
        let (all, inside) = (self.before[self.middles.len()], self.before[at]);
        distance([all[0] - inside[0], all[1] - inside[1], all[2] - inside[2]], end)
    }

    /// The squared error of elements that are cut up to `end`.
    fn below(&self, end: f64) -> f64 {
        distance(self.before[self.middles.partition_point(|&middle| middle < end)], end)
    }
}

/// The sum of squared distances to `end` of elements with these moments.
fn distance([count, sum, squares]: [f64; 3], end: f64) -> f64 {
    (squares - 2.0 * end * sum + end * end * count).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn bell(outlier: f32) -> Statistics {
        let mut random = Random::new(5, "careful");
        let mut elements: Vec<f32> = (0..50_000).map(|_| random.normal() as f32).collect();
        elements.push(outlier);
        let mut statistics = Statistics::default();
        statistics.add(&elements);
        statistics
    }

    #[test]
    fn counting_once_is_the_least_squared_error() {
        for levels in [Levels::SYMMETRIC_8, Levels::ASYMMETRIC_8] {
            let s = bell(60.0);
            let (found, known) = (careful(&s, 1.0, levels), range(&s, Method::Mse, levels));
            assert!((found.high / known.high - 1.0).abs() < 0.1, "{found:?} {known:?}");
        }
    }

    #[test]
    fn the_more_cutting_counts_the_wider_the_range() {
        let s = bell(60.0);
        let high = |weight| careful(&s, weight, Levels::SYMMETRIC_8).high;
        assert!(high(1.0) < high(8.0) && high(8.0) <= high(1e6) && high(1e6) <= 60.0);
    }

    #[test]
    fn an_empty_tensor_and_one_of_zeros_have_a_range() {
        for elements in [&[][..], &[0.0, 0.0], &[-3.0], &[1e-30]] {
            let mut s = Statistics::default();
            s.add(elements);
            for levels in [Levels::SYMMETRIC_8, Levels::ASYMMETRIC_8] {
                assert!(careful(&s, 8.0, levels).scale(levels) > 0.0, "{elements:?}");
            }
        }
    }
}
