//! A layer's weight as a matrix, an output per row, and zeros in it.

use std::ops::Range;

use ndarray::{Array2, ArrayView2, Axis};

use crate::gram::sweep::{BLOCK, Decide};
use crate::sparsify::Pattern;

/// Set the smallest weights to zero, columns taken in `order`.
pub fn smallest(weight: &mut Array2<f32>, pattern: Pattern, order: &[usize]) {
    let squares = weight.mapv(|x| f64::from(x) * f64::from(x));
    let run = match pattern {
        Pattern::Structured { of, .. } => of,
        Pattern::Unstructured(_) => order.len().max(1),
    };
    for columns in order.chunks(run) {
        let scores = squares.select(Axis(1), columns);
        let gone = chosen(scores.view(), pattern);
        for ((row, column), _) in gone.indexed_iter().filter(|(_, gone)| **gone) {
            weight[[row, columns[column]]] = 0.0;
        }
    }
}

/// Set weights to zero, columns taken in `order`, and have those of later columns make up for it: `square` are the
/// second moments of what the columns are multiplied with. `None` where these are not finite.
pub fn sweep(weight: &mut Array2<f32>, square: &Array2<f64>, pattern: Pattern, order: &[usize]) -> Option<()> {
    let mut zeros = Zeros { pattern, columns: order.len(), first: 0, gone: Array2::default((0, 0)) };
    crate::gram::sweep::sweep(weight, square, order, DAMPING, &mut zeros)
}

/// Weights that become zero.
struct Zeros {
    pattern: Pattern,
    columns: usize,
    /// The first column of the run, and which of its weights go.
    first: usize,
    gone: Array2<bool>,
}

impl Decide for Zeros {
    fn run(&self) -> usize {
        match self.pattern {
            Pattern::Structured { of, .. } => of,
            // A few columns at a time: what is decided beforehand knows nothing of what the columns before it lost.
            Pattern::Unstructured(_) => (self.columns / 8).clamp(4, BLOCK),
        }
    }

    fn look(&mut self, run: Range<usize>, weights: ArrayView2<'_, f64>, pivots: &[f64]) {
        let mut scores = weights.mapv(|w| w * w);
        for (mut of_column, pivot) in scores.axis_iter_mut(Axis(1)).zip(pivots) {
            of_column /= pivot * pivot;
        }
        (self.first, self.gone) = (run.start, chosen(scores.view(), self.pattern));
    }

    fn decide(&self, row: usize, column: usize, weight: f64) -> f64 {
        if self.gone[[row, column - self.first]] { 0.0 } else { weight }
    }
}

/// What is added to the diagonal of second moments, in parts of its mean.
const DAMPING: f64 = 0.01;

/// Which weights of these columns go: those of the least scores, of each row for a structured pattern and of all rows
/// together else.
fn chosen(scores: ArrayView2<'_, f64>, pattern: Pattern) -> Array2<bool> {
    let mut gone = Array2::from_elem(scores.dim(), false);
    match pattern {
        Pattern::Structured { zeros, of } => {
            if scores.ncols() < of {
                return gone;
            }
            let mut columns: Vec<usize> = (0..scores.ncols()).collect();
            for (row, scores) in scores.axis_iter(Axis(0)).enumerate() {
                columns.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(a.cmp(&b)));
                for &column in &columns[..zeros] {
                    gone[[row, column]] = true;
                }
            }
        }
        Pattern::Unstructured(share) => {
            let mut all: Vec<(f64, usize, usize)> = scores.indexed_iter().map(|((i, j), &s)| (s, i, j)).collect();
            let count = (all.len() as f64 * share).floor() as usize;
            if count > 0 && count < all.len() {
                all.select_nth_unstable_by(count - 1, |a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
            }
            for &(_, row, column) in &all[..count] {
                gone[[row, column]] = true;
            }
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn problem(seed: u64) -> (Array2<f32>, Array2<f32>, Array2<f64>) {
        let mut random = Random::new(seed, "sweep");
        // Columns that can stand for each other.
        let causes = Array2::from_shape_simple_fn((400, 6), || random.normal() as f32);
        let mixing = Array2::from_shape_simple_fn((6, 16), || random.normal() as f32);
        let noise = Array2::from_shape_simple_fn((400, 16), || 0.1 * random.normal() as f32);
        let read = causes.dot(&mixing) + noise;
        let weight = Array2::from_shape_simple_fn((5, 16), || random.normal() as f32);
        let wide = read.mapv(f64::from);
        (weight, read, wide.t().dot(&wide) / 400.0)
    }

    fn error(read: &Array2<f32>, a: &Array2<f32>, b: &Array2<f32>) -> f64 {
        read.dot(&(a - b).t()).iter().map(|&x| f64::from(x) * f64::from(x)).sum()
    }

    fn zeros_of_runs(weight: &Array2<f32>, order: &[usize], run: usize) -> bool {
        weight
            .axis_iter(Axis(0))
            .all(|row| order.chunks(run).all(|c| c.iter().filter(|&&i| row[i] == 0.0).count() >= 2))
    }

    #[test]
    fn other_columns_make_up_for_what_goes() {
        let order: Vec<usize> = (0..16).map(|i| i % 4 * 4 + i / 4).collect();
        for pattern in [Pattern::Structured { zeros: 2, of: 4 }, Pattern::Unstructured(0.5)] {
            let (mut by_size, mut by_sweep) = (0.0, 0.0);
            for seed in 0..8 {
                let (weight, read, square) = problem(seed);
                let (mut plain, mut swept) = (weight.clone(), weight.clone());
                smallest(&mut plain, pattern, &order);
                sweep(&mut swept, &square, pattern, &order).unwrap();
                by_size += error(&read, &weight, &plain);
                by_sweep += error(&read, &weight, &swept);
                if let Pattern::Structured { of, .. } = pattern {
                    assert!(zeros_of_runs(&plain, &order, of) && zeros_of_runs(&swept, &order, of));
                } else {
                    assert_eq!(swept.iter().filter(|x| **x == 0.0).count(), 40);
                }
            }
            // It is greedy: of one problem it may find little, of several it may not.
            assert!(by_sweep < 0.6 * by_size, "{pattern}: {by_sweep} {by_size}");
        }
    }
}
