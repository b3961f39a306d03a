//! Means and products of what a layer reads, over rows of patches.

use ndarray::{Array1, Array2, ArrayView2, Axis};

use crate::gram::linalg::{add_square, mirror, product};

/// Sums over rows `x`, and rows `y` beside them.
///
/// Rows are taken relative to the mean of the first block, and summed in single precision within a block only: what is
/// left of large means does not drown in rounding.
pub struct Sums {
    count: usize,
    shift: Array1<f32>,
    x: Array1<f64>,
    y: Array1<f64>,
    /// Below the diagonal; empty where it is not asked for.
    xx: Array2<f64>,
    yx: Array2<f64>,
}

/// What rows are like.
#[derive(Clone, Debug)]
pub struct Moments {
    /// How many there were.
    pub rows: usize,
    /// The mean of `x`.
    pub mean: Array1<f64>,
    /// The mean of `y`.
    pub mean_beside: Array1<f64>,
    /// The covariance of `x`; empty where it was not asked for.
    pub square: Array2<f64>,
    /// The covariance of `y` with `x`, a row for each element of `y`.
    pub cross: Array2<f64>,
}

impl Sums {
    /// Of rows of `n` elements with `m` beside them.
    pub fn new(n: usize, m: usize) -> Sums {
        Sums {
            count: 0,
            shift: Array1::zeros(n),
            x: Array1::zeros(n),
            y: Array1::zeros(m),
            xx: Array2::zeros((n, n)),
            yx: Array2::zeros((m, n)),
        }
    }

    /// Of rows of `n` elements with `m` beside them, without the covariance of the rows themselves.
    pub fn beside(n: usize, m: usize) -> Sums {
        Sums { xx: Array2::zeros((0, 0)), ..Sums::new(n, m) }
    }

    /// Add some rows.
    pub fn add(&mut self, mut x: Array2<f32>, y: ArrayView2<'_, f32>) {
        if x.nrows() == 0 {
            return;
        }
        if self.count == 0 {
            self.shift = x.mean_axis(Axis(0)).unwrap_or_else(|| Array1::zeros(x.ncols()));
        }
        x -= &self.shift;
        self.count += x.nrows();
        let sum = |rows: ArrayView2<'_, f32>| rows.fold_axis(Axis(0), 0f64, |sum, &x| sum + f64::from(x));
        self.x += &sum(x.view());
        self.y += &sum(y);
        let n = x.ncols();
        if self.xx.nrows() == n {
            let mut xx = Array2::<f32>::zeros((n, n));
            add_square(1.0, x.view(), xx.view_mut());
            self.xx.zip_mut_with(&xx, |sum, &x| *sum += f64::from(x));
        }
        if y.ncols() > 0 {
            let mut yx = Array2::<f32>::zeros((y.ncols(), n));
            product(1.0, y.t(), x.view(), 0.0, yx.view_mut());
            self.yx.zip_mut_with(&yx, |sum, &x| *sum += f64::from(x));
        }
    }

    /// What the rows were like.
    pub fn moments(self) -> Moments {
        let count = self.count.max(1) as f64;
        let (x, y) = (self.x / count, self.y / count);
        let mut square = self.xx / count;
        if square.nrows() == x.len() {
            mirror(&mut square);
            square -= &outer(&x, &x);
        }
        let cross = self.yx / count - outer(&y, &x);
        let mean = x + self.shift.mapv(f64::from);
        Moments { rows: self.count, mean, mean_beside: y, square, cross }
    }
}

impl Moments {
    /// Products of the elements themselves, not of what they differ from their means by.
    #[must_use]
    pub fn about_zero(mut self) -> Moments {
        if self.square.nrows() == self.mean.len() {
            self.square += &outer(&self.mean, &self.mean);
        }
        self.cross += &outer(&self.mean_beside, &self.mean);
        self
    }
}

fn outer(a: &Array1<f64>, b: &Array1<f64>) -> Array2<f64> {
    let (a, b) = (a.view().insert_axis(Axis(1)), b.view().insert_axis(Axis(0)));
    let mut outer = Array2::zeros((a.nrows(), b.ncols()));
    product(1.0, a, b, 0.0, outer.view_mut());
    outer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn moments_are_those_of_all_rows() {
        let mut random = Random::new(1, "moments");
        // Means that are large beside what is left.
        let x = Array2::from_shape_simple_fn((500, 7), || random.normal() as f32 + 100.0);
        let y = Array2::from_shape_fn((500, 2), |(i, j)| x[[i, j]] * 2.0 - x[[i, 3]] + random.normal() as f32);
        let mut sums = Sums::new(7, 2);
        for rows in [0..100, 100..101, 101..500] {
            let part = |a: &Array2<f32>| a.slice(ndarray::s![rows.clone(), ..]).to_owned();
            sums.add(part(&x), part(&y).view());
        }
        let moments = sums.moments();
        let mut beside = Sums::beside(7, 2);
        beside.add(x.clone(), y.view());
        let beside = beside.moments();
        assert_eq!(beside.square.dim(), (0, 0));
        let (x, y) = (x.mapv(f64::from), y.mapv(f64::from));
        let (mx, my) = (x.mean_axis(Axis(0)).unwrap(), y.mean_axis(Axis(0)).unwrap());
        let close = |a: &Array2<f64>, b: &Array2<f64>, by: f64| a.iter().zip(b).all(|(a, b)| (a - b).abs() < by);
        let (cx, cy) = (&x - &mx, &y - &my);
        assert!(close(&moments.square, &(cx.t().dot(&cx) / 500.0), 1e-5));
        assert!(close(&moments.cross, &(cy.t().dot(&cx) / 500.0), 1e-4));
        assert!(close(&beside.cross, &moments.cross, 1e-4));
        assert!(moments.mean.iter().zip(&mx).all(|(a, b)| (a - b).abs() < 1e-5));
        let zero = moments.about_zero();
        assert!(close(&zero.square, &(x.t().dot(&x) / 500.0), 1e-2));
        assert!(close(&zero.cross, &(y.t().dot(&x) / 500.0), 1e-2));
    }
}
