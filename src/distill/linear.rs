//! Products with a weight that can change: what a layer makes, and how that follows its weight, its bias and what it reads.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2};

use crate::gram::Layer;
use crate::gram::places::{NOWHERE, Places};

/// Rows that follow one another and have elements that do.
#[derive(Clone, Copy)]
struct Run {
    row: usize,
    element: usize,
    count: usize,
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
    fn patches(&self, x: &[f32], group: usize) -> Array2<f32> {
        let mut patches = vec![0.0; self.columns() * self.rows];
        for (column, to) in patches.chunks_mut(self.rows.max(1)).enumerate() {
            let x = &x[(group * self.channels + column / self.taps) * self.channel_stride..];
            for run in &self.reads[column % self.taps] {
                to[run.row..run.row + run.count].copy_from_slice(&x[run.element..run.element + run.count]);
            }
        }
        if self.factor != 1.0 {
            patches.iter_mut().for_each(|x| *x *= self.factor);
        }
        Array2::from_shape_vec((self.columns(), self.rows), patches).unwrap_or_default()
    }

    /// What the layer makes of `x`.
    pub(super) fn forward(&self, parameters: &[f32], x: &[f32], result: &mut [f32]) -> Option<()> {
        for group in 0..self.groups {
            let mut made = Array2::zeros((self.outputs, self.rows));
            let (weight, patches) = (self.matrix(parameters, group)?, self.patches(x, group));
            general_mat_mul(1.0, &weight, &patches, 0.0, &mut made);
            for (within, row) in made.rows().into_iter().enumerate() {
                let output = group * self.outputs + within;
                let bias = match &self.bias {
                    Some(bias) => *parameters.get(bias.start + output)?,
                    None => 0.0,
                };
                let result = &mut result[output * self.output_stride..];
                for run in &self.firsts {
                    let made = row.iter().skip(run.row).take(run.count);
                    result[run.element..].iter_mut().zip(made).for_each(|(to, &y)| *to = y + bias);
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
        for group in 0..self.groups {
            let mut made = Array2::zeros((self.outputs, self.rows));
            for (within, mut row) in made.rows_mut().into_iter().enumerate() {
                let output = group * self.outputs + within;
                let from = &of_result[output * self.output_stride..];
                for run in &self.firsts {
                    let to = row.iter_mut().skip(run.row).take(run.count);
                    to.zip(&from[run.element..]).for_each(|(to, &from)| *to = from);
                }
                if let Some(bias) = &self.bias {
                    slopes[bias.start + output] += row.sum();
                }
            }
            let patches = self.patches(x, group);
            let each = self.outputs * self.columns();
            let first = self.weight.start + group * each;
            let of_weight = slopes.get_mut(first..first + each)?;
            let mut of_weight = ArrayViewMut2::from_shape((self.outputs, self.columns()), of_weight).ok()?;
            general_mat_mul(1.0, &made, &patches.t(), 1.0, &mut of_weight);
            let Some(of_x) = &mut of_x else { continue };
            let mut of_patches = patches;
            general_mat_mul(1.0, &self.matrix(parameters, group)?.t(), &made, 0.0, &mut of_patches);
            for (column, row) in of_patches.rows().into_iter().enumerate() {
                let of_x = &mut of_x[(group * self.channels + column / self.taps) * self.channel_stride..];
                for run in &self.reads[column % self.taps] {
                    let from = row.iter().skip(run.row).take(run.count);
                    of_x[run.element..].iter_mut().zip(from).for_each(|(to, &from)| *to += self.factor * from);
                }
            }
        }
        Some(())
    }
}
