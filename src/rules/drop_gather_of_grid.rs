//! A `GatherND` that picks each element by its own coordinates, and a `Gather` that does so of a flattened matrix, are
//! the value itself, its axes apart: so exporters expand the mask of a batch.
//!
//! Where it is not known that all elements along an axis are picked, those from the first on that are are a `Slice`.

use crate::ops::gather::BATCH_DIMS;
use crate::ops::slice::AXIS;
use crate::ir::OpKind::{Concat, Gather, GatherND, Shape, Slice, Unsqueeze};
use crate::ir::{Graph, Int, Tensor, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies};
use crate::rules::support::axes::operand;
use crate::rules::support::grid::Grid;
use crate::rules::support::parts;
use crate::rules::support::views::view_of;


pub fn rule() -> Rule {
    Rule::new("drop-gather-of-grid", Exactness::Bitwise, any_of(&[Gather, GatherND]), |m| {
        let (graph, root) = (m.graph(), m.root());
        let found = if root.node().op == Gather { of_flat(&root) } else { of_coordinates(&root) };
        let Picked { of, along, by } = found.ok_or(Skip::NotThis)?;
        let (dims, result) = (graph.value(of).ty.shape().dims(), m.root_shape().dims());
        let (Some(dims), Some(result)) = (dims, result) else { return Err(Skip::NotThis) };
        let one = Int::from(1);
        let others: Vec<usize> = (0..result.len()).filter(|axis| !along.contains(axis)).collect();
        applies(along.is_sorted() && dims.len() == along.len() && others.iter().all(|&axis| result[axis] == one))?;
        let cut: Vec<usize> = (0..dims.len()).filter(|&axis| dims[axis] != result[along[axis]]).collect();
        let mut picked: Expr = of.into();
        if !cut.is_empty() {
            // A part of a shape is told from opset 15 on.
            applies(m.opset() >= 15)?;
            let size = |axis: usize| -> Result<Expr, Skip> {
                let from = i64::try_from(along[axis]).map_err(|_| Skip::NotThis)?;
                let value = by.ok_or(Skip::NotThis)?[axis];
                Ok(Shape.emit([value.into()]).with("start", from).with("end", from + 1))
            };
            let ends: Vec<Expr> = cut.iter().map(|&axis| size(axis)).collect::<Result<_, _>>()?;
            let ends = match <[Expr; 1]>::try_from(ends) {
                Ok([end]) => end,
                Err(ends) => Concat.emit(ends).with("axis", 0),
            };
            let starts = Tensor::vector(&vec![0; cut.len()]);
            picked = Slice.emit([picked, starts.into(), ends, operand(&cut).into()]);
        }
        Ok(Unsqueeze.emit([picked, operand(&others).into()]).named_like(root))
    })
}

/// What is picked of, along which axis of the result each of its axes goes, and the indices along each.
struct Picked {
    of: ValueId,
    along: Vec<usize>,
    by: Option<[ValueId; 2]>,
}

/// A `GatherND` by coordinates, each of which counts along an axis of its own.
fn of_coordinates(call: &CallView<'_>) -> Option<Picked> {
    let (graph, of) = (call.graph(), call.operand(0)?);
    let (joined, _) = graph.producer(call.operand(1)?)?;
    let concat = CallView::new(graph, joined);
    let last = call.rank(1)?.checked_sub(1)?;
    let fits = BATCH_DIMS.of(call.node()) == 0 && concat.node().op == Concat && parts::axis(&concat)? == last;
    let by = parts::operands(&concat).filter(|by| fits && Some(by.len()) == call.rank(0))?;
    let along = by.iter().map(|&index| counted(graph, index, last)).collect::<Option<Vec<usize>>>()?;
    Some(Picked { of, along, by: by.try_into().ok() })
}

/// The one axis, before `last`, along which `index` counts from 0.
fn counted(graph: &Graph, index: ValueId, last: usize) -> Option<usize> {
    let grid = Grid::of(graph, index)?;
    let [axis] = grid.axes()[..] else { return None };
    let single = graph.value(index).ty.shape().dims()?.get(last)?.known() == Some(1);
    (single && grid.start == Int::from(0) && grid.steps[axis] == Int::from(1) && axis < last).then_some(axis)
}

/// A `Gather` of all elements of a matrix, which is flattened, by the row times its width plus the column.
fn of_flat(call: &CallView<'_>) -> Option<Picked> {
    let graph = call.graph();
    let flat = view_of(graph, call.operand(0)?)?;
    let ([rows, columns], behind) = (flat.dims(0)?, flat.result_dims(0)?) else { return None };
    let (count, ones) = behind.split_first()?;
    let whole = *count == rows.checked_mul(columns)? && ones.iter().all(|d| d.known() == Some(1));
    let (grid, dims) = (Grid::of(graph, call.operand(1)?)?, call.dims(1)?);
    let [first, second] = grid.axes()[..] else { return None };
    let exact = dims[first] == *rows && dims[second] == *columns && grid.start == Int::from(0);
    let steps = grid.steps[first] == *columns && grid.steps[second] == Int::from(1);
    let along = vec![first, second];
    (whole && exact && steps && AXIS.of(call.node()) == 0)
        .then(|| Some(Picked { of: flat.operand(0)?, along, by: None }))?
}
