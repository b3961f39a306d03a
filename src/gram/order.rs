//! In which order classes of columns are removed best from the layers that read them.
//!
//! What a layer's result loses without some columns `c`, when the others make up for them as well as they can, is
//! `tr(W_c · ([H⁻¹]_cc)⁻¹ · W_cᵀ)` for a weight `W` and second moments `H` of what it reads (Hassibi and Stork 1993; for
//! structures Kurtić, Frantar and Alistarh 2023). The class that costs least goes, weights and `H⁻¹` become those of
//! the rest, and so on. Costs are parts of the energy of each layer's result, so that those of several layers add up.

use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::iter::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator,
    ParallelIterator,
};

use crate::gram::linalg::{Cholesky, product};
use crate::gram::moments::Sums;
use crate::gram::patches::Patches;

/// A layer, or one group of its channels, that reads classes.
#[derive(Clone, Debug)]
pub struct Sink {
    /// The weight, a row for each output.
    pub weight: Arc<Array2<f64>>,
    /// Second moments of what it reads: see [`Moments::square`](super::Moments::square).
    pub square: Arc<Array2<f64>>,
    /// For each class its columns, none where it is not read here.
    pub classes: Vec<Vec<usize>>,
}

/// A class that goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Removal {
    /// Which.
    pub class: usize,
    /// What the layers that read it lose with it, each as a part of the energy of its result, in sum.
    pub cost: f64,
}

/// Remove one class after the other, each time the one that costs least, until `most` are removed.
///
/// `damping` times the mean of its diagonal is added to each `H`'s diagonal where classes are chosen, and `exact` times
/// where it is told what they cost: the order is to hold for other samples, and costs of different groups are compared.
/// `None` for what is not finite.
pub fn by_least_loss(sinks: Vec<Sink>, damping: f64, exact: f64, most: usize) -> Option<Vec<Removal>> {
    let classes = sinks.iter().map(|sink| sink.classes.len()).max().unwrap_or(0);
    let mut left: Vec<usize> = (0..classes).collect();
    let states = |sinks: Vec<Sink>, damping| -> Option<Vec<State>> {
        sinks.into_iter().map(|sink| State::of(sink, damping)).collect()
    };
    let mut told = if exact == damping { None } else { Some(states(sinks.clone(), exact)?) };
    let mut states = states(sinks, damping)?;
    let mut removals = Vec::with_capacity(most.min(classes));
    while removals.len() < most && !left.is_empty() {
        let costs: Vec<f64> =
            left.par_iter().map(|&class| states.iter().map(|state| state.cost(class)).sum()).collect();
        let (place, &cost) = costs.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1))?;
        if !cost.is_finite() {
            return None;
        }
        let class = left.remove(place);
        let cost = match &mut told {
            None => cost,
            Some(told) => {
                let cost = told.iter().map(|state| state.cost(class)).sum();
                told.iter_mut().for_each(|state| state.remove(class));
                cost
            }
        };
        removals.push(Removal { class, cost: cost.max(0.0) });
        for state in &mut states {
            state.remove(class);
        }
    }
    Some(removals)
}

/// What each class costs when it alone is removed and nothing makes up for it, as a part of the energy of the result
/// of one group of a layer's channels: `tr(W_c · H_cc · W_cᵀ)`. For layers that are too wide to invert `H`.
///
/// `weight` has a row for each output of the group. `None` for what is not finite.
pub fn by_energy(
    patches: &Patches<'_>,
    group: usize,
    weight: ArrayView2<'_, f32>,
    classes: &[Vec<usize>],
) -> Option<Vec<f64>> {
    let mut of_classes: Vec<Sums> = classes.iter().map(|columns| Sums::new(columns.len(), 0)).collect();
    let outputs = weight.nrows();
    let (mut rows, mut shift) = (0, Array1::<f32>::zeros(outputs));
    let (mut sum, mut squares) = (Array1::<f64>::zeros(outputs), Array1::<f64>::zeros(outputs));
    for range in patches.blocks() {
        let x = patches.block(range, group);
        let mut y = Array2::zeros((x.nrows(), outputs));
        product(1.0, x.view(), weight.t(), 0.0, y.view_mut());
        if rows == 0 {
            shift = y.mean_axis(Axis(0))?;
        }
        rows += x.nrows();
        y -= &shift;
        sum += &y.fold_axis(Axis(0), 0f64, |sum, &y| sum + f64::from(y));
        squares += &y.fold_axis(Axis(0), 0f64, |sum, &y| sum + f64::from(y) * f64::from(y));
        of_classes.par_iter_mut().zip(classes).for_each(|(sums, columns)| {
            let columns = x.select(Axis(1), columns);
            sums.add(columns, x.slice(s![.., ..0]));
        });
    }
    let count = rows.max(1) as f64;
    let energy: f64 = squares.iter().zip(&sum).map(|(square, sum)| square / count - (sum / count).powi(2)).sum();
    let cost = |(sums, columns): (Sums, &Vec<usize>)| {
        let weight = weight.select(Axis(1), columns).mapv(f64::from);
        let mut read = Array2::zeros(weight.raw_dim());
        product(1.0, weight.view(), sums.moments().square.view(), 0.0, read.view_mut());
        (read * weight).sum().max(0.0)
    };
    let costs: Vec<f64> = of_classes.into_par_iter().zip(classes).map(cost).collect();
    let parts = costs.into_iter().map(|cost| if energy > 0.0 { cost / energy } else { 0.0 });
    parts.map(|part| part.is_finite().then_some(part)).collect()
}

/// A sink with some of its classes removed.
struct State {
    weight: Array2<f64>,
    inverse: Array2<f64>,
    /// Columns of each class, as they lie now.
    classes: Vec<Vec<usize>>,
    energy: f64,
    is_removed: Vec<bool>,
}

impl State {
    fn of(sink: Sink, damping: f64) -> Option<State> {
        let Sink { weight, square, mut classes } = sink;
        let mut read = Array2::zeros(weight.raw_dim());
        product(1.0, weight.view(), square.view(), 0.0, read.view_mut());
        let energy = (&read * &*weight).sum();
        let inverse = Cholesky::damped(&square, damping)?.inverse();
        // Each column goes once.
        let mut is_taken = vec![false; weight.ncols()];
        for columns in &mut classes {
            columns.retain(|&c| is_taken.get_mut(c).is_some_and(|taken| !std::mem::replace(taken, true)));
        }
        let is_removed = vec![false; weight.ncols()];
        let weight = Arc::unwrap_or_clone(weight);
        Some(State { weight, inverse, classes, energy, is_removed })
    }

    /// What the result loses without the class.
    fn cost(&self, class: usize) -> f64 {
        let columns = self.classes.get(class).map_or(&[][..], Vec::as_slice);
        if columns.is_empty() || self.energy <= 0.0 {
            return 0.0;
        }
        let Some(factor) = self.within(columns) else { return f64::INFINITY };
        let mut weight = self.weight.select(Axis(1), columns);
        factor.whiten(weight.view_mut());
        weight.iter().map(|w| w * w).sum::<f64>() / self.energy
    }

    /// The factor of the class's block of the inverse.
    fn within(&self, columns: &[usize]) -> Option<Cholesky> {
        let at = |(i, j): (usize, usize)| self.inverse[[columns[i], columns[j]]];
        Cholesky::damped(&Array2::from_shape_fn((columns.len(), columns.len()), at), 0.0)
    }

    fn remove(&mut self, class: usize) {
        let columns = self.classes.get_mut(class).map(std::mem::take).unwrap_or_default();
        if columns.is_empty() {
            return;
        }
        if let Some(factor) = self.within(&columns) {
            let beside = self.inverse.select(Axis(1), &columns);
            // Each row: what takes over from the class for this column.
            let mut shares = beside.clone();
            factor.solve(shares.view_mut());
            let weight = self.weight.select(Axis(1), &columns);
            product(-1.0, weight.view(), shares.t(), 1.0, self.weight.view_mut());
            product(-1.0, beside.view(), shares.t(), 1.0, self.inverse.view_mut());
        }
        for &column in &columns {
            self.weight.column_mut(column).fill(0.0);
            self.inverse.column_mut(column).fill(0.0);
            self.inverse.row_mut(column).fill(0.0);
            self.is_removed[column] = true;
        }
        let removed = self.is_removed.iter().filter(|&&r| r).count();
        if removed * 4 > self.is_removed.len() {
            self.compact();
        }
    }

    /// Leave out what is removed.
    fn compact(&mut self) {
        let kept: Vec<usize> = (0..self.is_removed.len()).filter(|&c| !self.is_removed[c]).collect();
        let mut place = vec![0; self.is_removed.len()];
        for (new, &old) in kept.iter().enumerate() {
            place[old] = new;
        }
        self.weight = self.weight.select(Axis(1), &kept);
        self.inverse = self.inverse.select(Axis(0), &kept).select(Axis(1), &kept);
        for column in self.classes.iter_mut().flatten() {
            *column = place[*column];
        }
        self.is_removed = vec![false; kept.len()];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn sink(outputs: usize, classes: Vec<Vec<usize>>, seed: u64) -> Sink {
        let n = classes.iter().flatten().max().unwrap() + 2;
        let mut random = Random::new(seed, "order");
        let mut normal = |m: usize, n: usize| Array2::from_shape_simple_fn((m, n), || random.normal());
        let (weight, mixed) = (normal(outputs, n), normal(n + 30, n).dot(&normal(n, n)));
        Sink { weight: Arc::new(weight), square: Arc::new(mixed.t().dot(&mixed) / 40.0), classes }
    }

    /// The energy that is lost at the least without these columns: a least squares problem of its own.
    fn loss(sink: &Sink, gone: &[usize]) -> f64 {
        let n = sink.weight.ncols();
        let kept: Vec<usize> = (0..n).filter(|c| !gone.contains(c)).collect();
        let h = &*sink.square;
        let kept_of = |a: &Array2<f64>| a.select(Axis(1), &kept);
        let target = kept_of(&sink.weight.dot(h));
        let mut best = target.clone();
        Cholesky::of(kept_of(&h.select(Axis(0), &kept))).unwrap().solve(best.view_mut());
        let energy = |w: &Array2<f64>| (w.dot(h) * w).sum();
        let mut change = (*sink.weight).clone();
        for (i, &c) in kept.iter().enumerate() {
            let mut column = change.column_mut(c);
            column -= &best.column(i);
        }
        energy(&change) / energy(&sink.weight)
    }

    fn columns_of(classes: &[Vec<usize>], which: &[usize]) -> Vec<usize> {
        which.iter().flat_map(|&c| classes[c].clone()).collect()
    }

    #[test]
    fn the_cheapest_class_goes_and_costs_are_what_is_lost() {
        let classes: Vec<Vec<usize>> = vec![vec![0, 1], vec![2, 3], vec![7, 4], vec![5], vec![6, 8, 9], vec![10, 11]];
        for seed in 0..5 {
            let sink = sink(4, classes.clone(), seed);
            let removals = by_least_loss(vec![sink.clone()], 0.0, 0.0, 5).unwrap();
            let (mut gone, mut total) = (Vec::new(), 0.0);
            for removal in removals {
                let loss_with = |c: usize| loss(&sink, &columns_of(&classes, &[&gone[..], &[c]].concat()));
                let cheapest =
                    (0..6).filter(|c| !gone.contains(c)).min_by(|&a, &b| loss_with(a).total_cmp(&loss_with(b)));
                assert_eq!(Some(removal.class), cheapest);
                total += removal.cost;
                assert!((total - loss_with(removal.class)).abs() < 1e-6, "{total}");
                gone.push(removal.class);
            }
        }
    }

    #[test]
    fn costs_of_several_layers_add_up() {
        let classes = vec![vec![0, 1], vec![2], vec![3, 4], vec![]];
        let (a, b) = (sink(3, classes.clone(), 7), sink(5, vec![vec![4], vec![0, 2], vec![], vec![1, 3]], 8));
        let removals = by_least_loss(vec![a.clone(), b.clone()], 0.0, 0.0, 4).unwrap();
        let total: f64 = removals.iter().map(|r| r.cost).sum();
        let all = |sink: &Sink| loss(sink, &columns_of(&sink.classes, &[0, 1, 2, 3]));
        assert!((total - all(&a) - all(&b)).abs() < 1e-6);
        let mut classes: Vec<usize> = removals.iter().map(|r| r.class).collect();
        classes.sort_unstable();
        assert_eq!(classes, [0, 1, 2, 3]);
    }

    #[test]
    fn what_says_nothing_goes_first_and_what_is_no_number_is_refused() {
        let mut dull = sink(3, (0..6).map(|c| vec![c]).collect(), 9);
        let square = Arc::make_mut(&mut dull.square);
        square.row_mut(4).fill(0.0);
        square.column_mut(4).fill(0.0);
        let removals = by_least_loss(vec![dull.clone()], 1e-4, 1e-4, 2).unwrap();
        assert!(removals[0].class == 4 && removals[0].cost < 1e-4, "{removals:?}");
        Arc::make_mut(&mut dull.square)[[0, 0]] = f64::NAN;
        assert!(by_least_loss(vec![dull], 1e-4, 1e-4, 2).is_none());
        assert_eq!(by_least_loss(vec![], 1e-4, 1e-4, 2), Some(vec![]));
    }
}
