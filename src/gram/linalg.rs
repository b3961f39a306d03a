//! Products, and systems with a symmetric positive definite matrix.
//!
//! All are recursive: what takes the time is products of blocks, which one kernel computes and threads share.

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Products of fewer multiplications are not shared by threads.
const WORTH_SHARING: usize = 1 << 18;

/// An element that there is a kernel for.
pub trait Element: ndarray::LinalgScalar + Send + Sync {}
impl Element for f32 {}
impl Element for f64 {}

/// `c ← alpha·a·b + beta·c`.
pub fn product<T: Element>(alpha: T, a: ArrayView2<'_, T>, b: ArrayView2<'_, T>, beta: T, mut c: ArrayViewMut2<'_, T>) {
    let (m, n) = c.dim();
    let threads = rayon::current_num_threads();
    if threads == 1 || m.saturating_mul(n).saturating_mul(a.ncols()) < WORTH_SHARING {
        general_mat_mul(alpha, &a, &b, beta, &mut c);
        return;
    }
    let axis = if m >= n { Axis(0) } else { Axis(1) };
    // Whole panels of the kernel, a few for each thread.
    let share = m.max(n).div_ceil(2 * threads).next_multiple_of(16);
    let chunks: Vec<_> = c.axis_chunks_iter_mut(axis, share).enumerate().collect();
    chunks.into_par_iter().for_each(|(index, mut c)| {
        let range = index * share..index * share + c.len_of(axis);
        if axis == Axis(0) {
            general_mat_mul(alpha, &a.slice(s![range, ..]), &b, beta, &mut c);
        } else {
            general_mat_mul(alpha, &a, &b.slice(s![.., range]), beta, &mut c);
        }
    });
}

/// `c ← c + alpha·aᵀ·a`; of `c` what is above the diagonal is anything then.
pub fn add_square<T: Element>(alpha: T, a: ArrayView2<'_, T>, mut c: ArrayViewMut2<'_, T>) {
    let n = c.nrows();
    if n <= SQUARE {
        product(alpha, a.t(), a, T::one(), c);
        return;
    }
    let half = (n / 2).next_multiple_of(BLOCK);
    let (left, right) = a.split_at(Axis(1), half);
    add_square(alpha, left, c.slice_mut(s![..half, ..half]));
    product(alpha, right.t(), left, T::one(), c.slice_mut(s![half.., ..half]));
    add_square(alpha, right, c.slice_mut(s![half.., half..]));
}

/// Smaller squares are computed whole.
const SQUARE: usize = 256;

/// Write what is below the diagonal above it.
pub fn mirror<T: Copy>(c: &mut Array2<T>) {
    for i in 0..c.nrows() {
        for j in i + 1..c.ncols() {
            c[[i, j]] = c[[j, i]];
        }
    }
}

/// Blocks of this size are factored and solved element by element.
const BLOCK: usize = 32;

/// The lower triangular `L` of a symmetric positive definite `L·Lᵀ`.
#[derive(Clone, Debug)]
pub struct Cholesky(Array2<f64>);

impl Cholesky {
    /// The factor of `matrix`, of which what is above the diagonal is not looked at. `None` where it is not positive
    /// definite, as far as rounding lets tell.
    pub fn of(mut matrix: Array2<f64>) -> Option<Cholesky> {
        factor(matrix.view_mut())?;
        Some(Cholesky(matrix))
    }

    /// The factor of `matrix` with `ridge` times the mean of its diagonal added to the diagonal; with twice as much,
    /// and so on, where that is not positive definite. `None` for what is not finite.
    pub fn damped(matrix: &Array2<f64>, ridge: f64) -> Option<Cholesky> {
        let mean = matrix.diag().mean().unwrap_or(0.0);
        if !mean.is_finite() {
            return None;
        }
        // Of nothing but zeros the diagonal decides alone.
        let mean = if mean > 0.0 { mean } else { 1.0 };
        let mut jitter = ridge.max(SMALLEST);
        while jitter <= LARGEST {
            let mut damped = matrix.clone();
            damped.diag_mut().mapv_inplace(|d| d + jitter * mean);
            if let Some(factor) = Cholesky::of(damped) {
                return Some(factor);
            }
            jitter *= 2.0;
        }
        None
    }

    /// `L`; what is above its diagonal is anything.
    pub fn lower(&self) -> &Array2<f64> {
        &self.0
    }

    /// `rows ← rows · (L·Lᵀ)⁻¹`.
    pub fn solve(&self, mut rows: ArrayViewMut2<'_, f64>) {
        divide_transposed(rows.view_mut(), self.0.view());
        divide(rows, self.0.view());
    }

    /// `rows ← rows · L⁻ᵀ`: the squares of what is left add up to the trace of `rows · (L·Lᵀ)⁻¹ · rowsᵀ`.
    pub fn whiten(&self, rows: ArrayViewMut2<'_, f64>) {
        divide_transposed(rows, self.0.view());
    }

    /// `(L·Lᵀ)⁻¹`.
    pub fn inverse(&self) -> Array2<f64> {
        let mut inverse = Array2::eye(self.0.nrows());
        self.solve(inverse.view_mut());
        inverse
    }
}

/// Shares of the mean of the diagonal that are added to it.
const SMALLEST: f64 = 1e-10;
const LARGEST: f64 = 1e4;

fn factor(mut a: ArrayViewMut2<'_, f64>) -> Option<()> {
    let n = a.nrows();
    if n <= BLOCK {
        for j in 0..n {
            for i in j..n {
                let dot: f64 = (0..j).map(|k| a[[i, k]] * a[[j, k]]).sum();
                let rest = a[[i, j]] - dot;
                a[[i, j]] = if i == j {
                    if !(rest > 0.0 && rest.is_finite()) {
                        return None;
                    }
                    rest.sqrt()
                } else {
                    rest / a[[j, j]]
                };
            }
        }
        return Some(());
    }
    let half = (n / 2).next_multiple_of(BLOCK);
    let (top, bottom) = a.split_at(Axis(0), half);
    let (mut first, _) = top.split_at(Axis(1), half);
    let (mut below, mut last) = bottom.split_at(Axis(1), half);
    factor(first.view_mut())?;
    divide_transposed(below.view_mut(), first.view());
    add_square(-1.0, below.view().reversed_axes(), last.view_mut());
    factor(last)
}

/// `rows ← rows · L⁻ᵀ`.
fn divide_transposed(mut rows: ArrayViewMut2<'_, f64>, l: ArrayView2<'_, f64>) {
    let n = l.nrows();
    if n <= BLOCK {
        each_row(rows, |row| {
            for j in 0..n {
                let dot: f64 = (0..j).map(|k| row[k] * l[[j, k]]).sum();
                row[j] = (row[j] - dot) / l[[j, j]];
            }
        });
        return;
    }
    let half = (n / 2).next_multiple_of(BLOCK);
    let (mut left, mut right) = rows.view_mut().split_at(Axis(1), half);
    divide_transposed(left.view_mut(), l.slice(s![..half, ..half]));
    product(-1.0, left.view(), l.slice(s![half.., ..half]).t(), 1.0, right.view_mut());
    divide_transposed(right, l.slice(s![half.., half..]));
}

/// `rows ← rows · L⁻¹`.
fn divide(mut rows: ArrayViewMut2<'_, f64>, l: ArrayView2<'_, f64>) {
    let n = l.nrows();
    if n <= BLOCK {
        each_row(rows, |row| {
            for j in (0..n).rev() {
                let dot: f64 = (j + 1..n).map(|k| row[k] * l[[k, j]]).sum();
                row[j] = (row[j] - dot) / l[[j, j]];
            }
        });
        return;
    }
    let half = (n / 2).next_multiple_of(BLOCK);
    let (mut left, mut right) = rows.view_mut().split_at(Axis(1), half);
    divide(right.view_mut(), l.slice(s![half.., half..]));
    product(-1.0, right.view(), l.slice(s![half.., ..half]), 1.0, left.view_mut());
    divide(left, l.slice(s![..half, ..half]));
}

fn each_row(mut rows: ArrayViewMut2<'_, f64>, work: impl Fn(&mut [f64]) + Sync) {
    let share = rows.nrows().div_ceil(2 * rayon::current_num_threads()).max(64);
    let chunks: Vec<_> = rows.axis_chunks_iter_mut(Axis(0), share).collect();
    chunks.into_par_iter().for_each(|mut chunk| {
        for mut row in chunk.rows_mut() {
            match row.as_slice_mut() {
                Some(row) => work(row),
                // Rows of a matrix that lies by columns.
                None => {
                    let mut copy = row.to_vec();
                    work(&mut copy);
                    row.assign(&ndarray::ArrayView1::from(&copy));
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn normal(m: usize, n: usize, seed: u64) -> Array2<f64> {
        let mut random = Random::new(seed, "linalg");
        Array2::from_shape_simple_fn((m, n), || random.normal())
    }

    fn largest(a: &Array2<f64>) -> f64 {
        a.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
    }

    #[test]
    fn squares_and_products_are_what_they_are_said_to_be() {
        for (m, n) in [(7, 5), (70, 300), (200, 601)] {
            let a = normal(m, n, 1);
            let mut c = Array2::ones((n, n));
            add_square(-2.0, a.view(), c.view_mut());
            mirror(&mut c);
            let expected = Array2::<f64>::ones((n, n)) - 2.0 * a.t().dot(&a);
            assert!(largest(&(c - expected)) < 1e-10);
            let b = normal(n, 90, 2);
            let mut c = normal(m, 90, 3);
            let expected = 0.5 * a.dot(&b) - &c;
            product(0.5, a.view(), b.view(), -1.0, c.view_mut());
            assert!(largest(&(c - expected)) < 1e-10);
        }
    }

    #[test]
    fn systems_are_solved() {
        for n in [1, 3, 32, 33, 100, 257] {
            let a = normal(n + 20, n, 4);
            let h = a.t().dot(&a);
            let rows = normal(9, n, 5);
            let factor = Cholesky::of(h.clone()).unwrap();
            let mut solved = rows.clone();
            factor.solve(solved.view_mut());
            assert!(largest(&(solved.dot(&h) - &rows)) < 1e-8, "{n}");
            assert!(largest(&(factor.inverse().dot(&h) - Array2::<f64>::eye(n))) < 1e-8, "{n}");
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_damped_until_it_is() {
        let a = normal(10, 40, 6);
        let h = a.t().dot(&a);
        assert!(Cholesky::of(-&h).is_none());
        assert!(Cholesky::damped(&h, 0.0).is_some());
        assert!(Cholesky::damped(&Array2::zeros((5, 5)), 0.1).is_some());
        assert!(Cholesky::damped(&Array2::from_elem((2, 2), f64::NAN), 0.1).is_none());
        // Damping is what it is said to be.
        let mut rows = normal(3, 40, 7);
        let given = rows.clone();
        Cholesky::damped(&h, 0.1).unwrap().solve(rows.view_mut());
        let mean = h.diag().mean().unwrap();
        assert!(largest(&(rows.dot(&(h + 0.1 * mean * Array2::<f64>::eye(40))) - given)) < 1e-8);
    }

    #[test]
    fn threads_change_nothing() {
        let (a, b) = (normal(150, 90, 8), normal(90, 130, 9));
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut c = Array2::zeros((150, 130));
                product(1.0, a.view(), b.view(), 0.0, c.view_mut());
                c
            })
        };
        assert_eq!(with(1), with(3));
    }
}
