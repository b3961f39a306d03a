//! A scale and a zero point for a group of weights.
//!
//! Integers are counted from zero upwards, whatever their type: a weight is `(integer − zero) · scale`, and of integers
//! around zero the zero point is the middle. Where nothing is known of what the weights are multiplied with, the best
//! scale is the one with the least squared error. It is found in a few rounds of two steps, each of which makes the
//! error smaller (after Lloyd 1982): with the scale each weight has a nearest integer, and with the integers the best
//! scale follows from a division. Where the rounds begin decides where they end, so they begin from several ranges,
//! the whole and smaller ones.

use crate::ir::DType;
use crate::ir::Tensor;

/// What a group's integers may be.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// The largest integer; the least is zero.
    pub most: u8,
    /// Whether zero is the middle.
    pub is_symmetric: bool,
    /// Whether a scale may be negative: around zero there is one integer more below, which may as well be above.
    pub may_be_negative: bool,
    /// The type that scales are rounded to.
    pub dtype: DType,
}

/// What the integers of a group are worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps {
    /// Real units of one step.
    pub scale: f32,
    /// The integer that is worth zero.
    pub zero: u8,
}

impl Steps {
    /// The integer nearest to a weight, up to `most`.
    pub fn integer(self, weight: f32, most: u8) -> u8 {
        let (steps, largest) = (weight / self.scale, f32::from(most));
        // In comparisons and additions alone, so that weights are handled side by side.
        let steps = if steps < -FAR { -FAR } else { steps };
        let integer = whole(if steps > FAR { FAR } else { steps }) + f32::from(self.zero);
        let integer = if integer < 0.0 { 0.0 } else { integer };
        let integer = if integer > largest { largest } else { integer };
        // The last bits of such a sum are the integer. What is no number has any: it is no larger than allowed either.
        ((integer + ROUND).to_bits() as u8).min(most)
    }

    /// What an integer is worth.
    pub fn real(self, integer: u8) -> f32 {
        (f32::from(integer) - f32::from(self.zero)) * self.scale
    }
}

/// Groups whose largest weight is smaller are as good as zero: products of their scales are to be normal.
const NOTHING: f32 = 1e-25;

/// Parts of a group's range that rounds begin from, beside the whole.
const SHARES: [f32; 4] = [0.92, 0.84, 0.76, 0.66];

/// Rounds from the best of them.
const ROUNDS: usize = 2;

/// More steps than there are integers, and few enough for [`whole`].
const FAR: f32 = 1e6;

/// 1.5 · 2²³: next to it float32 holds integers and no fractions.
const ROUND: f32 = 12_582_912.0;

/// To the nearest integer, ties to even, for numbers far from 2²²: additions round so.
fn whole(x: f32) -> f32 {
    (x + ROUND) - ROUND
}

impl Grid {
    /// For integers of so many bits.
    pub fn of(bits: usize, is_symmetric: bool, may_be_negative: bool, dtype: DType) -> Grid {
        let most = u8::MAX >> (8 - bits.clamp(1, 8));
        Grid { most, is_symmetric, may_be_negative: may_be_negative && is_symmetric, dtype }
    }

    fn middle(&self) -> u8 {
        self.most / 2 + 1
    }

    /// The scale as the type holds it; `None` where it holds none that is normal.
    fn rounded(&self, scale: f32) -> Option<f32> {
        let rounded = match self.dtype {
            DType::F32 => scale,
            dtype => Tensor::rounded(dtype, &[], &[scale.into()]).ok()?.item()? as f32,
        };
        let least = if self.dtype == DType::F16 { 6.2e-5 } else { f32::MIN_POSITIVE };
        (rounded.is_finite() && rounded.abs() >= least).then_some(rounded)
    }

    /// What nothing but zeros gets.
    fn of_nothing(&self) -> Steps {
        Steps { scale: 1.0, zero: if self.is_symmetric { self.middle() } else { 0 } }
    }

    fn checked(&self, scale: f32, zero: u8) -> Steps {
        self.rounded(scale).map_or_else(|| self.of_nothing(), |scale| Steps { scale, zero })
    }

    /// Steps that reach from the least weight to the largest. `None` where one is not finite.
    pub fn nearest(&self, weights: &[f32]) -> Option<Steps> {
        let (low, high) = ends(weights)?;
        if high.max(-low) < NOTHING {
            return Some(self.of_nothing());
        }
        Some(self.over(low, high))
    }

    /// Steps for all from `low` to `high`, which are not both zero.
    fn over(&self, low: f32, high: f32) -> Steps {
        let most = f32::from(self.most);
        if self.is_symmetric {
            return self.checked(high.max(-low) / f32::from(self.most / 2), self.middle());
        }
        // Each by itself: their difference may be infinite.
        let scale = high / most - low / most;
        self.checked(scale, whole((-low / scale).clamp(0.0, most)) as u8)
    }

    /// Steps with which the weights err least, each error's square counted as often as `importance` says, or once.
    /// `None` where a weight is not finite.
    pub fn refined(&self, weights: &[f32], importance: Option<&[f32]>) -> Option<Steps> {
        let (low, high) = ends(weights)?;
        let largest = high.max(-low);
        if largest < NOTHING {
            return Some(self.of_nothing());
        }
        let look = |steps: Steps| Fit::of(self, weights, importance, largest, steps);
        let take = |best: (f32, Steps), steps: Steps| {
            let fit = look(steps);
            let steps = Steps { scale: fit.scale(largest).unwrap_or(steps.scale), ..steps };
            if fit.gain() > best.0 { (fit.gain(), steps) } else { best }
        };
        let all = self.over(low, high);
        let mut best = take((0.0, all), all);
        if self.may_be_negative {
            best = take(best, Steps { scale: -all.scale, ..all });
        }
        let sign = best.1.scale.signum();
        for share in SHARES {
            let steps = self.over(low * share, high * share);
            best = take(best, Steps { scale: steps.scale * sign, ..steps });
        }
        let (mut gain, mut steps) = best;
        for round in 0..ROUNDS {
            let before = gain;
            let beside = if round == 0 && !self.is_symmetric { 1 } else { 0 };
            let zeros = steps.zero.saturating_sub(beside)..=steps.zero.saturating_add(beside).min(self.most);
            for zero in zeros {
                let tried = Steps { zero, ..steps };
                let fit = look(tried);
                if fit.gain() > gain {
                    gain = fit.gain();
                    steps = Steps { scale: fit.scale(largest).unwrap_or(tried.scale), zero };
                }
            }
            if gain <= before {
                break;
            }
        }
        let found = self.checked(steps.scale, steps.zero);
        // What is too small for the scale's type has no steps; the largest weight tells which are not too small.
        Some(if found.scale == 1.0 && steps.scale != 1.0 { self.nearest(weights)? } else { found })
    }
}

/// Sums that are kept side by side: additions of one do not wait for each other.
const LANES: usize = 8;

/// Some elements by [`LANES`], and the last ones, if they are fewer, with zeros behind them.
struct Lanes<'a> {
    parts: &'a [[f32; LANES]],
    rest: &'a [f32],
    last: [[f32; LANES]; 1],
}

impl Lanes<'_> {
    fn of(elements: &[f32]) -> Lanes<'_> {
        let (parts, rest) = elements.as_chunks::<LANES>();
        let mut last = [[0f32; LANES]];
        last[0][..rest.len()].copy_from_slice(rest);
        Lanes { parts, rest, last }
    }

    /// In two runs, each a plain loop to who goes through it.
    fn runs(&self) -> [&[[f32; LANES]]; 2] {
        [self.parts, if self.rest.is_empty() { &[] } else { &self.last }]
    }
}

/// The least and the largest of the weights and zero. `None` where one is not finite.
fn ends(weights: &[f32]) -> Option<(f32, f32)> {
    let (mut low, mut high, mut sum) = ([0f32; LANES], [0f32; LANES], [0f32; LANES]);
    for run in Lanes::of(weights).runs() {
        for part in run {
            // One thing after another for all lanes, here and below: so one instruction does it.
            for lane in 0..LANES {
                low[lane] = if part[lane] < low[lane] { part[lane] } else { low[lane] };
            }
            for lane in 0..LANES {
                high[lane] = if part[lane] > high[lane] { part[lane] } else { high[lane] };
            }
            for lane in 0..LANES {
                // Becomes NaN by anything that is not finite.
                sum[lane] += part[lane] * 0.0;
            }
        }
    }
    let (low, high) = (low.iter().copied().fold(0.0, f32::min), high.iter().copied().fold(0.0, f32::max));
    (total(sum) == 0.0).then_some((low, high))
}

/// The sum of all lanes, in halves: each addition waits for two others at the most.
fn total(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// How the integers of some steps go with the weights: sums of products, weights taken in parts of the largest.
struct Fit {
    crossed: f32,
    squared: f32,
}

impl Fit {
    // By itself: mixed with what is around it, it takes twice as long.
    #[inline(never)]
    fn of(grid: &Grid, weights: &[f32], importance: Option<&[f32]>, largest: f32, steps: Steps) -> Fit {
        let (by, unit) = (1.0 / steps.scale, 1.0 / largest);
        let (least, most) = (-f32::from(steps.zero), f32::from(grid.most) - f32::from(steps.zero));
        let (mut crossed, mut squared) = ([0f32; LANES], [0f32; LANES]);
        let integers = |part: &[f32; LANES]| {
            part.map(|weight| {
                // Of finite numbers: what looks for others takes longer.
                let steps = weight * by;
                let steps = if steps < least { least } else { steps };
                whole(if steps > most { most } else { steps })
            })
        };
        match importance {
            None => {
                for run in Lanes::of(weights).runs() {
                    for part in run {
                        let integers = integers(part);
                        for lane in 0..LANES {
                            crossed[lane] += part[lane] * unit * integers[lane];
                        }
                        for lane in 0..LANES {
                            squared[lane] += integers[lane] * integers[lane];
                        }
                    }
                }
            }
            Some(importance) => {
                for (run, times) in Lanes::of(weights).runs().into_iter().zip(Lanes::of(importance).runs()) {
                    for (part, times) in run.iter().zip(times) {
                        let integers = integers(part);
                        for lane in 0..LANES {
                            crossed[lane] += times[lane] * (part[lane] * unit) * integers[lane];
                        }
                        for lane in 0..LANES {
                            squared[lane] += times[lane] * integers[lane] * integers[lane];
                        }
                    }
                }
            }
        }
        Fit { crossed: total(crossed), squared: total(squared) }
    }

    /// The best scale for these integers.
    fn scale(&self, largest: f32) -> Option<f32> {
        let scale = self.crossed / self.squared * largest;
        (scale.is_finite() && scale != 0.0).then_some(scale)
    }

    /// What of the weights' squares the integers explain with it: the rest is the error.
    fn gain(&self) -> f32 {
        if self.squared > 0.0 { self.crossed / self.squared * self.crossed } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn error(grid: &Grid, weights: &[f32], importance: Option<&[f32]>, steps: Steps) -> f64 {
        let lost = |(i, &w): (usize, &f32)| {
            let times = importance.map_or(1.0, |importance| f64::from(importance[i]));
            times * f64::from(w - steps.real(steps.integer(w, grid.most))).powi(2)
        };
        weights.iter().enumerate().map(lost).sum()
    }

    fn grids() -> Vec<Grid> {
        let mut grids = Vec::new();
        for bits in [2, 4, 8] {
            for (symmetric, negative) in [(true, false), (true, true), (false, false)] {
                grids.push(Grid::of(bits, symmetric, negative, DType::F32));
            }
        }
        grids
    }

    #[test]
    fn refined_steps_err_less_than_the_whole_range() {
        for grid in grids() {
            let (mut plain, mut refined, mut weighted) = (0.0, 0.0, [0.0; 2]);
            for seed in 0..40 {
                let mut random = Random::new(seed, "grid");
                let weights: Vec<f32> = (0..32).map(|_| random.normal() as f32 * 0.03).collect();
                let importance: Vec<f32> = (0..32).map(|_| (2.0 * random.normal()).exp() as f32).collect();
                let alone = grid.refined(&weights, None).unwrap();
                let best = grid.refined(&weights, Some(&importance)).unwrap();
                plain += error(&grid, &weights, None, grid.nearest(&weights).unwrap());
                refined += error(&grid, &weights, None, alone);
                weighted[0] += error(&grid, &weights, Some(&importance), alone);
                weighted[1] += error(&grid, &weights, Some(&importance), best);
            }
            assert!(refined < 0.97 * plain, "{grid:?}: {refined} {plain}");
            assert!(weighted[1] < 0.97 * weighted[0], "{grid:?}: {weighted:?}");
        }
    }

    #[test]
    fn scales_are_normal_whatever_the_weights() {
        let groups: [&[f32]; 6] = [&[0.0; 4], &[1e-40, -1e-40], &[3e38, -3e38], &[1e-24, 0.0], &[-1e30, 1.0], &[]];
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for grid in grids().into_iter().map(|grid| Grid { dtype, ..grid }) {
                for weights in groups {
                    for steps in [grid.nearest(weights).unwrap(), grid.refined(weights, None).unwrap()] {
                        assert!(steps.scale.is_normal(), "{grid:?} {weights:?} {steps:?}");
                        assert!(weights.iter().all(|&w| steps.integer(w, grid.most) <= grid.most));
                    }
                }
                let zeros = grid.refined(&[0.0; 4], None).unwrap();
                assert_eq!(zeros.real(zeros.integer(0.0, grid.most)), 0.0);
            }
        }
        for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(grids().iter().all(|grid| grid.nearest(&[1.0, x]).is_none() && grid.refined(&[x], None).is_none()));
        }
    }

    #[test]
    fn scales_are_such_as_their_type_holds() {
        let grid = Grid::of(4, false, false, DType::F16);
        let steps = grid.refined(&[0.1, -0.333, 0.7777], None).unwrap();
        assert_eq!(f64::from(steps.scale), half::f16::from_f32(steps.scale).to_f64());
    }
}
