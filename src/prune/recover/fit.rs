//! The weight of one layer that comes closest to what the layer should compute.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::exec::Stepper;
use crate::gram::linalg::product;
use crate::gram::{Cholesky, Layer, Patches, Results, Sums};
use crate::ir::Tensor;
use crate::prune::recover::How;
use crate::prune::recover::target::Target;

/// What a layer reads on some samples, and what it should make of that.
pub(super) struct Task<'a> {
    patches: &'a Patches<'a>,
    result: Results<'a>,
    beside: Option<(Results<'a>, Results<'a>)>,
    kept: &'a [usize],
}

impl<'a> Task<'a> {
    pub(super) fn of(
        patches: &'a Patches<'a>,
        layer: &Layer,
        target: &'a Target,
        dense: &'a Stepper<'_>,
        pruned: &'a Stepper<'_>,
        samples: Range<usize>,
    ) -> Option<Task<'a>> {
        let made = &dense.of(target.result)?[samples.clone()];
        let result = patches.results(made, target.outputs)?;
        let beside = target.beside.and_then(|(of_dense, of_pruned)| {
            let (a, b) = (&dense.of(of_dense)?[samples.clone()], &pruned.of(of_pruned)?[samples]);
            // What is not repeated along an axis is of the result's sizes.
            let same = |a: &[Tensor]| a.iter().zip(made).all(|(a, b)| a.rank() == b.rank());
            let whole = a.iter().zip(made).all(|(a, b)| a.dims() == b.dims());
            let results = patches.results(a, target.outputs).zip(patches.results(b, layer.outputs));
            results.filter(|_| whole && same(b))
        });
        Some(Task { patches, result, beside, kept: &target.kept })
    }

    /// What the layer reads in these rows, and what these of its outputs should be.
    fn block(&self, rows: Range<usize>, group: usize, outputs: Range<usize>) -> (Array2<f32>, Array2<f32>) {
        let kept = &self.kept[outputs.clone()];
        let mut y = self.result.block(rows.clone(), kept);
        if let Some((dense, pruned)) = &self.beside {
            y += &dense.block(rows.clone(), kept);
            y -= &pruned.block(rows.clone(), &outputs.collect::<Vec<_>>());
        }
        (self.patches.block(rows, group), y)
    }
}

/// A layer as it is.
pub(super) struct Fit<'a> {
    pub layer: &'a Layer,
    pub weight: &'a Array2<f32>,
    /// What the fit is drawn towards, if that is another weight.
    pub start: Option<&'a Array2<f32>>,
    /// What the call adds to each output.
    pub constant: &'a [f64],
}

/// What is best for a layer.
pub(super) struct Found {
    pub before: f64,
    pub after: f64,
    pub how: How,
    pub change: Option<Change>,
}

/// A weight, and what is added to the biases.
#[derive(Clone)]
pub(super) struct Change {
    pub weight: Array2<f32>,
    pub shift: Vec<f64>,
}

/// Layers that are off by less than this part of their result's energy are right.
const RIGHT: f64 = 1e-9;

impl Fit<'_> {
    /// The best that there is on the held-out rows; `None` where numbers are not finite.
    pub(super) fn best(&self, fitted: &Task<'_>, held_out: &Task<'_>, ridge: f64) -> Option<Found> {
        let none = Change { weight: self.weight.clone(), shift: vec![0.0; self.layer.outputs] };
        let measure = |change: &Change| self.error(if held_out.patches.rows() > 0 { held_out } else { fitted }, change);
        let before = measure(&none)?;
        let mut found = Found { before, after: before, how: How::Nothing, change: None };
        if before < RIGHT {
            return Some(found);
        }
        let groups: Vec<Option<Solved>> =
            (0..self.layer.groups).into_par_iter().map(|group| self.solve(fitted, group, ridge)).collect();
        let groups: Vec<Solved> = groups.into_iter().collect::<Option<_>>()?;
        let whole = |part: fn(&Solved) -> (&Array2<f32>, &Array1<f64>)| {
            let mut change = none.clone();
            for (group, solved) in groups.iter().enumerate() {
                let outputs = self.outputs(group);
                let (weight, shift) = part(solved);
                change.weight.slice_mut(s![outputs.clone(), ..]).assign(weight);
                change.shift[outputs].copy_from_slice(&shift.to_vec());
            }
            change
        };
        for (how, change) in [
            (How::LeastSquares, whole(|solved| (&solved.best.0, &solved.best.1))),
            (How::Matched, whole(|solved| (&solved.matched.0, &solved.matched.1))),
        ] {
            if let Some(after) = measure(&change)
                && after < found.after
            {
                found = Found { before, after, how, change: Some(change) };
                break;
            }
        }
        Some(found)
    }

    fn outputs(&self, group: usize) -> Range<usize> {
        let each = self.layer.outputs_of_group();
        group * each..(group + 1) * each
    }

    /// What the result is off, as a part of the energy that it should have.
    fn error(&self, task: &Task<'_>, change: &Change) -> Option<f64> {
        let of_group = |group: usize| {
            let outputs = self.outputs(group);
            let weight = change.weight.slice(s![outputs.clone(), ..]);
            let constant: Array1<f32> = outputs.clone().map(|o| (self.constant[o] + change.shift[o]) as f32).collect();
            let mut of_outputs = Statistics::new(outputs.len());
            let mut off = 0f64;
            for rows in task.patches.blocks() {
                let (x, y) = task.block(rows, group, outputs.clone());
                of_outputs.add(y.view());
                let error = y - times(&x, weight) - &constant;
                off += error.iter().map(|&e| f64::from(e) * f64::from(e)).sum::<f64>();
            }
            (off, of_outputs.energy(self.layer.bias.is_some()))
        };
        let sums: Vec<(f64, f64)> = (0..self.layer.groups).into_par_iter().map(of_group).collect();
        let (off, energy) = sums.into_iter().fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
        let part = if off == 0.0 { 0.0 } else { off / energy.max(f64::MIN_POSITIVE) };
        part.is_finite().then_some(part)
    }

    /// The weights of one group.
    fn solve(&self, task: &Task<'_>, group: usize, ridge: f64) -> Option<Solved> {
        let outputs = self.outputs(group);
        let start = self.start.unwrap_or(self.weight).slice(s![outputs.clone(), ..]);
        let constant: Array1<f32> = outputs.clone().map(|o| self.constant[o] as f32).collect();
        let (mut sums, mut wanted, mut made) =
            (Sums::new(start.ncols(), outputs.len()), Statistics::new(outputs.len()), Statistics::new(outputs.len()));
        for rows in task.patches.blocks() {
            let (x, y) = task.block(rows, group, outputs.clone());
            let prediction = times(&x, start) + &constant;
            wanted.add(y.view());
            made.add(prediction.view());
            sums.add(x, (y - prediction).view());
        }
        let moves_means = self.layer.bias.is_some();
        let moments = if moves_means { sums.moments() } else { sums.moments().about_zero() };
        let mut change = moments.cross;
        Cholesky::damped(&moments.square, ridge)?.solve(change.view_mut());
        let best = &start.mapv(f64::from) + &change;
        let none = Array1::zeros(outputs.len());
        let shift = if moves_means { &moments.mean_beside - &change.dot(&moments.mean) } else { none };
        let matched = match moves_means {
            true => matched(start, &constant, &wanted, &made),
            false => (start.to_owned(), Array1::zeros(outputs.len())),
        };
        best.iter()
            .chain(&shift)
            .all(|x| x.is_finite())
            .then(|| Solved { best: (best.mapv(|w| w as f32), shift), matched })
    }
}

/// The start with the mean and deviation of each output as they should be.
fn matched(
    start: ArrayView2<'_, f32>,
    constant: &Array1<f32>,
    wanted: &Statistics,
    made: &Statistics,
) -> (Array2<f32>, Array1<f64>) {
    let ratio = (wanted.variances() / made.variances()).mapv(|r| if r.is_finite() && r > 0.0 { r.sqrt() } else { 1.0 });
    let mut weight = start.to_owned();
    for (mut row, &ratio) in weight.rows_mut().into_iter().zip(&ratio) {
        row *= ratio as f32;
    }
    // The scaled product's mean, and then the constant, which is not scaled.
    let constant = constant.mapv(f64::from);
    let shift = wanted.means() - (made.means() - &constant) * &ratio - constant;
    (weight, shift)
}

/// What is found for a group.
struct Solved {
    best: (Array2<f32>, Array1<f64>),
    matched: (Array2<f32>, Array1<f64>),
}

fn times(x: &Array2<f32>, weight: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut made = Array2::zeros((x.nrows(), weight.nrows()));
    product(1.0, x.view(), weight.t(), 0.0, made.view_mut());
    made
}

/// Sums over each output, relative to the mean of the first block.
struct Statistics {
    count: f64,
    shift: Array1<f32>,
    sum: Array1<f64>,
    squares: Array1<f64>,
}

impl Statistics {
    fn new(outputs: usize) -> Statistics {
        Statistics {
            count: 0.0,
            shift: Array1::zeros(outputs),
            sum: Array1::zeros(outputs),
            squares: Array1::zeros(outputs),
        }
    }

    fn add(&mut self, y: ArrayView2<'_, f32>) {
        if self.count == 0.0 {
            self.shift = y.mean_axis(Axis(0)).unwrap_or_else(|| self.shift.clone());
        }
        self.count += y.nrows() as f64;
        let y = &y - &self.shift;
        self.sum += &y.fold_axis(Axis(0), 0f64, |sum, &y| sum + f64::from(y));
        self.squares += &y.fold_axis(Axis(0), 0f64, |sum, &y| sum + f64::from(y) * f64::from(y));
    }

    fn means(&self) -> Array1<f64> {
        &self.sum / self.count.max(1.0) + self.shift.mapv(f64::from)
    }

    fn variances(&self) -> Array1<f64> {
        let count = self.count.max(1.0);
        let mean = &self.sum / count;
        (&self.squares / count - &mean * &mean).mapv(|v| v.max(0.0))
    }

    /// The energy of all outputs and rows, about their means or about zero.
    fn energy(&self, about_means: bool) -> f64 {
        let means = self.means();
        let of_means = if about_means { 0.0 } else { (&means * &means).sum() };
        (self.variances().sum() + of_means) * self.count
    }
}
