//! Functions of two numbers, either of which may be repeated, and how their results follow both.

use crate::exec::vectors::vectors;

/// The elements of both operands that each element of the result is made of; none where they are as many.
pub(super) type Tables = [Option<Vec<u32>>; 2];

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairwise {
    Add,
    Sub,
    Mul,
    Div,
}

impl Pairwise {
    pub(super) fn forward(self, tables: &Tables, [a, b]: [&[f32]; 2], result: &mut [f32]) {
        match (self, tables) {
            (Pairwise::Add, [None, None]) => sums(a, b, result),
            (Pairwise::Mul, [None, None]) => products(a, b, result),
            (Pairwise::Add, _) => each(tables, [a, b], result, |a, b| a + b),
            (Pairwise::Sub, _) => each(tables, [a, b], result, |a, b| a - b),
            (Pairwise::Mul, _) => each(tables, [a, b], result, |a, b| a * b),
            (Pairwise::Div, _) => each(tables, [a, b], result, |a, b| a / b),
        }
    }

    /// Add to what is there of each operand how a loss follows it, where it follows the result by `of_result`.
    pub(super) fn backward(
        self,
        tables: &Tables,
        operands: [&[f32]; 2],
        of_result: &[f32],
        of_operands: &mut [Option<Vec<f32>>],
    ) {
        for (which, of_operand) in of_operands.iter_mut().enumerate() {
            let Some(to) = of_operand else { continue };
            let table = tables[which].as_deref();
            match (self, which) {
                (Pairwise::Add, _) | (Pairwise::Sub, 0) if table.is_none() => add_each(to, of_result),
                (Pairwise::Add, _) | (Pairwise::Sub, 0) => add(table, to, of_result.iter().copied()),
                (Pairwise::Sub, _) => add(table, to, of_result.iter().map(|g| -g)),
                (Pairwise::Mul, _) => {
                    let mut slopes = of_result.to_vec();
                    scale(&mut slopes, tables[1 - which].as_deref(), operands[1 - which], |g, other| g * other);
                    add(table, to, slopes.into_iter());
                }
                (Pairwise::Div, _) => {
                    let mut slopes = of_result.to_vec();
                    scale(&mut slopes, tables[1].as_deref(), operands[1], |g, b| g / b);
                    if which == 1 {
                        scale(&mut slopes, tables[0].as_deref(), operands[0], |g, a| -g * a);
                        scale(&mut slopes, tables[1].as_deref(), operands[1], |g, b| g / b);
                    }
                    add(table, to, slopes.into_iter());
                }
            }
        }
    }
}

fn each<F: Fn(f32, f32) -> f32>(tables: &Tables, [a, b]: [&[f32]; 2], result: &mut [f32], f: F) {
    match tables {
        [None, None] => result.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b)),
        [None, Some(of_b)] => {
            result.iter_mut().zip(a).zip(of_b).for_each(|((y, &a), &ib)| *y = f(a, b[ib as usize]));
        }
        [Some(of_a), None] => {
            result.iter_mut().zip(of_a).zip(b).for_each(|((y, &ia), &b)| *y = f(a[ia as usize], b));
        }
        [Some(of_a), Some(of_b)] => {
            let read = of_a.iter().zip(of_b).map(|(&ia, &ib)| f(a[ia as usize], b[ib as usize]));
            result.iter_mut().zip(read).for_each(|(y, made)| *y = made);
        }
    }
}

/// Add slopes to the elements that they are of.
fn add(table: Option<&[u32]>, to: &mut [f32], slopes: impl Iterator<Item = f32>) {
    match table {
        Some(table) => slopes.zip(table).for_each(|(slope, &at)| to[at as usize] += slope),
        None => to.iter_mut().zip(slopes).for_each(|(to, slope)| *to += slope),
    }
}

/// Change each slope by what the element beside it is.
fn scale<F: Fn(f32, f32) -> f32>(slopes: &mut [f32], table: Option<&[u32]>, other: &[f32], f: F) {
    match table {
        Some(table) => slopes.iter_mut().zip(table).for_each(|(slope, &at)| *slope = f(*slope, other[at as usize])),
        None => slopes.iter_mut().zip(other).for_each(|(slope, &other)| *slope = f(*slope, other)),
    }
}

vectors! {
    fn sums(a: &[f32], b: &[f32], result: &mut [f32]) {
        result.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = a + b);
    }

    fn products(a: &[f32], b: &[f32], result: &mut [f32]) {
        result.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = a * b);
    }

    /// Add to each element.
    pub(super) fn add_each(to: &mut [f32], more: &[f32]) {
        to.iter_mut().zip(more).for_each(|(to, more)| *to += more);
    }
}
