//! What calls other than layers compute, and how that follows what they read.
//!
//! Sizes are known, so most of it is tables: which elements are moved, summed, or stand beside one another.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::distill::linear::Linear;
use crate::exec::vectors::vectors;

/// An element that is none: padding.
pub(super) const NONE: u32 = u32::MAX;

/// A call on tensors of known sizes.
pub(super) enum Kernel {
    Linear(Linear),
    /// The same elements in the same order.
    Same,
    Pointwise(Pointwise),
    /// The elements of both operands that each element of the result is made of; none where they are as many.
    Pairwise(Pairwise, [Option<Vec<u32>>; 2]),
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

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pointwise {
    Clip(f32, f32),
    LeakyRelu(f32),
    Elu(f32),
    Sigmoid,
    HardSigmoid(f32, f32),
    HardSwish,
    Tanh,
    Erf,
    Gelu,
    TanhGelu,
    Swish(f32),
    Softplus,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Neg,
    Abs,
    Power(f32),
}

/// A function of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairwise {
    Add,
    Sub,
    Mul,
    Div,
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: off by 1.5e-7 at the most. Millions of times in each
/// step: the series of the exact kernels would take longer than the products.
fn erf(x: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let sum = t * (0.254_829_6 + t * (-0.284_496_74 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4))));
    (1.0 - sum * (-x * x).exp()).copysign(x)
}

const SQRT_HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// The slope of [`erf`].
fn bell(x: f32) -> f32 {
    std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp()
}

impl Pointwise {
    fn of(self, x: f32) -> f32 {
        match self {
            Pointwise::Clip(low, high) => x.max(low).min(high),
            Pointwise::LeakyRelu(slope) => {
                if x < 0.0 {
                    slope * x
                } else {
                    x
                }
            }
            Pointwise::Elu(alpha) => {
                if x < 0.0 {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            Pointwise::Sigmoid => sigmoid(x),
            Pointwise::HardSigmoid(alpha, beta) => (alpha * x + beta).clamp(0.0, 1.0),
            Pointwise::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Pointwise::Tanh => x.tanh(),
            Pointwise::Erf => erf(x),
            Pointwise::Gelu => 0.5 * x * (1.0 + erf(x * SQRT_HALF)),
            Pointwise::TanhGelu => 0.5 * x * (1.0 + inner(x).tanh()),
            Pointwise::Swish(alpha) => x * sigmoid(alpha * x),
            Pointwise::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Pointwise::Exp => x.exp(),
            Pointwise::Log => x.ln(),
            Pointwise::Sqrt => x.sqrt(),
            Pointwise::Reciprocal => 1.0 / x,
            Pointwise::Neg => -x,
            Pointwise::Abs => x.abs(),
            Pointwise::Power(exponent) => x.powf(exponent),
        }
    }

    /// How the result `y` follows `x`.
    fn slope(self, x: f32, y: f32) -> f32 {
        let within = |inside: bool, slope: f32| if inside { slope } else { 0.0 };
        match self {
            Pointwise::Clip(low, high) => within(x > low && x < high, 1.0),
            Pointwise::LeakyRelu(slope) => {
                if x < 0.0 {
                    slope
                } else {
                    1.0
                }
            }
            Pointwise::Elu(alpha) => {
                if x < 0.0 {
                    alpha * x.exp()
                } else {
                    1.0
                }
            }
            Pointwise::Sigmoid => y * (1.0 - y),
            Pointwise::HardSigmoid(alpha, _) => within(y > 0.0 && y < 1.0, alpha),
            Pointwise::HardSwish => {
                if x <= -3.0 {
                    0.0
                } else if x >= 3.0 {
                    1.0
                } else {
                    x / 3.0 + 0.5
                }
            }
            Pointwise::Tanh => 1.0 - y * y,
            Pointwise::Erf => bell(x),
            Pointwise::Gelu => 0.5 * (1.0 + erf(x * SQRT_HALF)) + 0.5 * x * SQRT_HALF * bell(x * SQRT_HALF),
            Pointwise::TanhGelu => {
                let t = inner(x).tanh();
                let within = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBE * x * x);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * within
            }
            Pointwise::Swish(alpha) => {
                let s = sigmoid(alpha * x);
                s + alpha * x * s * (1.0 - s)
            }
            Pointwise::Softplus => sigmoid(x),
            Pointwise::Exp => y,
            Pointwise::Log => 1.0 / x,
            Pointwise::Sqrt => 0.5 / y,
            Pointwise::Reciprocal => -y * y,
            Pointwise::Neg => -1.0,
            Pointwise::Abs => {
                if x < 0.0 {
                    -1.0
                } else {
                    1.0
                }
            }
            Pointwise::Power(exponent) => exponent * x.powf(exponent - 1.0),
        }
    }
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

/// What `Gelu`'s approximation takes the hyperbolic tangent of.
fn inner(x: f32) -> f32 {
    SQRT_2_OVER_PI * (x + CUBE * x * x * x)
}

/// The element at `i`, of a tensor that is repeated as the table says.
fn at(table: Option<&Vec<u32>>, i: usize) -> usize {
    table.map_or(i, |table| table[i] as usize)
}

impl Kernel {
    /// Compute `result` of what is read. `None` where sizes do not fit.
    pub(super) fn forward(&self, parameters: &[f32], reads: &[&[f32]], result: &mut [f32]) -> Option<()> {
        let &x = reads.first()?;
        match self {
            Kernel::Linear(linear) => linear.forward(parameters, x, result)?,
            Kernel::Same => result.copy_from_slice(x),
            // By far the most frequent, in a loop without a choice.
            Kernel::Pointwise(Pointwise::Clip(low, high)) => {
                result.iter_mut().zip(x).for_each(|(y, x)| *y = x.max(*low).min(*high));
            }
            Kernel::Pointwise(f) => result.iter_mut().zip(x).for_each(|(y, &x)| *y = f.of(x)),
            Kernel::Pairwise(Pairwise::Add, [None, None]) => {
                let &other = reads.get(1)?;
                result.iter_mut().zip(x).zip(other).for_each(|((y, a), b)| *y = a + b);
            }
            Kernel::Pairwise(f, tables) => {
                let &other = reads.get(1)?;
                for (i, y) in result.iter_mut().enumerate() {
                    let (a, b) = (x[at(tables[0].as_ref(), i)], other[at(tables[1].as_ref(), i)]);
                    *y = match f {
                        Pairwise::Add => a + b,
                        Pairwise::Sub => a - b,
                        Pairwise::Mul => a * b,
                        Pairwise::Div => a / b,
                    };
                }
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
        if let Kernel::Pairwise(Pairwise::Add, [None, None]) = self {
            for of_read in of_reads.iter_mut().flatten() {
                of_read.iter_mut().zip(of_result).for_each(|(of_read, g)| *of_read += g);
            }
            return Some(());
        }
        if let Kernel::Pairwise(f, tables) = self {
            let &other = reads.get(1)?;
            for (operand, of_read) in of_reads.iter_mut().enumerate() {
                let Some(of_read) = of_read else { continue };
                for (i, g) in of_result.iter().enumerate() {
                    let (ia, ib) = (at(tables[0].as_ref(), i), at(tables[1].as_ref(), i));
                    let (a, b) = (x[ia], other[ib]);
                    let slope = match (f, operand) {
                        (Pairwise::Add, _) | (Pairwise::Sub, 0) => 1.0,
                        (Pairwise::Sub, _) => -1.0,
                        (Pairwise::Mul, 0) => b,
                        (Pairwise::Mul, _) => a,
                        (Pairwise::Div, 0) => 1.0 / b,
                        (Pairwise::Div, _) => -a / (b * b),
                    };
                    of_read[if operand == 0 { ia } else { ib }] += g * slope;
                }
            }
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
            Kernel::Same => of_x.iter_mut().zip(of_result).for_each(|(of_x, g)| *of_x += g),
            Kernel::Pointwise(Pointwise::Clip(low, high)) => add_within(of_x, of_result, x, [*low, *high]),
            Kernel::Pointwise(f) => {
                for ((of_x, g), (&x, &y)) in of_x.iter_mut().zip(of_result).zip(x.iter().zip(y)) {
                    if *g != 0.0 {
                        *of_x += g * f.slope(x, y);
                    }
                }
            }
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

vectors! {
    /// Add to `of_x` the slopes of what is not clipped.
    fn add_within(of_x: &mut [f32], of_result: &[f32], x: &[f32], ends: [f32; 2]) {
        for ((of_x, g), x) in of_x.iter_mut().zip(of_result).zip(x) {
            // Both are asked, and nothing is jumped over: that takes no vectors.
            let is_within = (*x > ends[0]) & (*x < ends[1]);
            *of_x += if is_within { *g } else { 0.0 };
        }
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

/// The probabilities that scores `x` stand for.
pub(super) fn probabilities(x: &[f32], y: &mut [f32]) {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - most).exp());
    let sum: f32 = y.iter().sum();
    y.iter_mut().for_each(|y| *y /= sum);
}
