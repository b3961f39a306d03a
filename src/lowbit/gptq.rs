//! Integers column after column, where what one loses by rounding is made up for by those behind it (GPTQ, Frantar and
//! others 2023).
//!
//! Columns that share a scale lie together in the result, so a sweep takes them group by group: the group that weighs
//! most in what is read comes first, and of each group the column that does. A group's scale is found when the sweep
//! comes to it, for what its weights have become by then.

use std::ops::Range;

use ndarray::{Array2, ArrayView2};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use crate::gram::sweep::{Decide, sweep};
use crate::lowbit::codes::Codes;
use crate::lowbit::grid::{Grid, Steps};
use crate::lowbit::levels::Width;

/// What is added to the diagonal of second moments, in parts of its mean.
const DAMPING: f64 = 0.01;

/// Integers for `weight`, a row for each output, whose columns are multiplied with what has the second moments
/// `square`. `None` where these are not finite.
pub fn gptq(weight: &Array2<f32>, square: &Array2<f64>, grid: &Grid, group: usize, width: Width) -> Option<Codes> {
    let (outputs, columns) = weight.dim();
    let order = order(square, group);
    let groups = columns.div_ceil(group);
    let steps = vec![Steps { scale: 1.0, zero: 0 }; outputs * groups];
    let mut rounding = Rounding { grid, group, groups, order: &order, steps, is_finite: true, at: 0 };
    let mut rounded = weight.clone();
    sweep(&mut rounded, square, &order, DAMPING, &mut rounding)?;
    let steps = rounding.is_finite.then_some(rounding.steps)?;
    let integers = rounded
        .indexed_iter()
        .map(|((output, column), &weight)| steps[output * groups + column / group].integer(weight, grid.most));
    Some(Codes { outputs, columns, group, width, integers: integers.collect(), steps })
}

/// Groups in the order of what they weigh, the last last where it is shorter; in each the columns likewise.
fn order(square: &Array2<f64>, group: usize) -> Vec<usize> {
    let columns = square.nrows();
    let mut groups: Vec<Vec<usize>> =
        (0..columns).step_by(group).map(|first| (first..columns.min(first + group)).collect()).collect();
    for columns in &mut groups {
        columns.sort_by(|&a, &b| square[[b, b]].total_cmp(&square[[a, a]]));
    }
    let energy = |columns: &Vec<usize>| columns.iter().map(|&c| square[[c, c]]).sum::<f64>();
    groups.sort_by(|a, b| b.len().cmp(&a.len()).then(energy(b).total_cmp(&energy(a))));
    groups.concat()
}

struct Rounding<'a> {
    grid: &'a Grid,
    group: usize,
    groups: usize,
    order: &'a [usize],
    steps: Vec<Steps>,
    is_finite: bool,
    /// The group of the run.
    at: usize,
}

impl Decide for Rounding<'_> {
    fn run(&self) -> usize {
        self.group
    }

    fn look(&mut self, run: Range<usize>, weights: ArrayView2<'_, f64>, pivots: &[f64]) {
        self.at = self.order[run.start] / self.group;
        let least = pivots.iter().fold(f64::INFINITY, |least, pivot| least.min(*pivot));
        let importance: Vec<f32> = pivots.iter().map(|pivot| (least / pivot).powi(2) as f32).collect();
        let (grid, at) = (self.grid, self.at);
        let found = self.steps.par_chunks_mut(self.groups).enumerate().map(|(row, steps)| {
            let weights: Vec<f32> = weights.row(row).iter().map(|&w| w as f32).collect();
            grid.refined(&weights, Some(&importance)).map(|found| steps[at] = found)
        });
        self.is_finite &= found.collect::<Option<Vec<()>>>().is_some();
    }

    fn decide(&self, row: usize, _: usize, weight: f64) -> f64 {
        let steps = self.steps[row * self.groups + self.at];
        steps.real(steps.integer(weight as f32, self.grid.most)).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::DType;
    use crate::lowbit::codes::{Matrix, Search};
    use crate::random::Random;

    #[test]
    fn later_columns_make_up_for_what_earlier_ones_lose() {
        for symmetric in [true, false] {
            let (mut by_itself, mut by_sweep) = (0.0, 0.0);
            for seed in 0..6 {
                let mut random = Random::new(seed, "gptq");
                let mut normal = |m: usize, n: usize| Array2::from_shape_simple_fn((m, n), || random.normal());
                let read = normal(300, 8).dot(&normal(8, 40)) + 0.3 * normal(300, 40);
                let weight = normal(6, 40).mapv(|x| x as f32);
                let square = read.t().dot(&read) / 300.0;
                let grid = Grid::of(4, symmetric, false, DType::F32);
                let loss = |codes: &Codes| {
                    let change = (codes.reals() - &weight).mapv(f64::from);
                    (change.dot(&square) * change).sum()
                };
                let matrix = Matrix::of_rows(&weight).unwrap();
                by_itself += loss(&Codes::of(&matrix, &grid, 16, Width::Four, Search::Refined(None)).unwrap());
                let swept = gptq(&weight, &square, &grid, 16, Width::Four).unwrap();
                assert!(swept.integers.iter().all(|&i| i <= 15) && swept.steps.len() == 6 * 3);
                by_sweep += loss(&swept);
            }
            assert!(by_sweep < 0.5 * by_itself, "{by_sweep} {by_itself}");
        }
    }

    #[test]
    fn groups_stay_together_and_the_short_one_is_last() {
        let mut square = Array2::<f64>::zeros((5, 5));
        for (i, size) in [1.0, 3.0, 2.0, 9.0, 50.0].into_iter().enumerate() {
            square[[i, i]] = size;
        }
        assert_eq!(order(&square, 2), [3, 2, 1, 0, 4]);
        let weight = Array2::from_elem((1, 5), 1.0f32);
        let grid = Grid::of(4, true, false, DType::F32);
        assert!(gptq(&weight, &Array2::from_elem((5, 5), f64::NAN), &grid, 2, Width::Four).is_none());
    }
}
