//! A weight as a matrix of integers, a row for each output, and how it is made of one of real numbers.

use std::ops::Range;

use bytes::Bytes;
use half::{bf16, f16};
use ndarray::Array2;
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::{ParallelSlice, ParallelSliceMut};
use smallvec::SmallVec;

use crate::ir::{DType, Tensor};
use crate::lowbit::grid::{Grid, Steps};
use crate::lowbit::levels::Width;

/// A matrix of a weight's elements, where they lie.
#[derive(Clone, Debug)]
pub struct Matrix {
    bytes: Bytes,
    dtype: DType,
    /// Rows.
    pub outputs: usize,
    /// Elements of each.
    pub columns: usize,
    /// Whether the elements of a row lie one after another; else those of a column do.
    pub is_by_output: bool,
}

/// Rows that one task handles.
const ROWS: usize = 64;

/// Rows or columns that are read together where they do not lie together.
const TILE: usize = 8;

impl Matrix {
    /// The elements of `weight`, which are as many. `None` for elements other than floats of 16 or 32 bits.
    pub fn of(weight: &Tensor, outputs: usize, columns: usize, is_by_output: bool) -> Option<Matrix> {
        let dtype = weight.dtype();
        let is_known = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
        let fits = outputs.checked_mul(columns)? == weight.len() && weight.len() > 0;
        (is_known && fits).then_some(())?;
        Some(Matrix { bytes: weight.bytes()?, dtype, outputs, columns, is_by_output })
    }

    /// Rows that were computed.
    pub fn of_rows(rows: &Array2<f32>) -> Option<Matrix> {
        let (outputs, columns) = rows.dim();
        let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
        let some = outputs > 0 && columns > 0;
        some.then(|| Matrix { bytes: bytes.into(), dtype: DType::F32, outputs, columns, is_by_output: true })
    }

    /// Where the elements lie.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// All rows.
    pub fn rows(&self) -> Option<Array2<f32>> {
        let mut rows = vec![0f32; self.outputs * self.columns];
        self.read(0..self.outputs, &mut rows);
        Array2::from_shape_vec((self.outputs, self.columns), rows).ok()
    }

    /// Copy these rows to `rows`, one after another.
    pub fn read(&self, outputs: Range<usize>, rows: &mut [f32]) {
        match self.dtype {
            DType::F32 => self.read_as(self.bytes.as_chunks::<4>().0, f32::from_le_bytes, outputs, rows),
            DType::F16 => {
                self.read_as(self.bytes.as_chunks::<2>().0, |x| f16::from_le_bytes(x).to_f32(), outputs, rows);
            }
            _ => self.read_as(self.bytes.as_chunks::<2>().0, |x| bf16::from_le_bytes(x).to_f32(), outputs, rows),
        }
    }

    fn read_as<E: Copy>(&self, elements: &[E], real: impl Fn(E) -> f32, outputs: Range<usize>, rows: &mut [f32]) {
        let columns = self.columns;
        if self.is_by_output {
            let elements = &elements[outputs.start * columns..outputs.end * columns];
            rows.iter_mut().zip(elements).for_each(|(to, &from)| *to = real(from));
            return;
        }
        // Some columns at a time: what is written lies together then, and what is read nearly so.
        for first in (0..columns).step_by(TILE) {
            let read: SmallVec<[&[E]; TILE]> = (first..columns.min(first + TILE))
                .map(|column| &elements[column * self.outputs..][outputs.clone()])
                .collect();
            let rows = rows.chunks_mut(columns).map(|row| &mut row[first..]);
            match <[&[E]; TILE]>::try_from(&*read) {
                // Known to be as many, so that none is looked for.
                Ok(read) => rows.enumerate().for_each(|(output, row)| {
                    row.iter_mut().zip(read).for_each(|(to, from)| *to = real(from[output]));
                }),
                Err(_) => rows.enumerate().for_each(|(output, row)| {
                    row.iter_mut().zip(&read).for_each(|(to, from)| *to = real(from[output]));
                }),
            }
        }
    }
}

/// A matrix of integers.
#[derive(Clone, Debug)]
pub struct Codes {
    /// Rows.
    pub outputs: usize,
    /// Integers of each.
    pub columns: usize,
    /// Integers that share a scale and a zero point; the last of a row may be fewer.
    pub group: usize,
    /// The bits of each.
    pub width: Width,
    /// The integers, counted from zero upwards.
    pub integers: Vec<u8>,
    /// For each row, what the integers of each group are worth.
    pub steps: Vec<Steps>,
}

/// How the steps of each group are found.
#[derive(Clone, Copy, Debug)]
pub enum Search<'i> {
    /// [`Grid::nearest`].
    Nearest,
    /// [`Grid::refined`], with the importance of each column where it is known.
    Refined(Option<&'i [f32]>),
}

impl Codes {
    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.columns.div_ceil(self.group)
    }

    /// The integers nearest to the elements of `matrix`. `None` where an element is not finite.
    pub fn of(matrix: &Matrix, grid: &Grid, group: usize, width: Width, search: Search<'_>) -> Option<Codes> {
        let (outputs, columns) = (matrix.outputs, matrix.columns);
        let group = group.max(1);
        let groups = columns.div_ceil(group);
        let mut integers = vec![0u8; outputs * columns];
        let mut steps = vec![Steps { scale: 1.0, zero: 0 }; outputs * groups];
        let tasks = integers.par_chunks_mut(ROWS * columns).zip(steps.par_chunks_mut(ROWS * groups)).enumerate();
        let done = tasks.map(|(task, (integers, steps))| {
            let mut rows = vec![0f32; integers.len()];
            matrix.read(task * ROWS..task * ROWS + steps.len() / groups, &mut rows);
            for ((row, integers), steps) in
                rows.chunks(columns).zip(integers.chunks_mut(columns)).zip(steps.chunks_mut(groups))
            {
                let parts = row.chunks(group).zip(integers.chunks_mut(group)).zip(steps);
                for (index, ((weights, integers), steps)) in parts.enumerate() {
                    *steps = match search {
                        Search::Nearest => grid.nearest(weights)?,
                        Search::Refined(importance) => {
                            grid.refined(weights, importance.map(|of| &of[index * group..][..weights.len()]))?
                        }
                    };
                    for (integer, &weight) in integers.iter_mut().zip(weights) {
                        *integer = steps.integer(weight, grid.most);
                    }
                }
            }
            Some(())
        });
        let done: Option<Vec<()>> = done.collect();
        done.map(|_| Codes { outputs, columns, group, width, integers, steps })
    }

    /// Bytes that they take with scales of this type, and with zero points where there are any.
    pub fn bytes(&self, dtype: DType) -> usize {
        let zeros = if self.is_symmetric() { 0 } else { self.steps.len() * self.width.bits() / 8 };
        self.integers.len() * self.width.bits() / 8 + self.steps.len() * dtype.bits() / 8 + zeros
    }

    /// What the integers of a row are worth.
    pub fn row(&self, output: usize) -> impl Iterator<Item = f32> + '_ {
        let integers = &self.integers[output * self.columns..(output + 1) * self.columns];
        let steps = &self.steps[output * self.groups()..(output + 1) * self.groups()];
        integers.chunks(self.group).zip(steps).flat_map(|(integers, steps)| integers.iter().map(|&i| steps.real(i)))
    }

    /// What the integers are worth, a row for each output.
    pub fn reals(&self) -> Array2<f32> {
        let mut reals = Array2::zeros((self.outputs, self.columns));
        for (output, mut row) in reals.rows_mut().into_iter().enumerate() {
            row.iter_mut().zip(self.row(output)).for_each(|(real, worth)| *real = worth);
        }
        reals
    }

    /// What the integers are worth, with the elements in the order of `matrix`.
    pub fn given_back(&self, matrix: &Matrix) -> Vec<u8> {
        let width = matrix.dtype.bits() / 8;
        let mut bytes = vec![0u8; self.integers.len() * width];
        let write = |bytes: &mut [u8], real: f32| match matrix.dtype {
            DType::F32 => bytes.copy_from_slice(&real.to_le_bytes()),
            DType::F16 => bytes.copy_from_slice(&f16::from_f32(real).to_le_bytes()),
            _ => bytes.copy_from_slice(&bf16::from_f32(real).to_le_bytes()),
        };
        if matrix.is_by_output {
            let rows = bytes.par_chunks_mut(self.columns * width).enumerate();
            rows.for_each(|(output, bytes)| {
                bytes.chunks_mut(width).zip(self.row(output)).for_each(|(bytes, real)| write(bytes, real));
            });
        } else {
            let rows = bytes.par_chunks_mut(self.outputs * width).enumerate();
            rows.for_each(|(column, bytes)| {
                for (output, bytes) in bytes.chunks_mut(width).enumerate() {
                    let steps = self.steps[output * self.groups() + column / self.group];
                    write(bytes, steps.real(self.integers[output * self.columns + column]));
                }
            });
        }
        bytes
    }

    /// What the sign of an integer is told by, where they are counted from the middle.
    fn flip(&self, is_signed: bool) -> u8 {
        if is_signed { 1 << (self.width.bits() - 1) } else { 0 }
    }

    /// The integers packed, row by row, each row to whole bytes and to whole groups: what a row lacks is worth zero.
    pub fn packed_groups(&self) -> Vec<u8> {
        let columns = self.groups() * self.group;
        let each = (columns * self.width.bits()).div_ceil(8);
        let mut packed = vec![0u8; self.outputs * each];
        packed.par_chunks_mut(each).enumerate().for_each(|(output, packed)| {
            let row = &self.integers[output * self.columns..(output + 1) * self.columns];
            if columns == self.columns {
                return pack(self.width, row, packed);
            }
            let mut whole = row.to_vec();
            whole.resize(columns, self.steps[(output + 1) * self.groups() - 1].zero);
            pack(self.width, &whole, packed);
        });
        packed
    }

    /// The integers packed one after another, row by row or column by column.
    pub fn packed(&self, is_by_output: bool, is_signed: bool) -> Vec<u8> {
        let (per, flip) = (8 / self.width.bits(), self.flip(is_signed));
        let turned;
        let integers = match is_by_output {
            true => &self.integers,
            false => {
                turned = self.turned();
                &turned
            }
        };
        let mut packed = vec![0u8; integers.len().div_ceil(per)];
        let parts = packed.par_chunks_mut(PART).zip(integers.par_chunks(PART * per));
        parts.for_each(|(packed, integers)| match flip {
            0 => pack(self.width, integers, packed),
            _ => pack(self.width, &integers.iter().map(|integer| integer ^ flip).collect::<Vec<u8>>(), packed),
        });
        packed
    }

    /// The integers column by column.
    fn turned(&self) -> Vec<u8> {
        let mut turned = vec![0u8; self.integers.len()];
        turned.par_chunks_mut(ROWS * self.outputs).enumerate().for_each(|(part, turned)| {
            // Some rows at a time: their next columns are still at hand then.
            for first in (0..self.outputs).step_by(TILE) {
                for (column, turned) in turned.chunks_mut(self.outputs).enumerate() {
                    let from = self.integers[part * ROWS + column..].iter().step_by(self.columns).skip(first);
                    turned[first..].iter_mut().take(TILE).zip(from).for_each(|(to, &from)| *to = from);
                }
            }
        });
        turned
    }

    /// The zero points of the rows packed, each row's to whole bytes.
    pub fn packed_row_zeros(&self) -> Vec<u8> {
        let groups = self.groups();
        let each = (groups * self.width.bits()).div_ceil(8);
        let mut packed = vec![0u8; self.outputs * each];
        for (steps, packed) in self.steps.chunks(groups).zip(packed.chunks_mut(each)) {
            pack(self.width, &steps.iter().map(|steps| steps.zero).collect::<Vec<u8>>(), packed);
        }
        packed
    }

    /// The zero points packed one after another, row by row or group by group.
    pub fn packed_zeros(&self, is_by_output: bool, is_signed: bool) -> Vec<u8> {
        let (flip, count) = (self.flip(is_signed), self.steps.len());
        let mut packed = vec![0u8; (count * self.width.bits()).div_ceil(8)];
        let zeros: Vec<u8> = (0..count).map(|i| self.steps[self.place(i, is_by_output)].zero ^ flip).collect();
        pack(self.width, &zeros, &mut packed);
        packed
    }

    /// The scales, row by row or group by group.
    pub fn scales(&self, is_by_output: bool) -> Vec<f64> {
        (0..self.steps.len()).map(|i| self.steps[self.place(i, is_by_output)].scale.into()).collect()
    }

    fn place(&self, i: usize, is_by_output: bool) -> usize {
        if is_by_output { i } else { i % self.outputs * self.groups() + i / self.outputs }
    }

    /// Whether every zero point is the middle of the integers.
    pub fn is_symmetric(&self) -> bool {
        let middle = self.flip(true);
        self.steps.iter().all(|steps| steps.zero == middle)
    }
}

/// Bytes that one task packs.
const PART: usize = 1 << 14;

/// As many of `integers` in a byte as have room there, the first in its lowest bits.
fn pack(width: Width, integers: &[u8], packed: &mut [u8]) {
    match width {
        Width::Eight => packed.copy_from_slice(integers),
        Width::Four => pack_by(integers, packed, |[a, b]| a | b << 4),
        Width::Two => pack_by(integers, packed, |[a, b, c, d]| a | b << 2 | c << 4 | d << 6),
    }
}

fn pack_by<const N: usize>(integers: &[u8], packed: &mut [u8], byte: impl Fn([u8; N]) -> u8) {
    let (whole, rest) = integers.as_chunks::<N>();
    packed.iter_mut().zip(whole).for_each(|(packed, &integers)| *packed = byte(integers));
    if !rest.is_empty() {
        let mut last = [0u8; N];
        last[..rest.len()].copy_from_slice(rest);
        packed[whole.len()] = byte(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn weight(dims: &[usize], seed: u64) -> Tensor {
        let mut random = Random::new(seed, "codes");
        let elements: Vec<f32> = (0..dims.iter().product()).map(|_| random.normal() as f32).collect();
        Tensor::f32s(dims, &elements).unwrap()
    }

    fn codes(matrix: &Matrix, symmetric: bool) -> Codes {
        let grid = Grid::of(4, symmetric, false, DType::F32);
        Codes::of(matrix, &grid, 16, Width::Four, Search::Refined(None)).unwrap()
    }

    #[test]
    fn a_weight_gives_the_same_integers_however_it_lies() {
        let weight = weight(&[70, 40], 1);
        let turned: Vec<f32> = (0..2800).map(|i| weight.real(i % 70 * 40 + i / 70).unwrap() as f32).collect();
        let turned = Tensor::f32s(&[40, 70], &turned).unwrap();
        let (a, b) = (Matrix::of(&weight, 70, 40, true).unwrap(), Matrix::of(&turned, 70, 40, false).unwrap());
        let (x, y) = (codes(&a, false), codes(&b, false));
        assert_eq!((&x.integers, &x.steps), (&y.integers, &y.steps));
        assert_eq!(a.rows(), b.rows());
        // What is given back lies as the weight does.
        let back = |matrix: &Matrix, codes: &Codes, dims: &[usize]| {
            Tensor::raw(DType::F32, dims, codes.given_back(matrix).into()).unwrap().reals().unwrap()
        };
        let (x, y) = (back(&a, &x, &[70, 40]), back(&b, &y, &[40, 70]));
        assert!((0..2800).all(|i| x[i % 70 * 40 + i / 70] == y[i]));
        let noise: f64 = x.iter().zip(weight.reals().unwrap()).map(|(x, w)| (x - w).powi(2)).sum();
        assert!(noise / 2800.0 < 0.02, "{noise}");
    }

    #[test]
    fn integers_are_packed_as_the_formats_say() {
        let steps = [0, 3].map(|zero| Steps { scale: 1.0, zero }).to_vec();
        let codes =
            Codes { outputs: 2, columns: 3, group: 4, width: Width::Four, integers: vec![1, 2, 15, 4, 5, 6], steps };
        // Rows one after another, columns one after another, and with the sign of what is counted from the middle.
        assert_eq!(codes.packed(true, false), [0x21, 0x4f, 0x65]);
        assert_eq!(codes.packed(false, false), [0x41, 0x52, 0x6f]);
        assert_eq!(codes.packed(true, true), [0xa9, 0xc7, 0xed]);
        // Whole groups, filled up with what is worth zero.
        assert_eq!(codes.packed_groups(), [0x21, 0x0f, 0x54, 0x36]);
        assert_eq!((codes.packed_row_zeros(), codes.packed_zeros(true, false)), (vec![0, 3], vec![0x30]));
        assert_eq!(codes.row(1).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        let two = Codes { width: Width::Two, integers: vec![1, 2, 3, 0, 1, 2], ..codes };
        assert_eq!(two.packed(true, false), [0b0011_1001, 0b1001]);
    }

    #[test]
    fn what_is_no_number_gets_no_integers() {
        for x in [f32::NAN, f32::INFINITY] {
            let weight = Tensor::f32s(&[2, 2], &[1.0, 2.0, x, 3.0]).unwrap();
            let matrix = Matrix::of(&weight, 2, 2, true).unwrap();
            let grid = Grid::of(4, true, false, DType::F32);
            for search in [Search::Nearest, Search::Refined(None)] {
                assert!(Codes::of(&matrix, &grid, 16, Width::Four, search).is_none());
            }
        }
        assert!(Matrix::of(&weight(&[2, 3], 2), 2, 2, true).is_none());
        assert!(Matrix::of(&Tensor::vector(&[1, 2]), 1, 2, true).is_none());
    }
}
