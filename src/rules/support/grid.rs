//! Integer tensors each of whose elements is a number plus multiples of its own coordinates, as exporters compute
//! positions and indices.

use crate::ir::OpKind::{Add, Cast, Expand, Flatten, Identity, Mul, Range, Reshape, Squeeze, Sub, Unsqueeze};
use crate::ir::{Graph, Int, ValueId};
use crate::ops::CallView;
use crate::ops::call::content;

/// How many calls are followed.
const LONGEST: usize = 16;

/// `start + Σ stepₐ · iₐ` at coordinates i; the step along an axis of size 1 is 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The first element.
    pub start: Int,
    /// The step along each axis.
    pub steps: Vec<Int>,
}

impl Grid {
    /// The grid that `value` is; `None` where it is none, or there is no telling.
    pub fn of(graph: &Graph, value: ValueId) -> Option<Grid> {
        read(graph, value, LONGEST)
    }

    /// The axes along which it steps.
    pub fn axes(&self) -> Vec<usize> {
        (0..self.steps.len()).filter(|&axis| self.steps[axis] != Int::from(0)).collect()
    }
}

fn read(graph: &Graph, value: ValueId, left: usize) -> Option<Grid> {
    let v = graph.value(value);
    let (left, dims) = (left.checked_sub(1)?, v.ty.shape().dims()?);
    if !v.ty.dtype()?.is_integer() {
        return None;
    }
    let zero = Int::from(0);
    if let Some([one]) = content(graph, value).as_deref() {
        return Some(Grid { start: one.clone(), steps: vec![zero; dims.len()] });
    }
    let (node, slot) = graph.producer(value)?;
    let call = CallView::new(graph, node);
    let of = |slot: usize| read(graph, call.operand(slot)?, left);
    if slot != 0 {
        return None;
    }
    match call.node().op {
        Range => {
            let (start, step) = (call.int(0)?, call.int(2)?);
            Some(Grid { start, steps: vec![step] })
        }
        Cast | Identity => of(0),
        Unsqueeze | Squeeze | Reshape | Flatten => {
            // The axes of more than one element stay, in their order.
            let (inner, one) = (of(0)?, Int::from(1));
            let mut wide = call.dims(0)?.iter().zip(inner.steps).filter(|(d, _)| **d != one);
            let mut steps = Vec::with_capacity(dims.len());
            for dim in dims {
                steps.push(match *dim == one {
                    true => zero.clone(),
                    false => wide.next().filter(|(d, _)| *d == dim)?.1,
                });
            }
            wide.next().is_none().then_some(Grid { start: inner.start, steps })
        }
        Expand => spread(of(0)?, call.dims(0)?, dims),
        Add | Sub => {
            let a = spread(of(0)?, call.dims(0)?, dims)?;
            let b = spread(of(1)?, call.dims(1)?, dims)?;
            let both = |a: &Int, b: &Int| if call.node().op == Add { a.checked_add(b) } else { a.checked_sub(b) };
            let steps = a.steps.iter().zip(&b.steps).map(|(a, b)| both(a, b)).collect::<Option<_>>()?;
            Some(Grid { start: both(&a.start, &b.start)?, steps })
        }
        Mul => {
            let a = spread(of(0)?, call.dims(0)?, dims)?;
            let b = spread(of(1)?, call.dims(1)?, dims)?;
            let (grid, factor) =
                if b.axes().is_empty() { (a, b.start) } else { (b, a.axes().is_empty().then_some(a.start)?) };
            let steps = grid.steps.iter().map(|s| s.checked_mul(&factor)).collect::<Option<_>>()?;
            Some(Grid { start: grid.start.checked_mul(&factor)?, steps })
        }
        _ => None,
    }
}

/// A grid of dimensions `from`, broadcast to `to`.
fn spread(grid: Grid, from: &[Int], to: &[Int]) -> Option<Grid> {
    let missing = to.len().checked_sub(from.len())?;
    let mut steps = vec![Int::from(0); missing];
    for ((step, from), to) in grid.steps.into_iter().zip(from).zip(&to[missing..]) {
        steps.push(match (from == to, from.known()) {
            (true, _) => step,
            (false, Some(1)) => Int::from(0),
            (false, _) => return None,
        });
    }
    Some(Grid { steps, ..grid })
}
