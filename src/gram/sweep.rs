//! A weight's columns are decided one after another, and those behind make up for what each loses (Frantar and
//! Alistarh: SparseGPT and GPTQ, 2023; after Hassibi and Stork 1993).
//!
//! With `H` the second moments of what the columns are multiplied with, a column that changes by `e` costs least where
//! those behind it change by a multiple of the inverse of the rest of `H`. A Cholesky factor of `H⁻¹` has all these
//! inverses in it. Rows do not meet: they are decided side by side.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::gram::linalg::{Cholesky, product};

/// Says what weights become.
pub trait Decide: Sync {
    /// Columns that are looked at before the first of them is decided.
    fn run(&self) -> usize;

    /// Look at the columns of a run, which are these in the order of the sweep. What a change of a column by 1 costs at
    /// the least is `1 / pivot²`.
    fn look(&mut self, run: Range<usize>, weights: ArrayView2<'_, f64>, pivots: &[f64]);

    /// What becomes of a weight of the run.
    fn decide(&self, row: usize, column: usize, weight: f64) -> f64;
}

/// Columns whose errors reach the rest at once.
pub const BLOCK: usize = 128;

/// Decide on the columns of `weight` in `order`, and have those of later columns make up for it: `square` are the
/// second moments of what the columns are multiplied with, with `damping` times the mean of the diagonal added to it.
/// `None` where these are not finite, or what becomes of the weight is not.
pub fn sweep(
    weight: &mut Array2<f32>,
    square: &Array2<f64>,
    order: &[usize],
    damping: f64,
    decide: &mut impl Decide,
) -> Option<()> {
    let square = square.select(Axis(0), order).select(Axis(1), order);
    let inverse = Cholesky::damped(&square, damping)?.inverse();
    // Row i of its transpose says what the columns from i on gain when column i loses.
    let factor = Cholesky::of(inverse)?;
    let lower = factor.lower();
    let mut rest = weight.select(Axis(1), order).mapv(f64::from);
    let columns = order.len();
    let run = decide.run().max(1);
    let block = if run <= BLOCK { BLOCK / run * run } else { BLOCK };
    let share = rest.nrows().div_ceil(2 * rayon::current_num_threads()).max(1);
    for start in (0..columns).step_by(block) {
        let end = columns.min(start + block);
        let mut errors = Array2::<f64>::zeros((rest.nrows(), end - start));
        let mut first = start;
        while first < end {
            if first.is_multiple_of(run) {
                let last = columns.min(first + run);
                let pivots: Vec<f64> = (first..last).map(|i| lower[[i, i]]).collect();
                decide.look(first..last, rest.slice(s![.., first..last]), &pivots);
            }
            let last = end.min((first / run + 1) * run);
            let behind: Vec<Vec<f64>> = (first..last).map(|i| (i..end).map(|j| lower[[j, i]]).collect()).collect();
            let shares = rest.axis_chunks_iter_mut(Axis(0), share).zip(errors.axis_chunks_iter_mut(Axis(0), share));
            let shares: Vec<_> = shares.enumerate().collect();
            shares.into_par_iter().for_each(|(at, (mut rows, mut errors))| {
                for (row, (mut weights, mut errors)) in rows.rows_mut().into_iter().zip(errors.rows_mut()).enumerate() {
                    for column in first..last {
                        let (weight, behind) = (weights[column], &behind[column - first]);
                        let becomes = decide.decide(at * share + row, column, weight);
                        if becomes == weight {
                            continue;
                        }
                        let error = (weight - becomes) / behind[0];
                        weights[column] = becomes;
                        errors[column - start] = error;
                        for (weight, by) in weights.slice_mut(s![column + 1..end]).iter_mut().zip(&behind[1..]) {
                            *weight -= error * by;
                        }
                    }
                }
            });
            first = last;
        }
        if end < columns {
            let later = lower.slice(s![end.., start..end]);
            product(-1.0, errors.view(), later.t(), 1.0, rest.slice_mut(s![.., end..]));
        }
    }
    for (i, &column) in order.iter().enumerate() {
        weight.column_mut(column).assign(&rest.column(i).mapv(|x| x as f32));
    }
    weight.iter().all(|x| x.is_finite()).then_some(())
}
