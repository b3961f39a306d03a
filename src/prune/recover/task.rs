//! What a layer of the pruned model reads, beside what it should make of that.

use std::ops::Range;

use ndarray::Array2;

use crate::exec::Stepper;
use crate::gram::{Layer, Patches, Results};
use crate::ir::Tensor;
use crate::prune::recover::target::Target;

/// What a layer reads on some samples, and what it should make of that.
pub(super) struct Task<'a> {
    pub(super) patches: &'a Patches<'a>,
    result: Results<'a>,
    beside: Option<(Option<Results<'a>>, Results<'a>)>,
    kept: &'a [usize],
    pub(super) bounds: Option<(f32, f32)>,
}

/// What a layer reads in some rows, and what these of its outputs should be.
pub(super) struct Rows {
    pub(super) x: Array2<f32>,
    pub(super) y: Array2<f32>,
    /// What its result is added to before it is cut off.
    beside: Option<Array2<f32>>,
    bounds: Option<(f32, f32)>,
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
        let beside = match target.beside {
            Some((Some(of_dense), of_pruned)) => {
                dense.of(of_dense).zip(pruned.of(of_pruned)).and_then(|(of_dense, of_pruned)| {
                    let (a, b) = (&of_dense[samples.clone()], &of_pruned[samples]);
                    // What is not repeated along an axis is of the result's sizes.
                    let same = |a: &[Tensor]| a.iter().zip(made).all(|(a, b)| a.rank() == b.rank());
                    let whole = a.iter().zip(made).all(|(a, b)| a.dims() == b.dims());
                    let results = patches.results(a, target.outputs).zip(patches.results(b, layer.outputs));
                    results.filter(|_| whole && same(b)).map(|(a, b)| (Some(a), b))
                })
            }
            // The result has it in it: without it there is nothing to compare with.
            Some((None, of_pruned)) => {
                let added = &pruned.of(of_pruned)?[samples];
                let whole = added.iter().zip(made).all(|(a, b)| a.rank() == 2 && a.dims()[0] == b.dims()[0]);
                let whole = whole && added.iter().all(|a| a.dims()[1] == layer.outputs);
                Some((None, patches.results(added, layer.outputs).filter(|_| whole)?))
            }
            None => None,
        };
        Some(Task { patches, result, beside, kept: &target.kept, bounds: target.bounds })
    }

    pub(super) fn block(&self, rows: Range<usize>, group: usize, outputs: Range<usize>) -> Rows {
        let kept = &self.kept[outputs.clone()];
        let mut y = self.result.block(rows.clone(), kept);
        let mut beside = None;
        if let Some((dense, pruned)) = &self.beside {
            let other = pruned.block(rows.clone(), &outputs.collect::<Vec<_>>());
            if let Some(dense) = dense {
                y += &dense.block(rows.clone(), kept);
            }
            y -= &other;
            beside = Some(other);
        }
        Rows { x: self.patches.block(rows, group), y, beside, bounds: self.bounds }
    }
}

impl Rows {
    /// The result and what is made of it, as they differ behind what cuts them off, and the first of them.
    pub(super) fn off(&self, made: &Array2<f32>) -> (Array2<f32>, Array2<f32>) {
        let Some((low, high)) = self.bounds else { return (&self.y - made, self.y.clone()) };
        let cut = |result: &Array2<f32>| match &self.beside {
            Some(beside) => (result + beside).mapv_into(|x| x.clamp(low, high)),
            None => result.mapv(|x| x.clamp(low, high)),
        };
        let want = cut(&self.y);
        (&want - &cut(made), want)
    }

    /// Of all results that make no difference to the one that should be, the one nearest to what is made.
    ///
    /// What a square's minimum at these is, is nearer to what should be behind the bounds than `made` is: of the squares
    /// that are nowhere below the error there and equal it at `made`, this one's is it.
    pub(super) fn nearest(&mut self, made: &Array2<f32>) {
        let Some((low, high)) = self.bounds else { return };
        let none = Array2::zeros((0, 0));
        let beside = self.beside.as_ref().unwrap_or(&none);
        for ((place, y), made) in self.y.indexed_iter_mut().zip(made) {
            let beside = beside.get(place).copied().unwrap_or(0.0);
            let want = *y + beside;
            if want <= low {
                *y = made.min(low - beside);
            } else if want >= high {
                *y = made.max(high - beside);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn what_is_cut_off_makes_no_difference() {
        let mut rows = Rows {
            x: Array2::zeros((1, 0)),
            y: array![[-3.0, -3.0, 2.0, 9.0, 9.0, 5.0]],
            beside: Some(array![[0.0, 1.0, 1.0, 0.0, 0.0, 1.0]]),
            bounds: Some((0.0, 6.0)),
        };
        let made = array![[-1.0, 4.0, 1.0, 8.0, 2.0, 7.0]];
        let (off, want) = rows.off(&made);
        assert_eq!(want, array![[0.0, 0.0, 3.0, 6.0, 6.0, 6.0]]);
        assert_eq!(off, array![[0.0, -5.0, 1.0, 0.0, 4.0, 0.0]]);
        rows.nearest(&made);
        // Beside 1, a result of −1 is at the lower bound and one of 5 at the upper.
        assert_eq!(rows.y, array![[-1.0, -1.0, 2.0, 8.0, 6.0, 7.0]]);
        rows.bounds = None;
        rows.nearest(&array![[0.0; 6]]);
        assert_eq!(rows.y, array![[-1.0, -1.0, 2.0, 8.0, 6.0, 7.0]]);
    }
}
