//! What each channel of a tensor held.

use serde::{Deserialize, Serialize};

use crate::calibrate::elements::Real;
use crate::exec::vectors::vectors;
use crate::ops::normalize_axis;

/// Channels that are told apart at the most.
const MOST: usize = 1 << 16;

/// The least, greatest and mean element of each slice along an axis, over all samples. A sample in which anything is
/// NaN or infinite counts in none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// The axis; counted from the last one, which is -1, where it is negative.
    pub axis: i64,
    /// Elements seen of each channel.
    pub count: u64,
    /// The least element of each channel; empty before any was seen.
    pub min: Vec<f32>,
    /// The greatest element of each channel.
    pub max: Vec<f32>,
    /// The mean of each channel.
    pub mean: Vec<f64>,
    /// The mean of squares of each channel; empty where that is not known.
    #[serde(default)]
    pub power: Vec<f64>,
    /// Samples differed in the number of channels, or had more than 65536: nothing is known of any.
    pub mixed: bool,
}

impl Channels {
    /// Along this axis; nothing was seen yet.
    pub fn along(axis: i64) -> Channels {
        Channels { axis, count: 0, min: Vec::new(), max: Vec::new(), mean: Vec::new(), power: Vec::new(), mixed: false }
    }

    /// See one sample's elements, which are finite.
    pub(super) fn add<T: Real>(&mut self, elements: &[T], dims: &[usize]) {
        let Some(axis) = normalize_axis(self.axis, dims.len()).filter(|_| !elements.is_empty() && !self.mixed) else {
            return;
        };
        let (size, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
        if size > MOST || (self.count > 0 && self.min.len() != size) {
            *self = Channels { mixed: true, ..Channels::along(self.axis) };
            return;
        }
        if self.count == 0 {
            self.min = vec![f32::INFINITY; size];
            self.max = vec![f32::NEG_INFINITY; size];
            self.mean = vec![0.0; size];
            self.power = vec![0.0; size];
        }
        let mut sums = vec![[0.0f64; 2]; size];
        for block in elements.chunks_exact(size * inner) {
            if inner == 1 {
                for (i, x) in block.iter().enumerate() {
                    let x = x.real();
                    self.min[i] = if x < self.min[i] { x } else { self.min[i] };
                    self.max[i] = if x > self.max[i] { x } else { self.max[i] };
                    let x = f64::from(x);
                    sums[i] = [sums[i][0] + x, sums[i][1] + x * x];
                }
                continue;
            }
            for (i, channel) in block.chunks_exact(inner).enumerate() {
                let (low, high, [sum, squares]) = look(channel);
                self.min[i] = self.min[i].min(low);
                self.max[i] = self.max[i].max(high);
                sums[i] = [sums[i][0] + sum, sums[i][1] + squares];
            }
        }
        let more = (elements.len() / size) as u64;
        self.count += more;
        let moved = |mean: f64, sum: f64| mean + (sum - mean * more as f64) / self.count as f64;
        self.mean.iter_mut().zip(&sums).for_each(|(mean, sum)| *mean = moved(*mean, sum[0]));
        // Statistics from files may lack it, and then it is not known of the whole.
        self.power.iter_mut().zip(&sums).for_each(|(power, sum)| *power = moved(*power, sum[1]));
    }

    /// Divide every channel by its factor, which is positive; whether there is one for each.
    pub(crate) fn divide(&mut self, factors: &[f64]) -> bool {
        if self.min.len() != factors.len() || self.count == 0 {
            return false;
        }
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        let divided = |x: f32, by: f64| (f64::from(x) / by) as f32;
        self.min.iter_mut().zip(factors).for_each(|(x, by)| *x = divided(*x, *by));
        self.max.iter_mut().zip(factors).for_each(|(x, by)| *x = divided(*x, *by));
        self.mean.iter_mut().zip(factors).for_each(|(mean, by)| *mean /= by);
        self.power.iter_mut().zip(factors).for_each(|(power, by)| *power /= by * by);
        true
    }

    /// With what was seen elsewhere; `None` where that is of other channels.
    pub(super) fn merged(mut self, other: &Channels) -> Option<Channels> {
        if self.axis != other.axis {
            return None;
        }
        if self.count == 0 || other.count == 0 {
            let some = if self.count == 0 { other.clone() } else { self.clone() };
            let mixed = self.mixed || other.mixed;
            return Some(if mixed { Channels { mixed, ..Channels::along(self.axis) } } else { some });
        }
        if self.min.len() != other.min.len() {
            return Some(Channels { mixed: true, ..Channels::along(self.axis) });
        }
        self.count += other.count;
        let share = other.count as f64 / self.count as f64;
        self.min.iter_mut().zip(&other.min).for_each(|(mine, theirs)| *mine = mine.min(*theirs));
        self.max.iter_mut().zip(&other.max).for_each(|(mine, theirs)| *mine = mine.max(*theirs));
        self.mean.iter_mut().zip(&other.mean).for_each(|(mine, theirs)| *mine += (theirs - *mine) * share);
        match self.power.len() == other.power.len() {
            true => {
                self.power.iter_mut().zip(&other.power).for_each(|(mine, theirs)| *mine += (theirs - *mine) * share)
            }
            false => self.power.clear(),
        }
        Some(self)
    }

    /// Whether the parts fit one another; what is read from a file need not.
    pub(super) fn is_sound(&self) -> bool {
        let finite = |list: &[f32]| list.iter().all(|x| x.is_finite());
        self.min.len() == self.max.len()
            && self.min.len() == self.mean.len()
            && self.min.len() <= MOST
            && self.min.is_empty() == (self.count == 0)
            && self.count < 1 << 60
            && finite(&self.min)
            && finite(&self.max)
            && (self.power.is_empty() || self.power.len() == self.min.len())
            && self.mean.iter().chain(&self.power).all(|x| x.is_finite())
            && self.min.iter().zip(&self.max).all(|(low, high)| low <= high)
    }
}

vectors! {
    /// The least, the greatest, the sum, and the sum of squares.
    fn look<T: Real>(elements: &[T]) -> (f32, f32, [f64; 2]) {
        const LANES: usize = 16;
        // Elements of a lane that are added up in single precision.
        const SHORT: usize = 32;
        let (mut low, mut high, mut all) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES], [0f64; 2]);
        for part in elements.chunks(LANES * SHORT) {
            let (mut sum, mut squares) = ([0f32; LANES], [0f32; LANES]);
            let (blocks, rest) = part.as_chunks::<LANES>();
            for block in blocks {
                for i in 0..LANES {
                    let x = block[i].real();
                    low[i] = if x < low[i] { x } else { low[i] };
                    high[i] = if x > high[i] { x } else { high[i] };
                    sum[i] += x;
                    squares[i] += x * x;
                }
            }
            let (sum, squares): (f64, f64) =
                (sum.iter().map(|x| f64::from(*x)).sum(), squares.iter().map(|x| f64::from(*x)).sum());
            all = [all[0] + sum, all[1] + squares];
            for (i, x) in rest.iter().enumerate() {
                let x = x.real();
                (low[i], high[i]) = (low[i].min(x), high[i].max(x));
                all = [all[0] + f64::from(x), all[1] + f64::from(x) * f64::from(x)];
            }
        }
        // Of numbers beyond 2^63 single precision has no squares.
        if !(all[0] + all[1]).is_finite() {
            let wide = elements.iter().map(|x| f64::from(x.real()));
            all = wide.fold([0.0; 2], |all, x| [all[0] + x, all[1] + x * x]);
        }
        (low.into_iter().fold(f32::INFINITY, f32::min), high.into_iter().fold(f32::NEG_INFINITY, f32::max), all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(axis: i64, samples: &[(&[f32], &[usize])]) -> Channels {
        let mut channels = Channels::along(axis);
        for (elements, dims) in samples {
            channels.add(elements, dims);
        }
        channels
    }

    #[test]
    fn slices_along_the_axis_are_told_apart() {
        // [2, 2, 2]: channel 0 holds 1 2 and 5 6, channel 1 the rest.
        let elements: Vec<f32> = (1..=8).map(|i| i as f32).collect();
        let c = of(1, &[(&elements, &[2, 2, 2])]);
        assert_eq!(
            (&c.min[..], &c.max[..], &c.mean[..], c.count),
            (&[1.0, 3.0][..], &[6.0, 8.0][..], &[3.5, 5.5][..], 4)
        );
        let last = of(-1, &[(&elements, &[2, 2, 2])]);
        assert_eq!((&last.min[..], &last.mean[..]), (&[1.0, 2.0][..], &[4.0, 5.0][..]));
        assert_eq!(of(2, &[(&elements, &[8])]), Channels::along(2), "there is no such axis");
        let long: Vec<f32> = (0..60).map(|i| (i as f32 - 20.0) * 0.5).collect();
        let c = of(0, &[(&long, &[2, 30])]);
        assert_eq!((&c.min[..], &c.max[..], &c.mean[..]), (&[-10.0, 5.0][..], &[4.5, 19.5][..], &[-2.75, 12.25][..]));
        let squares = |part: &[f32]| part.iter().map(|x| f64::from(x * x)).sum::<f64>() / 30.0;
        assert_eq!(c.power, [squares(&long[..30]), squares(&long[30..])]);
        let huge = of(0, &[(&[3e38, -3e38, 1.0, 2.0], &[2, 2])]);
        assert!((huge.power[0] / 9e76 - 1.0).abs() < 1e-6 && huge.power[1] == 2.5, "{huge:?}");
    }

    #[test]
    fn parts_add_up() {
        let (a, b): (&[f32], &[f32]) = (&[1.0, 2.0, 3.0, 4.0], &[-8.0, 0.5]);
        let whole = of(1, &[(a, &[2, 2]), (b, &[1, 2])]);
        let merged = of(1, &[(a, &[2, 2])]).merged(&of(1, &[(b, &[1, 2])])).unwrap();
        assert_eq!((&merged.min, &merged.max, merged.count), (&whole.min, &whole.max, whole.count));
        assert!(merged.mean.iter().zip(&whole.mean).all(|(a, b)| (a - b).abs() < 1e-12), "{merged:?}");
        assert_eq!(Channels::along(1).merged(&whole), Some(whole.clone()));
        assert_eq!(Channels::along(0).merged(&whole), None);
        assert!(whole.is_sound());
    }

    #[test]
    fn channels_that_come_and_go_are_none() {
        let c = of(1, &[(&[1.0, 2.0], &[1, 2]), (&[1.0, 2.0, 3.0], &[1, 3])]);
        assert!(c.mixed && c.min.is_empty() && c.is_sound());
        assert!(of(1, &[(&[1.0], &[1, 1])]).merged(&c).unwrap().mixed);
        let wide = vec![0.5; MOST + 1];
        assert!(of(0, &[(&wide, &[MOST + 1])]).mixed);
    }
}
