//! Weights as integers.

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
/// are not known to be finite real numbers.
pub fn integers(weight: &Tensor, axis: Option<usize>, grid: Grid) -> Option<Integers> {
    let reals = weight.reals()?;
    let (size, inner) = match axis {
        None => (1, reals.len().max(1)),
        Some(axis) => (*weight.dims().get(axis)?, weight.dims()[axis + 1..].iter().product::<usize>().max(1)),
    };
    if size == 0 || reals.iter().any(|x| !x.is_finite()) || grid.dtype != DType::I8 {
        return None;
    }
    let slice = |i: usize| i / inner % size;
    let mut largest = vec![0f64; size];
    for (i, x) in reals.iter().enumerate() {
        largest[slice(i)] = largest[slice(i)].max(x.abs());
    }
    let most = grid.greatest() as f64;
    let scale = |largest: f64| if largest / most > 1e-30 { (largest / most) as f32 } else { 1.0 };
    let scales: Vec<f32> = largest.into_iter().map(scale).collect();
    let bytes: Vec<u8> = reals
        .iter()
        .enumerate()
        .map(|(i, x)| ((x / f64::from(scales[slice(i)])).round_ties_even().clamp(-most, most) as i8).cast_unsigned())
        .collect();
    Some(Integers { tensor: Tensor::raw(DType::I8, weight.dims(), bytes.into()).ok()?, scales })
}
