//! What a layer reads on samples, as far as its weight's integers depend on it.

use ndarray::{Array1, Array2, s};

use crate::gram::linalg::product;
use crate::gram::{Layer, Moments, Patches, Sums};
use crate::ir::Tensor;

/// Rows of patches that a layer is looked at with.
const ROWS: usize = 16_000;

/// Second moments of what a layer reads.
pub struct Seen {
    /// Those that integers are made for.
    pub square: Array2<f64>,
    /// Those that they are judged by: of other samples, where there are any.
    pub judge: Array2<f64>,
    /// The mean of what is read, of all samples.
    pub mean: Array1<f64>,
}

/// One sample of so many is for judging.
const ONE_OF: usize = 6;

impl Seen {
    /// What `layer` reads where that is `tensors`: products of what differs from the mean where a bias makes up for what
    /// the mean loses. `None` where a tensor does not fit the layer.
    pub fn of(layer: &Layer, tensors: &[Tensor], has_bias: bool) -> Option<Seen> {
        let judges = tensors.len() / ONE_OF;
        // Evenly from all.
        let is_judge = |i: usize| judges > 0 && i % ONE_OF == ONE_OF - 1;
        let those = |judge: bool| -> Vec<Tensor> {
            let which = tensors.iter().enumerate().filter(|(i, _)| is_judge(*i) == judge);
            which.map(|(_, tensor)| tensor.clone()).collect()
        };
        let seen = moments(layer, &those(false), ROWS)?;
        let judge = if judges > 0 { Some(moments(layer, &those(true), ROWS / ONE_OF)?) } else { None };
        let square = |moments: Moments| if has_bias { moments.square } else { moments.about_zero().square };
        let mean = match &judge {
            Some(judge) => {
                let rows = (seen.rows + judge.rows).max(1) as f64;
                (&seen.mean * seen.rows as f64 + &judge.mean * judge.rows as f64) / rows
            }
            None => seen.mean.clone(),
        };
        let seen = square(seen);
        let judge = judge.map_or_else(|| seen.clone(), square);
        let all_finite = |a: &Array2<f64>| a.iter().all(|x| x.is_finite());
        (all_finite(&seen) && all_finite(&judge)).then_some(Seen { square: seen, judge, mean })
    }

    /// How much each column weighs in the result.
    pub fn importance(&self) -> Vec<f32> {
        let diagonal = self.square.diag();
        let largest = diagonal.iter().fold(0f64, |largest, &x| largest.max(x)).max(f64::MIN_POSITIVE);
        // A column that says nothing here may say something elsewhere.
        diagonal.iter().map(|x| (x / largest).max(1e-4) as f32).collect()
    }

    /// The energy of what a layer's result loses when its weight changes by `change`.
    pub fn loss(&self, change: &Array2<f32>) -> f64 {
        let change = change.mapv(f64::from);
        let mut read = Array2::zeros(change.raw_dim());
        product(1.0, change.view(), self.judge.view(), 0.0, read.view_mut());
        (read * change).sum()
    }
}

fn moments(layer: &Layer, tensors: &[Tensor], rows: usize) -> Option<Moments> {
    let patches = Patches::of(layer, tensors, rows, 1)?;
    let mut sums = Sums::new(layer.columns(), 0);
    for rows in patches.blocks() {
        let block = patches.block(rows, 0);
        let nothing = Array2::zeros((block.nrows(), 0));
        sums.add(block, nothing.slice(s![.., ..]));
    }
    Some(sums.moments())
}
