//! Means and deviations of what a layer makes.

use ndarray::{Array1, ArrayView2, Axis};

/// Sums over each output, relative to the mean of the first block.
pub(super) struct Statistics {
    count: f64,
    shift: Array1<f32>,
    sum: Array1<f64>,
    squares: Array1<f64>,
}

impl Statistics {
    pub(super) fn new(outputs: usize) -> Statistics {
        Statistics {
            count: 0.0,
            shift: Array1::zeros(outputs),
            sum: Array1::zeros(outputs),
            squares: Array1::zeros(outputs),
        }
    }

    pub(super) fn add(&mut self, y: ArrayView2<'_, f32>) {
        if self.count == 0.0 {
            self.shift = y.mean_axis(Axis(0)).unwrap_or_else(|| self.shift.clone());
        }
        self.count += y.nrows() as f64;
        let y = &y - &self.shift;
        self.sum += &y.fold_axis(Axis(0), 0f64, |sum, &y| sum + f64::from(y));
        self.squares += &y.fold_axis(Axis(0), 0f64, |sum, &y| sum + f64::from(y) * f64::from(y));
    }

    pub(super) fn means(&self) -> Array1<f64> {
        &self.sum / self.count.max(1.0) + self.shift.mapv(f64::from)
    }

    pub(super) fn variances(&self) -> Array1<f64> {
        let count = self.count.max(1.0);
        let mean = &self.sum / count;
        (&self.squares / count - &mean * &mean).mapv(|v| v.max(0.0))
    }

    /// The energy of all outputs and rows, about their means or about zero.
    pub(super) fn energy(&self, about_means: bool) -> f64 {
        let means = self.means();
        let of_means = if about_means { 0.0 } else { (&means * &means).sum() };
        (self.variances().sum() + of_means) * self.count
    }
}
