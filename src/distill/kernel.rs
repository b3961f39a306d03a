//! What calls other than layers compute, and how that follows what they read.
//!
//! Sizes are known, so most of it is tables: which elements are moved, summed, or stand beside one another.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::distill::linear::Linear;
use crate::distill::pairwise::{Pairwise, Tables, add_each};
use crate::distill::pointwise::{self, Pointwise, probabilities};

/// An element that is none: padding.
pub(super) const NONE: u32 = u32::MAX;

/// A call on tensors of known sizes.
pub(super) enum Kernel {
    Linear(Linear),
    /// The same elements in the same order.
    Same,
    Pointwise(Pointwise),
    Pairwise(Pairwise, Tables),
    /// Each element of the result is one of the operands', which are counted through.
    Moved(Vec<u32>),
    /// Each element of the operand is added to one of the result, all times a factor.
    Summed(Vec<u32>, f32),
    /// Of each element of the result, as many elements of the operand: the largest, or their sum times a factor.
    Windows {
        reads: Vec<u32>,
        each: usize,
        factors: Option<Vec<f32>>,
    },
    /// Each element times a number plus a number, which repeat.
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
        which: Vec<u32>,
    },
    /// Probabilities of rows of so many elements that lie one after another.
    Softmax(usize),
    /// Rows of so many elements without their mean and of variance one, about, times a scale plus a shift.
    Normalized {
        row: usize,
        epsilon: f32,
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    /// Products of matrices `m × k` and `k × n`, one after another.
    Product {
        m: usize,
        k: usize,
        n: usize,
    },
}

impl Kernel {
    /// Compute `result` of what is read. `None` where sizes do not fit.
    pub(super) fn forward(&self, parameters: &[f32], reads: &[&[f32]], result: &mut [f32]) -> Option<()> {
        let &x = reads.first()?;
        match self {
            Kernel::Linear(linear) => linear.forward(parameters, x, result)?,
            Kernel::Same => result.copy_from_slice(x),
            Kernel::Pointwise(f) => pointwise::forward(*f, x, result),
            Kernel::Pairwise(f, tables) => f.forward(tables, [x, reads.get(1)?], result),
            Kernel::Moved(from) if reads.len() == 1 => {
                result
                    .iter_mut()
                    .zip(from)
                    .for_each(|(y, &from)| *y = if from == NONE { 0.0 } else { x[from as usize] });
            }
            Kernel::Moved(from) => {
                let (mut base, mut bases) = (0, Vec::with_capacity(reads.len()));
                for read in reads {
                    bases.push(base);
                    base += read.len();
                }
                for (y, &from) in result.iter_mut().zip(from) {
                    let of = bases.partition_point(|&base| base <= from as usize).saturating_sub(1);
                    *y = if from == NONE { 0.0 } else { reads[of][from as usize - bases[of]] };
                }
            }
            Kernel::Summed(to, factor) => {
                result.fill(0.0);
                x.iter().zip(to).for_each(|(x, &to)| result[to as usize] += factor * x);
            }
            Kernel::Windows { reads, each, factors } => {
                for (i, (y, window)) in result.iter_mut().zip(reads.chunks(*each)).enumerate() {
                    let read = window.iter().filter(|&&read| read != NONE).map(|&read| x[read as usize]);
                    *y = match factors {
                        Some(factors) => factors[i] * read.sum::<f32>(),
                        None => read.fold(f32::NEG_INFINITY, f32::max),
                    };
                }
            }
            Kernel::Affine { scale, shift, which } => {
                for ((y, x), &which) in result.iter_mut().zip(x).zip(which) {
                    *y = scale[which as usize] * x + shift[which as usize];
                }
            }
            Kernel::Softmax(row) => {
                for (y, x) in result.chunks_mut(*row).zip(x.chunks(*row)) {
                    probabilities(x, y);
                }
            }
            Kernel::Normalized { row, epsilon, scale, shift } => {
                for (y, x) in result.chunks_mut(*row).zip(x.chunks(*row)) {
                    let (mean, inverse) = moments(x, *epsilon);
                    for (i, (y, x)) in y.iter_mut().zip(x).enumerate() {
                        *y = (x - mean) * inverse * scale[i] + shift[i];
                    }
                }
            }
            Kernel::Product { m, k, n } => {
                let &other = reads.get(1)?;
                for ((a, b), y) in x.chunks(m * k).zip(other.chunks(k * n)).zip(result.chunks_mut(m * n)) {
                    let (a, b) = (matrix(a, *m, *k)?, matrix(b, *k, *n)?);
                    let mut y = ArrayViewMut2::from_shape((*m, *n), y).ok()?;
                    general_mat_mul(1.0, &a, &b, 0.0, &mut y);
                }
            }
        }
        Some(())
    }

    /// Add to `of_reads`, for each operand of which that is asked, and to `slopes`, for the parameters, how a loss
    /// follows them, where it follows the result, `y`, by `of_result`.
    pub(super) fn backward(
        &self,
        parameters: &[f32],
        reads: &[&[f32]],
        (y, of_result): (&[f32], &[f32]),
        of_reads: &mut [Option<Vec<f32>>],
        slopes: &mut [f32],
    ) -> Option<()> {
        let &x = reads.first()?;
        if let Kernel::Linear(linear) = self {
            return linear.backward(parameters, x, of_result, slopes, of_reads.first_mut()?.as_deref_mut());
        }
        if let Kernel::Pairwise(f, tables) = self {
            f.backward(tables, [x, reads.get(1)?], of_result, of_reads);
            return Some(());
        }
        if let Kernel::Product { m, k, n } = self {
            let &other = reads.get(1)?;
            for (i, g) in of_result.chunks(m * n).enumerate() {
                let g = matrix(g, *m, *n)?;
                if let Some(Some(of_a)) = of_reads.first_mut() {
                    let b = matrix(&other[i * k * n..(i + 1) * k * n], *k, *n)?;
                    let mut of_a = ArrayViewMut2::from_shape((*m, *k), &mut of_a[i * m * k..(i + 1) * m * k]).ok()?;
                    general_mat_mul(1.0, &g, &b.t(), 1.0, &mut of_a);
                }
                if let Some(Some(of_b)) = of_reads.get_mut(1) {
                    let a = matrix(&x[i * m * k..(i + 1) * m * k], *m, *k)?;
                    let mut of_b = ArrayViewMut2::from_shape((*k, *n), &mut of_b[i * k * n..(i + 1) * k * n]).ok()?;
                    general_mat_mul(1.0, &a.t(), &g, 1.0, &mut of_b);
                }
            }
            return Some(());
        }
        if let Kernel::Moved(from) = self {
            let mut base = 0;
            for (read, of_read) in reads.iter().zip(of_reads) {
                if let Some(of_read) = of_read {
                    for (g, &from) in of_result.iter().zip(from) {
                        let place = (from as usize).wrapping_sub(base);
                        if from != NONE && place < read.len() {
                            of_read[place] += g;
                        }
                    }
                }
                base += read.len();
            }
            return Some(());
        }
        let Some(of_x) = of_reads.first_mut()?.as_mut() else { return Some(()) };
        match self {
            Kernel::Same => add_each(of_x, of_result),
            Kernel::Pointwise(f) => pointwise::backward(*f, x, y, of_result, of_x),
            Kernel::Summed(to, factor) => {
                of_x.iter_mut().zip(to).for_each(|(of_x, &to)| *of_x += factor * of_result[to as usize]);
            }
            Kernel::Windows { reads, each, factors } => {
                for (i, (g, window)) in of_result.iter().zip(reads.chunks(*each)).enumerate() {
                    match factors {
                        Some(factors) => window
                            .iter()
                            .filter(|&&read| read != NONE)
                            .for_each(|&read| of_x[read as usize] += g * factors[i]),
                        // The first of those that are largest.
                        None => {
                            let largest = window.iter().find(|&&read| read != NONE && x[read as usize] == y[i]);
                            if let Some(&read) = largest {
                                of_x[read as usize] += g;
                            }
                        }
                    }
                }
            }
            Kernel::Affine { scale, which, .. } => {
                for ((of_x, g), &which) in of_x.iter_mut().zip(of_result).zip(which) {
                    *of_x += g * scale[which as usize];
                }
            }
            Kernel::Softmax(row) => {
                for ((of_x, g), y) in of_x.chunks_mut(*row).zip(of_result.chunks(*row)).zip(y.chunks(*row)) {
                    let mean: f32 = g.iter().zip(y).map(|(g, y)| g * y).sum();
                    for ((of_x, g), y) in of_x.iter_mut().zip(g).zip(y) {
                        *of_x += y * (g - mean);
                    }
                }
            }
            Kernel::Normalized { row, epsilon, scale, .. } => {
                for ((of_x, g), x) in of_x.chunks_mut(*row).zip(of_result.chunks(*row)).zip(x.chunks(*row)) {
                    let (mean, inverse) = moments(x, *epsilon);
                    let n = x.len() as f32;
                    let of_normal = |i: usize| g[i] * scale[i];
                    let normal = |i: usize| (x[i] - mean) * inverse;
                    let sum: f32 = (0..x.len()).map(of_normal).sum::<f32>() / n;
                    let along: f32 = (0..x.len()).map(|i| of_normal(i) * normal(i)).sum::<f32>() / n;
                    for (i, of_x) in of_x.iter_mut().enumerate() {
                        *of_x += inverse * (of_normal(i) - sum - normal(i) * along);
                    }
                }
            }
            _ => {}
        }
        Some(())
    }
}

fn matrix(elements: &[f32], m: usize, n: usize) -> Option<ArrayView2<'_, f32>> {
    ArrayView2::from_shape((m, n), elements).ok()
}

/// The mean of a row, and one over its deviation.
fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = x.iter().sum::<f32>() / n;
    let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
    (mean, 1.0 / (variance + epsilon).sqrt())
}
