//! A layer's weight as a matrix, an output per row, and zeros in it.

use ndarray::{Array2, ArrayView2, Axis, s};

use crate::gram::Cholesky;
use crate::gram::linalg::product;
use crate::sparsify::Pattern;

/// Columns whose errors reach the rest at once.
const BLOCK: usize = 128;

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
    let square = square.select(Axis(0), order).select(Axis(1), order);
    let inverse = Cholesky::damped(&square, DAMPING)?.inverse();
    // Row i of its transpose says what the columns from i on gain when column i loses.
    let factor = Cholesky::of(inverse)?;
    let lower = factor.lower();
    let mut rest = weight.select(Axis(1), order).mapv(f64::from);
    let columns = order.len();
    let run = match pattern {
        Pattern::Structured { of, .. } => of,
        // A few columns at a time: what is decided beforehand knows nothing of what the columns before it lost.
        Pattern::Unstructured(_) => (columns / 8).clamp(4, BLOCK),
    };
    let block = (BLOCK / run).max(1) * run;
    for start in (0..columns).step_by(block) {
        let end = columns.min(start + block);
        let mut errors = Array2::<f64>::zeros((rest.nrows(), end - start));
        let mut gone = Array2::from_elem((rest.nrows(), end - start), false);
        for column in start..end {
            if (column - start).is_multiple_of(run) {
                let last = end.min(column + run);
                let mut scores = rest.slice(s![.., column..last]).mapv(|w| w * w);
                for (i, mut of_column) in scores.axis_iter_mut(Axis(1)).enumerate() {
                    let pivot = lower[[column + i, column + i]];
                    of_column /= pivot * pivot;
                }
                gone.slice_mut(s![.., column - start..last - start]).assign(&chosen(scores.view(), pattern));
            }
            let pivot = lower[[column, column]];
            let behind: Vec<f64> = (column + 1..end).map(|j| lower[[j, column]]).collect();
            for (row, mut weights) in rest.axis_iter_mut(Axis(0)).enumerate() {
                if !gone[[row, column - start]] {
                    continue;
                }
                let error = weights[column] / pivot;
                weights[column] = 0.0;
                errors[[row, column - start]] = error;
                for (j, share) in behind.iter().enumerate() {
                    weights[column + 1 + j] -= error * share;
                }
            }
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
