//! Products with a weight that can change: what a layer makes, and how that follows its weight, its bias and what it reads.

use std::ops::Range;

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2, ShapeBuilder};

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

/// Rows whose elements are equally far from one another.
#[derive(Clone, Copy)]
struct Even {
    first: usize,
    step: usize,
}

impl Even {
    fn of(elements: impl IntoIterator<Item = usize>) -> Option<Even> {
        let mut elements = elements.into_iter().peekable();
        let first = elements.next().filter(|&first| first != NOWHERE)?;
        let step = match elements.peek() {
            Some(&NOWHERE) => return None,
            Some(second) => second.checked_sub(first).filter(|&step| step > 0)?,
            None => 1,
        };
        let is_even = |(row, element)| element == first + (row + 1) * step;
        elements.enumerate().all(is_even).then_some(Even { first, step })
    }
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
    /// Where rows read from where there is one element of a kernel: then there is no need to lay out what they read.
    even_reads: Option<Even>,
    channel_stride: usize,
    factor: f32,
    /// Where the first results of rows are; those of others are so far from them.
    firsts: Vec<Run>,
    even_firsts: Option<Even>,
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
        let firsts = || (0..rows).map(|row| places.result(row, layer.outputs));
        let reads = places.reads(taps);
        Some(Linear {
            groups,
            channels: layer.channels / groups,
            outputs: layer.outputs_of_group(),
            taps,
            rows,
            reads: reads.chunks(rows.max(1)).map(|tap| runs(tap.iter().copied())).collect(),
            even_reads: Even::of(reads.iter().copied()).filter(|_| taps == 1 && places.factor == 1.0),
            channel_stride: places.channel_stride(),
            factor: places.factor,
            firsts: runs(firsts()),
            even_firsts: Even::of(firsts()),
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

    /// What a group reads, where it lies: a row for each column of its weight. `None` where it has to be laid out.
    fn operand<'x>(&self, x: &'x [f32], group: usize) -> Option<ArrayView2<'x, f32>> {
        let even = self.even_reads?;
        let x = x.get(group * self.channels * self.channel_stride + even.first..)?;
        ArrayView2::from_shape((self.columns(), self.rows).strides((self.channel_stride, even.step)), x).ok()
    }

    /// The same, to be changed.
    fn operand_mut<'x>(&self, x: &'x mut [f32], group: usize) -> Option<ArrayViewMut2<'x, f32>> {
        let even = self.even_reads?;
        let x = x.get_mut(group * self.channels * self.channel_stride + even.first..)?;
        ArrayViewMut2::from_shape((self.columns(), self.rows).strides((self.channel_stride, even.step)), x).ok()
    }

    /// What a group makes, where it lies: a row for each output. `None` where rows are not even.
    fn results_of<'y>(&self, y: &'y [f32], group: usize) -> Option<ArrayView2<'y, f32>> {
        let even = self.even_firsts?;
        let y = y.get(group * self.outputs * self.output_stride + even.first..)?;
        ArrayView2::from_shape((self.outputs, self.rows).strides((self.output_stride, even.step)), y).ok()
    }

    /// The same, to be changed.
    fn results_of_mut<'y>(&self, y: &'y mut [f32], group: usize) -> Option<ArrayViewMut2<'y, f32>> {
        let even = self.even_firsts?;
        let y = y.get_mut(group * self.outputs * self.output_stride + even.first..)?;
        ArrayViewMut2::from_shape((self.outputs, self.rows).strides((self.output_stride, even.step)), y).ok()
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
        let mut made = Vec::new();
        for group in 0..self.groups {
            let biases = match &self.bias {
                Some(bias) => Some(parameters.get(bias.start + group * self.outputs..)?.get(..self.outputs)?),
                None => None,
            };
            if let Some(mut made) = self.results_of_mut(result, group).filter(|_| !self.is_depthwise()) {
                let is_added = biases.is_some_and(|biases| spread(biases, &mut made));
                self.multiply(parameters, x, group, f32::from(u8::from(is_added)), &mut made)?;
                continue;
            }
            made.clear();
            made.resize(self.outputs * self.rows, 0.0);
            if self.is_depthwise() {
                let x = self.channel(x, group, 0);
                for (&w, runs) in self.matrix(parameters, group)?.iter().zip(&self.reads) {
                    add_read(&mut made, x, w, runs);
                }
            } else {
                let mut made = ArrayViewMut2::from_shape((self.outputs, self.rows), &mut made).ok()?;
                self.multiply(parameters, x, group, 0.0, &mut made)?;
            }
            for (within, row) in made.chunks(self.rows.max(1)).enumerate() {
                let bias = biases.map_or(0.0, |biases| biases[within]);
                let result = &mut result[(group * self.outputs + within) * self.output_stride..];
                for run in &self.firsts {
                    result[run.elements()].iter_mut().zip(&row[run.rows()]).for_each(|(to, y)| *to = y + bias);
                }
            }
        }
        Some(())
    }

    /// A group's weight times what it reads, and what is there already times `kept`.
    fn multiply(
        &self,
        parameters: &[f32],
        x: &[f32],
        group: usize,
        kept: f32,
        made: &mut ArrayViewMut2<'_, f32>,
    ) -> Option<()> {
        let weight = self.matrix(parameters, group)?;
        if let Some(x) = self.operand(x, group) {
            general_mat_mul(1.0, &weight, &x, kept, made);
            return Some(());
        }
        let patches = self.patches(x, group);
        let patches = ArrayView2::from_shape((self.columns(), self.rows), &patches).ok()?;
        general_mat_mul(1.0, &weight, &patches, kept, made);
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
        let mut gathered = Vec::new();
        for group in 0..self.groups {
            let made = match self.results_of(of_result, group).filter(|_| !self.is_depthwise()) {
                Some(made) => made,
                None => {
                    gathered.resize(self.outputs * self.rows, 0.0);
                    for (within, row) in gathered.chunks_mut(self.rows.max(1)).enumerate() {
                        let from = &of_result[(group * self.outputs + within) * self.output_stride..];
                        for run in &self.firsts {
                            row[run.rows()].copy_from_slice(&from[run.elements()]);
                        }
                    }
                    ArrayView2::from_shape((self.outputs, self.rows), &gathered).ok()?
                }
            };
            if let Some(bias) = &self.bias {
                add_rows(made, slopes.get_mut(bias.start + group * self.outputs..)?.get_mut(..self.outputs)?);
            }
            let each = self.outputs * self.columns();
            let first = self.weight.start + group * each;
            let of_weight = slopes.get_mut(first..first + each)?;
            let weight = self.matrix(parameters, group)?;
            if self.is_depthwise() {
                let (x, made) = (self.channel(x, group, 0), made.to_slice()?);
                let start = group * self.channel_stride;
                for ((&w, of_w), runs) in weight.iter().zip(of_weight).zip(&self.reads) {
                    *of_w += products(made, x, runs);
                    if let Some(of_x) = &mut of_x {
                        add_back(&mut of_x[start..], made, w, runs);
                    }
                }
                continue;
            }
            let mut of_weight = ArrayViewMut2::from_shape((self.outputs, self.columns()), of_weight).ok()?;
            if let Some(x) = self.operand(x, group) {
                general_mat_mul(1.0, &made, &x.t(), 1.0, &mut of_weight);
                if let Some(of_x) = &mut of_x {
                    general_mat_mul(1.0, &weight.t(), &made, 1.0, &mut self.operand_mut(of_x, group)?);
                }
                continue;
            }
            let mut patches = self.patches(x, group);
            let of_rows = ArrayView2::from_shape((self.columns(), self.rows), &patches).ok()?;
            general_mat_mul(1.0, &made, &of_rows.t(), 1.0, &mut of_weight);
            let Some(of_x) = &mut of_x else { continue };
            let mut of_patches = ArrayViewMut2::from_shape((self.columns(), self.rows), &mut patches).ok()?;
            general_mat_mul(self.factor, &weight.t(), &made, 0.0, &mut of_patches);
            for (column, row) in patches.chunks(self.rows.max(1)).enumerate() {
                let start = (group * self.channels + column / self.taps) * self.channel_stride;
                add_back(&mut of_x[start..], row, 1.0, &self.reads[column % self.taps]);
            }
        }
        Some(())
    }
}

/// Each row of `to` becomes the number that is its own. Says that they are there.
fn spread(numbers: &[f32], to: &mut ArrayViewMut2<'_, f32>) -> bool {
    if to.strides()[0] < to.strides()[1] {
        let numbers = ArrayView1::from(numbers);
        to.columns_mut().into_iter().for_each(|mut column| column.assign(&numbers));
    } else {
        to.rows_mut().into_iter().zip(numbers).for_each(|(mut row, &number)| row.fill(number));
    }
    true
}

/// Add to each number the sum of the row that is its own.
fn add_rows(rows: ArrayView2<'_, f32>, to: &mut [f32]) {
    if rows.strides()[0] < rows.strides()[1] {
        for column in rows.columns() {
            to.iter_mut().zip(column).for_each(|(to, x)| *to += x);
        }
        return;
    }
    for (to, row) in to.iter_mut().zip(rows.rows()) {
        *to += row.to_slice().map_or_else(|| row.sum(), sum);
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
