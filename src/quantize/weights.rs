//! Weights as integers.
//!
//! A weight's integers are symmetric around zero, with one scale for each slice along an axis or one for all. Where a
//! slice ends is searched for by the squared error of what the integers give back: a slice of many elements is worth
//! cutting a little, one of few is not. Elements are read from the tensor's bytes, a slice at a time, so a large weight
//! is never copied as a whole; the time is linear in the number of elements.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::exec::vectors::vectors;
use crate::ir::{DType, Tensor};
use crate::quantize::Grid;

/// A weight as integers around zero.
#[derive(Clone, Debug)]
pub struct Integers {
    /// The integers, in the weight's shape.
    pub tensor: Tensor,
    /// Real units of one step: one for all, or one for each slice along the axis.
    pub scales: Vec<f32>,
}

/// `weight` as integers of `grid`, with one scale for each slice along `axis`, or one for all. `None` where its elements
/// are not known to be finite real numbers, and for integers other than int8.
pub fn integers(weight: &Tensor, axis: Option<usize>, grid: Grid) -> Option<Integers> {
    let scales = weight_scales(weight, axis, grid)?;
    with_scales(weight, axis, grid, scales)
}

/// What one step is worth in each slice of `weight` along `axis`, or in all of it: the scale with the least squared
/// error. Never zero, denormal or infinite: a slice without any element to speak of gets what is usual in the others.
pub fn weight_scales(weight: &Tensor, axis: Option<usize>, grid: Grid) -> Option<Vec<f32>> {
    let slices = Slices::of(weight, axis)?;
    if grid.dtype != DType::I8 {
        return None;
    }
    let most = grid.greatest() as f32;
    let found: Option<Vec<Vec<Option<f32>>>> =
        slices.blocks().into_par_iter().map(|block| slices.search(block, most)).collect();
    let found = found?.concat();
    let mut live: Vec<f32> = found.iter().copied().flatten().collect();
    let middle = live.len() / 2;
    let usual = match live.is_empty() {
        true => 1.0 / most,
        false => *live.select_nth_unstable_by(middle, f32::total_cmp).1,
    };
    Some(found.into_iter().map(|scale| scale.unwrap_or(usual)).collect())
}

/// `weight` as integers of these scales.
pub fn with_scales(weight: &Tensor, axis: Option<usize>, grid: Grid, scales: Vec<f32>) -> Option<Integers> {
    let slices = Slices::of(weight, axis)?;
    if grid.dtype != DType::I8 || scales.len() != slices.size || scales.iter().any(|s| !s.is_normal()) {
        return None;
    }
    let most = grid.greatest() as f32;
    let inverse: Vec<f32> = scales.iter().map(|s| 1.0 / s).collect();
    let mut bytes = vec![0u8; weight.len()];
    // Whole rows of the axis: each starts with its first slice.
    let row = slices.size * slices.inner;
    let rows = (CHUNK / row).max(1);
    bytes.par_chunks_mut(row * rows).enumerate().for_each(|(chunk, bytes)| {
        let start = chunk * rows * row;
        let mut elements = Vec::with_capacity(bytes.len());
        slices.elements.read(start..start + bytes.len(), &mut elements);
        for (elements, bytes) in elements.chunks(row).zip(bytes.chunks_mut(row)) {
            if slices.inner == 1 {
                round_each(elements, &inverse, most, bytes);
                continue;
            }
            let parts = elements.chunks(slices.inner).zip(bytes.chunks_mut(slices.inner));
            parts.zip(&inverse).for_each(|((elements, bytes), by)| round_all(elements, *by, most, bytes));
        }
    });
    Some(Integers { tensor: Tensor::raw(DType::I8, weight.dims(), bytes.into()).ok()?, scales })
}

/// What integers of these scales give back in the place of `weight`: what a runtime multiplies with.
pub fn given_back(weight: &Tensor, axis: Option<usize>, integers: &Integers) -> Option<Vec<f32>> {
    let slices = Slices::of(weight, axis)?;
    let bytes = integers.tensor.bytes()?;
    let mut back = Vec::with_capacity(bytes.len());
    for (part, scale) in bytes.chunks(slices.inner).zip(integers.scales.iter().cycle()) {
        back.extend(part.iter().map(|b| f32::from(b.cast_signed()) * scale));
    }
    Some(back)
}

/// The least scale of each slice of a weight at which its bias fits int32 in steps of `input_scale · scale`, with a bit
/// to spare (TFL-Q11). A slice that is nearly zero beside its bias would need more.
pub fn least_scales(bias: &[f64], input_scale: f32) -> Vec<f32> {
    let most = f64::from(i32::MAX / 2);
    bias.iter().map(|b| ((b.abs() / most / f64::from(input_scale)) as f32).max(f32::MIN_POSITIVE)).collect()
}

/// Elements that one task handles, roughly.
const CHUNK: usize = 1 << 16;

/// Errors that are added up side by side.
const LANES: usize = 16;

/// Slices that are looked at together, so that elements beside one another are read together.
const TOGETHER: usize = 16;

/// Slices smaller than this throughout are as good as zero: their scale's product with an activation's is to be normal.
const NOTHING: f32 = 1e-25;

/// Where a slice is cut, in shares of its largest element.
const SHARES: [f32; 12] = [1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.81, 0.77, 0.72, 0.66, 0.6, 0.5];

vectors! {
    /// Each element as the nearest whole number of steps, of which each has its own.
    fn round_each(elements: &[f32], per_step: &[f32], most: f32, bytes: &mut [u8]) {
        for ((x, by), byte) in elements.iter().zip(per_step).zip(bytes) {
            *byte = (whole((x * by).clamp(-most, most)) as i8).cast_unsigned();
        }
    }

    /// The same where steps are alike.
    fn round_all(elements: &[f32], per_step: f32, most: f32, bytes: &mut [u8]) {
        for (x, byte) in elements.iter().zip(bytes) {
            *byte = (whole((x * per_step).clamp(-most, most)) as i8).cast_unsigned();
        }
    }
}

/// To the nearest integer, ties to even, for numbers far from 2²²: additions round so.
#[inline(always)]
fn whole(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    (x + ROUND) - ROUND
}

/// A tensor as slices along an axis.
struct Slices {
    elements: Elements,
    outer: usize,
    size: usize,
    inner: usize,
}

/// Elements as they are stored.
enum Elements {
    F32(bytes::Bytes),
    Other(Vec<f32>),
}

impl Elements {
    /// Read some that lie beside one another, behind those that are there.
    fn read(&self, range: std::ops::Range<usize>, into: &mut Vec<f32>) {
        match self {
            Elements::F32(bytes) => into.extend(bytes.as_chunks::<4>().0[range].iter().map(|x| f32::from_le_bytes(*x))),
            Elements::Other(elements) => into.extend_from_slice(&elements[range]),
        }
    }
}

impl Slices {
    fn of(weight: &Tensor, axis: Option<usize>) -> Option<Slices> {
        let dims = weight.dims();
        let (outer, size, inner) = match axis {
            None => (1, 1, weight.len()),
            Some(axis) => {
                (dims[..axis.min(dims.len())].iter().product(), *dims.get(axis)?, dims[axis + 1..].iter().product())
            }
        };
        if weight.len() == 0 {
            return None;
        }
        let elements = match weight.dtype() {
            DType::F32 => Elements::F32(weight.bytes()?),
            DType::F16 | DType::BF16 | DType::F64 => {
                Elements::Other(weight.reals()?.into_iter().map(|x| x as f32).collect())
            }
            _ => return None,
        };
        Some(Slices { elements, outer, size, inner })
    }

    /// Ranges of slices, each some work.
    fn blocks(&self) -> Vec<std::ops::Range<usize>> {
        (0..self.size).step_by(TOGETHER).map(|first| first..(first + TOGETHER).min(self.size)).collect()
    }

    /// Scales of these slices; none for one that is as good as zero. `None` where an element is not finite.
    fn search(&self, block: std::ops::Range<usize>, most: f32) -> Option<Vec<Option<f32>>> {
        let each = self.outer * self.inner;
        let mut slices: Vec<Vec<f32>> = block.clone().map(|_| Vec::with_capacity(each)).collect();
        for outer in 0..self.outer {
            for (slice, elements) in block.clone().zip(&mut slices) {
                let start = (outer * self.size + slice) * self.inner;
                self.elements.read(start..start + self.inner, elements);
            }
        }
        slices.iter().map(|slice| least_error(slice, most)).collect()
    }
}

/// The scale with which integers up to `most` give a slice back best.
fn least_error(slice: &[f32], most: f32) -> Option<Option<f32>> {
    if slice.iter().any(|x| !x.is_finite()) {
        return None;
    }
    let largest = slice.iter().fold(0f32, |m, x| m.max(x.abs()));
    if largest < NOTHING {
        return Some(None);
    }
    let mut best = (f64::INFINITY, largest / most);
    let mut worse = 0;
    for share in SHARES {
        let scale = largest * share / most;
        let found = squared_error(slice, scale, most);
        // Beyond the best place the error only grows, but for chance.
        worse = if found < best.0 { 0 } else { worse + 1 };
        if found < best.0 {
            best = (found, scale);
        }
        if worse == 2 {
            break;
        }
    }
    Some(Some(best.1))
}

vectors! {
    fn squared_error(slice: &[f32], scale: f32, most: f32) -> f64 {
        let inverse = 1.0 / scale;
        let mut sum = 0f64;
        for part in slice.chunks(1024) {
            let (blocks, rest) = part.as_chunks::<LANES>();
            let mut errors = [0f32; LANES];
            for block in blocks {
                for i in 0..LANES {
                    // In steps: squares of small weights would be denormal.
                    let steps = block[i] * inverse;
                    let lost = steps - whole(steps.clamp(-most, most));
                    errors[i] += lost * lost;
                }
            }
            for (error, x) in errors.iter_mut().zip(rest) {
                let steps = x * inverse;
                let lost = steps - whole(steps.clamp(-most, most));
                *error += lost * lost;
            }
            sum += errors.iter().map(|error| f64::from(*error)).sum::<f64>();
        }
        sum * f64::from(scale) * f64::from(scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn normal(n: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, "weights");
        (0..n).map(|_| random.normal() as f32).collect()
    }

    fn error(weight: &Tensor, axis: Option<usize>, found: &Integers) -> f64 {
        let back = given_back(weight, axis, found).unwrap();
        weight.reals().unwrap().iter().zip(back).map(|(x, y)| (x - f64::from(y)).powi(2)).sum()
    }

    #[test]
    fn each_slice_has_its_own_scale_whatever_the_axis() {
        let elements = [1.0, 200.0, -2.0, 100.0, 0.5, -50.0];
        let weight = Tensor::f32s(&[3, 2], &elements).unwrap();
        let by_column = integers(&weight, Some(1), Grid::I8).unwrap();
        assert_eq!(by_column.scales.len(), 2);
        assert!(by_column.scales[1] > by_column.scales[0] * 50.0);
        assert_eq!(integers(&weight, Some(0), Grid::I8).unwrap().scales.len(), 3);
        let all = integers(&weight, None, Grid::I8).unwrap();
        assert_eq!((all.scales.len(), all.tensor.dims()), (1, &[3, 2][..]));
        assert!(error(&weight, Some(1), &by_column) < error(&weight, None, &all));
        assert!(integers(&weight, Some(2), Grid::I8).is_none());
    }

    #[test]
    fn a_middle_axis_is_read_where_it_lies() {
        let elements: Vec<f32> = (0..24).map(|i| [1.0, 10.0, 100.0][i / 4 % 3] * (1.0 + (i % 4) as f32)).collect();
        let weight = Tensor::f32s(&[2, 3, 4], &elements).unwrap();
        let found = integers(&weight, Some(1), Grid::I8).unwrap();
        for (scale, largest) in found.scales.iter().zip([4.0, 40.0, 400.0]) {
            assert!((scale * 127.0 / largest - 1.0).abs() < 0.5, "{:?}", found.scales);
        }
        assert!(error(&weight, Some(1), &found) < 24.0 * 1.6f64.powi(2));
    }

    #[test]
    fn the_search_is_no_worse_than_the_largest_element() {
        let mut elements = normal(1 << 16, 3);
        elements[7] = 40.0;
        let weight = Tensor::f32s(&[1 << 16], &elements).unwrap();
        let whole_range = with_scales(&weight, None, Grid::I8, vec![40.0 / 127.0]).unwrap();
        let searched = integers(&weight, None, Grid::I8).unwrap();
        assert!(error(&weight, None, &searched) < error(&weight, None, &whole_range) * 0.9);
    }

    #[test]
    fn scales_are_normal_whatever_the_weight() {
        let rows = [[0.0f32, 0.0], [1e-40, -1e-40], [3e38, -3e38], [1.0, 0.5], [-1e-20, 0.0]];
        let weight = Tensor::f32s(&[5, 2], rows.as_flattened()).unwrap();
        let found = integers(&weight, Some(0), Grid::I8).unwrap();
        assert!(found.scales.iter().all(|s| s.is_normal()), "{:?}", found.scales);
        let back = given_back(&weight, Some(0), &found).unwrap();
        assert_eq!(back[..4], [0.0; 4]);
        assert!(back.iter().all(|x| x.is_finite()));
        let zeros = Tensor::f32s(&[2, 2], &[0.0; 4]).unwrap();
        assert_eq!(integers(&zeros, Some(0), Grid::I8).unwrap().scales, [1.0 / 127.0; 2]);
    }

    #[test]
    fn what_is_no_number_gets_no_integers() {
        for x in [f32::NAN, f32::INFINITY] {
            assert!(integers(&Tensor::f32s(&[2], &[1.0, x]).unwrap(), Some(0), Grid::I8).is_none());
        }
        assert!(integers(&Tensor::f32s(&[0], &[]).unwrap(), Some(0), Grid::I8).is_none());
        assert!(integers(&Tensor::vector(&[1, 2]), Some(0), Grid::I8).is_none());
        let half = Tensor::rounded(DType::F16, &[2], &[1.0, -0.5]).unwrap();
        assert!(integers(&half, None, Grid::I8).is_some());
    }

    #[test]
    fn a_large_bias_asks_for_a_wider_scale() {
        let least = least_scales(&[0.0, 1.0, 1e9], 0.01);
        assert!(least[0] == f32::MIN_POSITIVE && least[1] < 1e-6);
        assert!(1e9 / (f64::from(least[2]) * 0.01) < f64::from(i32::MAX));
    }
}
