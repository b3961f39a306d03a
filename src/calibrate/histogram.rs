//! How often a tensor's elements fall where, in bounded memory and without knowing the range beforehand.
//!
//! Bins are 2^e wide and lie on the grid of multiples of 2^e, so zero is an edge. When an element falls outside of what
//! [`BINS`] bins reach, bins are merged in pairs until it does not. The grid depends on nothing but the range of all
//! elements seen, so the result does not depend on their order, and histograms made apart add up to the one that would
//! have been made at once.

use serde::{Deserialize, Serialize};

use crate::calibrate::elements::{Real, Scan, scan};
use crate::exec::vectors::vectors;

/// The most bins a histogram has. Half of them are in use at the least, once bins were merged.
pub const BINS: usize = 4096;

/// Bins narrower than the smallest `f32` tell nothing apart.
const SMALLEST: i32 = -149;

/// How far from zero a bin may be, in bins, so that numbers tell bins apart.
const FARTHEST: f64 = (1u64 << 40) as f64;

/// Where elements go that are zero, behind every bin.
const ZERO: u16 = BINS as u16;

/// A count for each bin, and one of zeros.
const TABLE: usize = BINS + 1;

/// Fewer elements are counted without tables.
const FEW: usize = 1 << 14;

/// Elements whose bins are found side by side.
const BLOCK: usize = 256;

/// One more at this place.
fn raise(table: &mut [u32; TABLE], place: u16) {
    if let Some(count) = table.get_mut(usize::from(place)) {
        *count += 1;
    }
}

/// How far above `first` the whole number is that `x` is not below, where both are less than 2^22 away from zero.
///
/// `x` is a number's exact product with a power of two, unless that was too small to be told from zero: then it matters
/// whether it `is_negative`. Conversions to integers, which ask what to do with those that are too large, are no
/// business of vectors: numbers are rounded by what their last bit is worth.
#[inline(always)]
fn place_near(x: f32, is_negative: bool, first: f32) -> u16 {
    const WHOLE: f32 = (3u32 << 22) as f32;
    let nearest = (x + WHOLE) - WHOLE;
    let is_above = (nearest > x) | ((x == 0.0) & is_negative);
    let place = nearest - if is_above { 1.0 } else { 0.0 } - first;
    #[expect(clippy::cast_possible_truncation, reason = "the last bits of the sum are the place")]
    let place = (place + (1u32 << 23) as f32).to_bits() as u16;
    place
}

vectors! {
    /// The bin of each element, as [`place_near`] tells it.
    fn near<T: Real>(block: &[T; BLOCK], per_width: f32, first: f32, places: &mut [u16; BLOCK]) {
        for (place, x) in places.iter_mut().zip(block) {
            let x = x.real();
            let bin = place_near(x * per_width, x < 0.0, first);
            *place = if x == 0.0 { ZERO } else { bin };
        }
    }

    /// The bin of each element, as [`place_far`] tells it.
    fn far<T: Real>(block: &[T; BLOCK], per_width: f64, first: f64, places: &mut [u16; BLOCK]) {
        for (place, x) in places.iter_mut().zip(block) {
            let x = x.real();
            let bin = place_far(f64::from(x) * per_width, first);
            *place = if x == 0.0 { ZERO } else { bin };
        }
    }
}

/// As [`place_near`], where both are less than 2^51 away from zero.
#[inline(always)]
fn place_far(x: f64, first: f64) -> u16 {
    const WHOLE: f64 = (3u64 << 51) as f64;
    let nearest = (x + WHOLE) - WHOLE;
    let place = nearest - if nearest > x { 1.0 } else { 0.0 } - first;
    #[expect(clippy::cast_possible_truncation, reason = "the last bits of the sum are the place")]
    let place = (place + (1u64 << 52) as f64).to_bits() as u16;
    place
}

/// Counts of elements by value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Bins are 2^exponent wide.
    exponent: i32,
    /// Bin `i` of `counts` holds values from `(first + i) · 2^exponent` to below the next.
    first: i64,
    counts: Vec<u64>,
    /// Elements that are exactly zero, which are in no bin: a Relu's are many, and no rounding moves them.
    zeros: u64,
}

/// One bin that is not empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The middle of the bin.
    pub middle: f64,
    /// How many elements there are in it.
    pub count: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { exponent: SMALLEST, first: 0, counts: Vec::new(), zeros: 0 }
    }
}

impl Histogram {
    /// Count these elements, which must be finite.
    pub fn add(&mut self, elements: &[f32]) {
        self.count(elements, &scan(elements));
    }

    /// Count these elements, of which `found` is what a scan found: they are finite.
    pub(super) fn count<T: Real>(&mut self, elements: &[T], found: &Scan) {
        self.zeros += found.zeros;
        if found.low > found.high {
            return;
        }
        self.reach(found.low.into(), found.high.into());
        let (exponent, first) = (self.exponent, self.first);
        // Whole numbers that are added to and subtracted from: as floats, they are exact.
        if (-126..=126).contains(&exponent) && first.unsigned_abs() < 1 << 21 {
            let (per_width, first) = (2f32.powi(-exponent), first as f32);
            self.count_at(elements, |block, places| near(block, per_width, first, places));
        } else {
            let (per_width, first) = (2f64.powi(-exponent), first as f64);
            self.count_at(elements, |block, places| far(block, per_width, first, places));
        }
    }

    /// Count elements in the bins that `bins` says, but those that are zero: in steps that a compiler makes vectors of,
    /// all but the counting itself.
    fn count_at<T: Real>(&mut self, elements: &[T], bins: impl Fn(&[T; BLOCK], &mut [u16; BLOCK])) {
        let mut places = [0u16; BLOCK];
        let mut find = |block: &[T; BLOCK]| {
            bins(block, &mut places);
            places
        };
        let (blocks, rest) = elements.as_chunks::<BLOCK>();
        // Neighbours are often alike, and a count that was just raised is slow to raise again: each has four.
        let mut tables = if elements.len() < FEW { Vec::new() } else { vec![[0u32; TABLE]; 4] };
        if let [a, b, c, d] = &mut tables[..] {
            // As many blocks as a table's counts hold.
            for part in blocks.chunks(1 << 22) {
                for block in part {
                    for [p, q, r, s] in find(block).as_chunks::<4>().0 {
                        raise(a, *p);
                        raise(b, *q);
                        raise(c, *r);
                        raise(d, *s);
                    }
                }
                for table in [&mut *a, &mut *b, &mut *c, &mut *d] {
                    for (count, more) in self.counts.iter_mut().zip(table) {
                        *count += u64::from(std::mem::take(more));
                    }
                }
            }
        } else {
            blocks.iter().for_each(|block| self.count_each(&find(block)));
        }
        if let Some(&some) = rest.first() {
            let mut block = [some; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            self.count_each(&find(&block)[..rest.len()]);
        }
    }

    fn count_each(&mut self, places: &[u16]) {
        for &place in places {
            if let Some(count) = self.counts.get_mut(usize::from(place)).filter(|_| place != ZERO) {
                *count += 1;
            }
        }
    }

    /// Count what another histogram has counted.
    pub fn merge(&mut self, other: &Histogram) {
        self.zeros += other.zeros;
        if other.counts.is_empty() {
            return;
        }
        let mut other = other.clone();
        let last = other.first + other.counts.len() as i64 - 1;
        // Any value of the bin stands for it; the middle is one whatever the rounding.
        self.reach(other.middle(other.first), other.middle(last));
        while other.exponent < self.exponent {
            other.coarsen();
        }
        while self.exponent < other.exponent {
            self.coarsen();
        }
        self.cover(other.first, other.first + other.counts.len() as i64 - 1);
        for (i, count) in other.counts.iter().enumerate() {
            let Ok(place) = usize::try_from(other.first + i as i64 - self.first) else { continue };
            self.counts[place] += count;
        }
    }

    /// How many elements were counted.
    pub fn len(&self) -> u64 {
        self.zeros + self.counts.iter().sum::<u64>()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many elements are exactly zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// How wide each bin is.
    pub fn width(&self) -> f64 {
        2f64.powi(self.exponent)
    }

    /// The bins that are not empty, from the lowest values to the highest; zeros are in none of them.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = Bin> + '_ {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.map(|(i, &count)| Bin { middle: self.middle(self.first + i as i64), count })
    }

    /// Whether the parts fit one another; what is read from a file need not.
    pub fn is_sound(&self) -> bool {
        let sum = self.counts.iter().try_fold(self.zeros, |sum, count| sum.checked_add(*count));
        self.counts.len() <= BINS
            && (SMALLEST..=128).contains(&self.exponent)
            && self.first.unsigned_abs() <= 1 << 41
            && sum.is_some()
    }

    fn middle(&self, bin: i64) -> f64 {
        (bin as f64 + 0.5) * self.width()
    }

    /// Make bins as wide as it takes to have one for each of `low` to `high`, and make those.
    fn reach(&mut self, low: f64, high: f64) {
        let bin = |x: f64, exponent: i32| (x * 2f64.powi(-exponent)).floor();
        let (mut low, mut high) = (low, high);
        if !self.counts.is_empty() {
            low = low.min(self.middle(self.first));
            high = high.max(self.middle(self.first + self.counts.len() as i64 - 1));
        }
        let mut exponent = self.exponent;
        let far = low.abs().max(high.abs());
        while bin(high, exponent) - bin(low, exponent) >= BINS as f64 || bin(far, exponent) >= FARTHEST {
            exponent += 1;
        }
        if self.counts.is_empty() {
            self.exponent = exponent;
        }
        while self.exponent < exponent {
            self.coarsen();
        }
        self.cover(bin(low, exponent) as i64, bin(high, exponent) as i64);
    }

    /// Have bins from `low` to `high`, on the grid as it is.
    fn cover(&mut self, low: i64, high: i64) {
        if self.counts.is_empty() {
            self.first = low;
        }
        if low < self.first {
            let more = usize::try_from(self.first - low).unwrap_or(0);
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first = low;
        }
        let bins = usize::try_from(high - self.first + 1).unwrap_or(0);
        if bins > self.counts.len() {
            self.counts.resize(bins, 0);
        }
    }

    /// Merge bins in pairs.
    fn coarsen(&mut self) {
        let first = self.first >> 1;
        let last = (self.first + self.counts.len() as i64 - 1) >> 1;
        let mut counts = vec![0; usize::try_from(last - first + 1).unwrap_or(0)];
        for (i, count) in self.counts.iter().enumerate() {
            if let Ok(place) = usize::try_from(((self.first + i as i64) >> 1) - first) {
                counts[place] += count;
            }
        }
        (self.exponent, self.first, self.counts) = (self.exponent + 1, first, counts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use proptest::prelude::*;

    fn of(elements: &[f32]) -> Histogram {
        let mut histogram = Histogram::default();
        histogram.add(elements);
        histogram
    }

    #[test]
    fn elements_are_in_the_bin_around_them() {
        let histogram = of(&[0.0, 1.0, -3.0, 1.0, 0.0]);
        assert_eq!((histogram.len(), histogram.zeros()), (5, 2));
        let bins: Vec<Bin> = histogram.bins().collect();
        assert_eq!(bins.iter().map(|b| b.count).collect::<Vec<_>>(), [1, 2]);
        for (bin, x) in bins.iter().zip([-3.0, 1.0]) {
            assert!((bin.middle - x).abs() <= histogram.width() / 2.0, "{bin:?}");
        }
    }

    #[test]
    fn extremes_have_bins() {
        for x in [f32::MAX, -f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), -f32::from_bits(1)] {
            let histogram = of(&[x]);
            assert_eq!(histogram.bins().map(|b| b.count).collect::<Vec<_>>(), [1], "{x}");
            let both = of(&[x, f32::MAX, -f32::MAX, 1.0]);
            assert_eq!(both.len(), 4);
            assert!(both.is_sound() && histogram.is_sound());
        }
        assert!(of(&[]).is_empty());
        assert_eq!(of(&[-0.0]).zeros(), 1);
    }

    #[test]
    fn half_of_the_bins_are_in_use_at_the_least() {
        let mut random = Random::new(1, "histogram");
        let elements: Vec<f32> = (0..10_000).map(|_| random.normal() as f32).collect();
        let histogram = of(&elements);
        assert!(histogram.counts.len() > BINS / 2 - 2 && histogram.counts.len() <= BINS, "{}", histogram.counts.len());
    }

    #[test]
    fn every_element_is_in_its_bin() {
        let mut random = Random::new(5, "bins");
        // Around zero and far from it, narrow, wide, and of the least and greatest numbers.
        let all: [(f32, f32); 9] = [
            (0.0, 1.0),
            (1000.0, 1e-3),
            (-1e6, 0.5),
            (0.0, 1e7),
            (0.0, 1e38),
            (1e-3, 1e-4),
            (0.0, 1e-40),
            (0.0, 1e-35),
            (3e8, 32.0),
        ];
        for (offset, spread) in all {
            let mut elements: Vec<f32> =
                (0..20_000).map(|_| (offset.into(), spread.into(), random.normal())).map(shifted).collect();
            elements.extend([0.0, -0.0, 1e-45, -1e-45, f32::MIN_POSITIVE, -f32::MIN_POSITIVE]);
            for part in [&elements[..], &elements[19_000..]] {
                let histogram = of(part);
                let mut counts = vec![0u64; histogram.counts.len()];
                for x in part.iter().filter(|x| **x != 0.0) {
                    let bin = (f64::from(*x) / histogram.width()).floor() as i64 - histogram.first;
                    counts[usize::try_from(bin).unwrap()] += 1;
                }
                assert_eq!(histogram.counts, counts, "{offset} {spread}");
                assert_eq!(histogram.len(), part.len() as u64);
            }
        }
    }

    fn shifted((offset, spread, x): (f64, f64, f64)) -> f32 {
        (offset + spread * x).clamp(-f64::from(f32::MAX), f32::MAX.into()) as f32
    }

    proptest! {
        #[test]
        fn order_and_parts_do_not_matter(parts in prop::collection::vec(prop::collection::vec(-1e4f32..1e4, 0..20), 1..8)) {
            let whole = of(&parts.concat());
            let mut merged = Histogram::default();
            let mut streamed = Histogram::default();
            for part in parts.iter().rev() {
                merged.merge(&of(part));
                streamed.add(part);
            }
            prop_assert_eq!(streamed.len(), whole.len());
            prop_assert_eq!(streamed.exponent, whole.exponent);
            let bins = |h: &Histogram| h.bins().collect::<Vec<_>>();
            prop_assert_eq!(bins(&streamed), bins(&whole));
            prop_assert_eq!(merged.exponent, whole.exponent);
            prop_assert_eq!(bins(&merged), bins(&whole));
        }
    }
}
