//! Products with a weight that can change: what a layer makes, and how that follows its weight, its bias and what it reads.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::exec::vectors::vectors;
use crate::gram::Layer;
use crate::gram::places::{NOWHERE, Places};

/// Rows that follow one another and have elements that do.
#[derive(Clone, Copy)]
struct Run {
    row: usize,
    element: usize,
    count: usize,
}

impl Run {
    fn rows(&self) -> Range<usize> {
        self.row..self.row + self.count
    }

    fn elements(&self) -> Range<usize> {
        self.element..self.element + self.count
    }
}

/// The elements of rows in runs, without those that are none.
fn runs(elements: impl IntoIterator<Item = usize>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (row, element) in elements.into_iter().enumerate().filter(|(_, element)| *element != NOWHERE) {
        match runs.last_mut() {
            Some(run) if run.row + run.count == row && run.element + run.count == element => run.count += 1,
            _ => runs.push(Run { row, element, count: 1 }),
        }
    }
    runs
}

/// A layer on an operand of known sizes.
pub(super) struct Linear {
    groups: usize,
    /// Channels and outputs of one group.
    channels: usize,
    outputs: usize,
    taps: usize,
    rows: usize,
    /// For each element of the kernel, what rows read of a channel; what is not there is padding.
    reads: Vec<Vec<Run>>,
    channel_stride: usize,
    factor: f32,
    /// Where the first results of rows are; those of others are so far from them.
    firsts: Vec<Run>,
    output_stride: usize,
    /// Where the weight, a row for each output, and the bias are among the parameters.
    pub(super) weight: Range<usize>,
    pub(super) bias: Option<Range<usize>>,
}

impl Linear {
    /// `layer` on an operand of these sizes. `None` where they do not fit.
    pub(super) fn of(
        layer: &Layer,
        input: &[usize],
        weight: Range<usize>,
        bias: Option<Range<usize>>,
    ) -> Option<Linear> {
        let places: Places = layer.places(input)?;
        let (groups, rows, taps) = (layer.groups, places.rows, layer.taps);
        let firsts = runs((0..rows).map(|row| places.result(row, layer.outputs)));
        let reads = places.reads(taps);
        Some(Linear {
            groups,
            channels: layer.channels / groups,
            outputs: layer.outputs_of_group(),
            taps,
            rows,
            reads: reads.chunks(rows.max(1)).map(|tap| runs(tap.iter().copied())).collect(),
            channel_stride: places.channel_stride(),
            factor: places.factor,
            firsts,
            output_stride: places.output_stride,
            weight,
            bias,
        })
    }

    /// Multiplications that one run takes.
    pub(super) fn work(&self) -> f64 {
        (self.rows * self.groups * self.outputs * self.columns()) as f64
    }

    /// Elements of what it makes.
    pub(super) fn results(&self) -> usize {
        self.rows * self.groups * self.outputs
    }

    fn columns(&self) -> usize {
        self.channels * self.taps
    }

    /// A group's weight, a row for each of its outputs.
    fn matrix<'a>(&self, parameters: &'a [f32], group: usize) -> Option<ArrayView2<'a, f32>> {
        let each = self.outputs * self.columns();
        let first = self.weight.start + group * each;
        ArrayView2::from_shape((self.outputs, self.columns()), parameters.get(first..first + each)?).ok()
    }

    /// What a group reads: a row for each column of its weight.
    fn patches(&self, x: &[f32], group: usize) -> Vec<f32> {
        let mut patches = vec![0.0; self.columns() * self.rows];
        for (column, to) in patches.chunks_mut(self.rows.max(1)).enumerate() {
            let x = self.channel(x, group, column);
            for run in &self.reads[column % self.taps] {
                to[run.rows()].copy_from_slice(&x[run.elements()]);
            }
        }
        if self.factor != 1.0 {
            patches.iter_mut().for_each(|x| *x *= self.factor);
        }
        patches
    }

    /// What lies from the channel on that a column of a group reads.
    fn channel<'x>(&self, x: &'x [f32], group: usize, column: usize) -> &'x [f32] {
        &x[(group * self.channels + column / self.taps) * self.channel_stride..]
    }

    /// Whether a group is one channel and one output: products of a vector with a number for each element of the kernel,
    /// for which patches are not worth laying out.
    fn is_depthwise(&self) -> bool {
        self.channels == 1 && self.outputs == 1 && self.factor == 1.0
    }

    /// What the layer makes of `x`.
    pub(super) fn forward(&self, parameters: &[f32], x: &[f32], result: &mut [f32]) -> Option<()> {
        let mut made = vec![0.0; self.outputs * self.rows];
        for group in 0..self.groups {
            let weight = self.matrix(parameters, group)?;
            if self.is_depthwise() {
                made.fill(0.0);
                let x = self.channel(x, group, 0);
                for (&w, runs) in weight.iter().zip(&self.reads) {
                    add_read(&mut made, x, w, runs);
                }
            } else {
                let patches = self.patches(x, group);
                let patches = ArrayView2::from_shape((self.columns(), self.rows), &patches).ok()?;
                let mut made = ArrayViewMut2::from_shape((self.outputs, self.rows), &mut made).ok()?;
                general_mat_mul(1.0, &weight, &patches, 0.0, &mut made);
            }
            for (within, row) in made.chunks(self.rows.max(1)).enumerate() {
                let output = group * self.outputs + within;
                let bias = match &self.bias {
                    Some(bias) => *parameters.get(bias.start + output)?,
                    None => 0.0,
                };
                let result = &mut result[output * self.output_stride..];
                for run in &self.firsts {
                    result[run.elements()].iter_mut().zip(&row[run.rows()]).for_each(|(to, y)| *to = y + bias);
                }
            }
        }
        Some(())
    }

    /// Add to `slopes` how a loss follows the parameters, and to `of_x` how it follows `x`, where it follows the result
    /// by `of_result`.
    pub(super) fn backward(
        &self,
        parameters: &[f32],
        x: &[f32],
        of_result: &[f32],
        slopes: &mut [f32],
        mut of_x: Option<&mut [f32]>,
    ) -> Option<()> {
        let mut made = vec![0.0; self.outputs * self.rows];
        for group in 0..self.groups {
            for (within, row) in made.chunks_mut(self.rows.max(1)).enumerate() {
                let output = group * self.outputs + within;
                let from = &of_result[output * self.output_stride..];
                for run in &self.firsts {
                    row[run.rows()].copy_from_slice(&from[run.elements()]);
                }
                if let Some(bias) = &self.bias {
                    slopes[bias.start + output] += sum(row);
                }
            }
            let each = self.outputs * self.columns();
            let first = self.weight.start + group * each;
            let of_weight = slopes.get_mut(first..first + each)?;
            let weight = self.matrix(parameters, group)?;
            if self.is_depthwise() {
                let x = self.channel(x, group, 0);
                let start = group * self.channel_stride;
                for ((&w, of_w), runs) in weight.iter().zip(of_weight).zip(&self.reads) {
                    *of_w += products(&made, x, runs);
                    if let Some(of_x) = &mut of_x {
                        add_back(&mut of_x[start..], &made, w, runs);
                    }
                }
                continue;
            }
            let mut patches = self.patches(x, group);
            let made = ArrayView2::from_shape((self.outputs, self.rows), &made).ok()?;
            let mut of_weight = ArrayViewMut2::from_shape((self.outputs, self.columns()), of_weight).ok()?;
            let of_rows = ArrayView2::from_shape((self.columns(), self.rows), &patches).ok()?;
            general_mat_mul(1.0, &made, &of_rows.t(), 1.0, &mut of_weight);
            let Some(of_x) = &mut of_x else { continue };
            let mut of_patches = ArrayViewMut2::from_shape((self.columns(), self.rows), &mut patches).ok()?;
            general_mat_mul(self.factor, &weight.t(), &made, 0.0, &mut of_patches);
            for (column, row) in patches.chunks(self.rows.max(1)).enumerate() {
                let start = (group * self.channels + column / self.taps) * self.channel_stride;
                for run in &self.reads[column % self.taps] {
                    let of_x = of_x[start..][run.elements()].iter_mut().zip(&row[run.rows()]);
                    of_x.for_each(|(to, from)| *to += from);
                }
            }
        }
        Some(())
    }
}

/// Numbers that are added up beside one another.
const LANES: usize = 8;

vectors! {
    /// Add to each row the element that it reads, times a factor.
    fn add_read(rows: &mut [f32], x: &[f32], factor: f32, runs: &[Run]) {
        for run in runs {
            rows[run.rows()].iter_mut().zip(&x[run.elements()]).for_each(|(to, from)| *to += factor * from);
        }
    }

    /// Add to each element that is read what the row has, times a factor.
    fn add_back(x: &mut [f32], rows: &[f32], factor: f32, runs: &[Run]) {
        for run in runs {
            x[run.elements()].iter_mut().zip(&rows[run.rows()]).for_each(|(to, from)| *to += factor * from);
        }
    }

    /// The sum of what rows have times the element that they read.
    fn products(rows: &[f32], x: &[f32], runs: &[Run]) -> f32 {
        let (mut sums, mut rest) = ([0f32; LANES], 0f32);
        for run in runs {
            let (a, b) = (rows[run.rows()].chunks_exact(LANES), x[run.elements()].chunks_exact(LANES));
            rest += a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum::<f32>();
            for (a, b) in a.zip(b) {
                sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
            }
        }
        sums.iter().sum::<f32>() + rest
    }

    fn sum(row: &[f32]) -> f32 {
        let each = row.chunks_exact(LANES);
        let rest: f32 = each.remainder().iter().sum();
        let mut sums = [0f32; LANES];
        each.for_each(|each| sums.iter_mut().zip(each).for_each(|(sum, x)| *sum += x));
        sums.iter().sum::<f32>() + rest
    }
}
