//! The weight of one layer that comes closest to what the layer should compute.

use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView2, s};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::gram::linalg::product;
use crate::gram::{Cholesky, Layer, Moments, Sums};
use crate::prune::recover::outcome::How;
use crate::prune::recover::statistics::Statistics;
use crate::prune::recover::task::{Rows, Task};

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
    /// The best that there is: made from the fitted rows, and where it is better on the held-out ones from all of them.
    /// `None` where numbers are not finite.
    pub(super) fn best(&self, fitted: &Task<'_>, held_out: &Task<'_>, ridge: f64) -> Option<Found> {
        let none = Change { weight: self.weight.clone(), shift: vec![0.0; self.layer.outputs] };
        let measure = |change: &Change| self.error(if held_out.patches.rows() > 0 { held_out } else { fitted }, change);
        let before = measure(&none)?;
        let mut found = Found { before, after: before, how: How::Nothing, change: None };
        if before < RIGHT {
            return Some(found);
        }
        let seen = self.gather(&[fitted]);
        // Where a fit is no good on other samples, one that is drawn more strongly to where it starts may be.
        let mut best: Option<(Way, Change)> = None;
        for times in STRENGTHS {
            let tried = Way::Ridge(ridge * times);
            let change = self.made(&[fitted], &seen, tried, None)?;
            match measure(&change) {
                Some(after) if after < found.after => {
                    found.after = after;
                    best = Some((tried, change));
                }
                _ if best.is_some() => break,
                _ => {}
            }
        }
        if best.is_none() {
            let change = self.made(&[fitted], &seen, Way::Match, None)?;
            if let Some(after) = measure(&change).filter(|&after| after < found.after) {
                found.after = after;
                best = Some((Way::Match, change));
            }
        }
        if let Some((way, change)) = best {
            // It is worth doing, so it is done with all samples.
            drop(seen);
            let tasks = [fitted, held_out];
            found.change = Some(self.made(&tasks, &self.gather(&tasks), way, Some(change))?);
            found.how = if way == Way::Match { How::Matched } else { How::LeastSquares };
        }
        Some(found)
    }

    /// The weight and the biases that are found in one way; `seen` is of `tasks`. Where what the layer makes is cut off,
    /// `from` is where the rounds begin.
    fn made(&self, tasks: &[&Task<'_>], seen: &[Seen], way: Way, from: Option<Change>) -> Option<Change> {
        let Way::Ridge(ridge) = way else {
            let groups: Vec<Part> = (0..seen.len()).map(|group| self.matched(&seen[group], group)).collect();
            return self.change(groups);
        };
        let factors = seen.par_iter().map(|seen| Cholesky::damped(&seen.moments.square, ridge));
        let factors: Vec<Cholesky> = factors.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?;
        let solved = |moments: Vec<&Moments>| {
            let groups = factors.par_iter().zip(moments).enumerate();
            let groups = groups.map(|(group, (factor, moments))| self.solved(factor, moments, group));
            self.change(groups.collect())
        };
        let is_cut_off = tasks.iter().any(|task| task.bounds.is_some());
        let mut now = match from.filter(|_| is_cut_off) {
            Some(from) => from,
            None => solved(seen.iter().map(|seen| &seen.moments).collect())?,
        };
        for _ in 0..(if is_cut_off { ROUNDS } else { 0 }) {
            let towards = (0..self.layer.groups).into_par_iter().map(|group| self.towards(tasks, &now, group));
            let towards: Vec<Moments> = towards.collect();
            now = solved(towards.iter().collect())?;
        }
        Some(now)
    }

    fn change(&self, groups: Vec<Part>) -> Option<Change> {
        let mut change = Change { weight: self.weight.clone(), shift: vec![0.0; self.layer.outputs] };
        for (group, (weight, shift)) in groups.iter().enumerate() {
            let outputs = self.outputs(group);
            change.weight.slice_mut(s![outputs.clone(), ..]).assign(weight);
            change.shift[outputs].copy_from_slice(&shift.to_vec());
        }
        let is_finite = change.weight.iter().all(|w| w.is_finite()) && change.shift.iter().all(|s| s.is_finite());
        is_finite.then_some(change)
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
                let rows = task.block(rows, group, outputs.clone());
                let (error, want) = rows.off(&(times(&rows.x, weight) + &constant));
                of_outputs.add(want.view());
                off += error.iter().map(|&e| f64::from(e) * f64::from(e)).sum::<f64>();
            }
            (off, of_outputs.energy(self.layer.bias.is_some()))
        };
        let sums: Vec<(f64, f64)> = (0..self.layer.groups).into_par_iter().map(of_group).collect();
        let (off, energy) = sums.into_iter().fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
        let part = if off == 0.0 { 0.0 } else { off / energy.max(f64::MIN_POSITIVE) };
        part.is_finite().then_some(part)
    }

    /// What is seen of each group.
    fn gather(&self, tasks: &[&Task<'_>]) -> Vec<Seen> {
        (0..self.layer.groups).into_par_iter().map(|group| self.gather_group(tasks, group)).collect()
    }

    fn gather_group(&self, tasks: &[&Task<'_>], group: usize) -> Seen {
        let outputs = self.outputs(group);
        let (start, constant) = self.start(group);
        let (mut sums, mut wanted, mut made) =
            (Sums::new(start.ncols(), outputs.len()), Statistics::new(outputs.len()), Statistics::new(outputs.len()));
        for (task, rows) in tasks.iter().flat_map(|task| task.patches.blocks().map(move |rows| (task, rows))) {
            let Rows { x, y, .. } = task.block(rows, group, outputs.clone());
            let prediction = times(&x, start) + &constant;
            wanted.add(y.view());
            made.add(prediction.view());
            sums.add(x, (y - prediction).view());
        }
        Seen { moments: self.of_sums(sums), wanted, made }
    }

    /// What a group is off from the nearest result that makes no difference to what should be, beside what it reads.
    fn towards(&self, tasks: &[&Task<'_>], now: &Change, group: usize) -> Moments {
        let outputs = self.outputs(group);
        let (start, constant) = self.start(group);
        let weight = now.weight.slice(s![outputs.clone(), ..]);
        let shifted: Array1<f32> = outputs.clone().map(|o| (self.constant[o] + now.shift[o]) as f32).collect();
        let mut sums = Sums::beside(start.ncols(), outputs.len());
        for (task, rows) in tasks.iter().flat_map(|task| task.patches.blocks().map(move |rows| (task, rows))) {
            let mut rows = task.block(rows, group, outputs.clone());
            rows.nearest(&(times(&rows.x, weight) + &shifted));
            let off = rows.y - times(&rows.x, start) - &constant;
            sums.add(rows.x, off.view());
        }
        self.of_sums(sums)
    }

    fn of_sums(&self, sums: Sums) -> Moments {
        let moments = sums.moments();
        if self.layer.bias.is_some() { moments } else { moments.about_zero() }
    }

    /// The weight that a group's fit is drawn towards, and what the call adds.
    fn start(&self, group: usize) -> (ArrayView2<'_, f32>, Array1<f32>) {
        let outputs = self.outputs(group);
        let constant = outputs.clone().map(|o| self.constant[o] as f32).collect();
        (self.start.unwrap_or(self.weight).slice(s![outputs, ..]), constant)
    }

    fn solved(&self, factor: &Cholesky, moments: &Moments, group: usize) -> Part {
        let (start, _) = self.start(group);
        let mut change = moments.cross.clone();
        factor.solve(change.view_mut());
        let weight = (&start.mapv(f64::from) + &change).mapv(|w| w as f32);
        let shift = match self.layer.bias {
            Some(_) => &moments.mean_beside - &change.dot(&moments.mean),
            None => Array1::zeros(start.nrows()),
        };
        (weight, shift)
    }

    /// The start with the mean and deviation of each output as they should be.
    fn matched(&self, seen: &Seen, group: usize) -> Part {
        let (start, constant) = self.start(group);
        if self.layer.bias.is_none() {
            return (start.to_owned(), Array1::zeros(start.nrows()));
        }
        let ratio = seen.wanted.variances() / seen.made.variances();
        let ratio = ratio.mapv(|r| if r.is_finite() && r > 0.0 { r.sqrt() } else { 1.0 });
        let mut weight = start.to_owned();
        for (mut row, &ratio) in weight.rows_mut().into_iter().zip(&ratio) {
            row *= ratio as f32;
        }
        // The scaled product's mean, and then the constant, which is not scaled.
        let constant = constant.mapv(f64::from);
        let shift = seen.wanted.means() - (seen.made.means() - &constant) * &ratio - constant;
        (weight, shift)
    }
}

/// How strongly a fit is drawn to where it starts, in parts of what is asked for.
const STRENGTHS: [f64; 3] = [1.0, 10.0, 100.0];

/// How often a layer whose result is cut off is fitted anew to the results that make no difference then.
const ROUNDS: usize = 6;

/// How a weight is found.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Ridge(f64),
    Match,
}

/// What is seen of a group: what it reads beside what it is off, what it should make, and what it makes.
struct Seen {
    moments: Moments,
    wanted: Statistics,
    made: Statistics,
}

/// A group's weights, and what is added to its biases.
type Part = (Array2<f32>, Array1<f64>);

fn times(x: &Array2<f32>, weight: ArrayView2<'_, f32>) -> Array2<f32> {
    let mut made = Array2::zeros((x.nrows(), weight.nrows()));
    product(1.0, x.view(), weight.t(), 0.0, made.view_mut());
    made
}
