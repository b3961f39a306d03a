//! Heads of attention: parted from one axis, or after one another on it.

use crate::ir::OpKind::{Reshape, Split, Transpose};
use crate::ir::{Attr, Graph, Int, Shape, Tensor, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Expr, Skip};
use crate::rules::support::axes::permutation;
use crate::rules::support::parts;
use crate::rules::support::views::{target, view_of};

/// The permutation that brings heads before the length, and back behind it.
pub const SWAPPED: [usize; 4] = [0, 2, 1, 3];

/// What `value` is with its heads after one another, when it is a `Transpose` of that, or part of one. `gone` says
/// whether nobody will read a value any more.
pub fn joined(graph: &Graph, value: ValueId, gone: &dyn Fn(ValueId) -> bool) -> Option<Expr> {
    let (node, slot) = graph.producer(value)?;
    let call = CallView::new(graph, node);
    if call.node().op == Split {
        // With a reader elsewhere it would have to stay.
        let parts = graph.results(node);
        let all = parts.iter().flatten().all(|&v| gone(v)) && parts::axis(&call)? == 1;
        let (turned, size) = (producer(graph, call.operand(0)?)?, call.dims(0)?.last()?.known()?);
        let heads = |slot: usize| call.result_dims(slot)?.get(1)?.known()?.checked_mul(size);
        let sizes: Vec<i64> = (0..parts.len()).map(heads).collect::<Option<_>>()?;
        let Joined::View(x) = before(&turned)? else { return None };
        let split = Split.emit([x.into(), Tensor::vector(&sizes).into()]).with("axis", Attr::Int(2));
        return split.results(parts.len()).into_iter().nth(slot).filter(|_| all);
    }
    before(&call)?.after_one_another(gone(value))
}

/// As [`joined`], of batch, length, heads and size in this order. `gone` says whether nobody will read a `Transpose` of
/// it any more.
pub fn joined_behind_length(graph: &Graph, value: ValueId, gone: bool) -> Option<Expr> {
    apart(graph, value)?.after_one_another(gone)
}

/// `y` with its heads after one another as batch, length, heads and size, which are `shape`.
///
/// # Errors
/// Where they are not known well enough.
pub fn parted(y: Expr, shape: &Shape) -> Result<Expr, Skip> {
    let dims = shape.dims().ok_or(Skip::NotThis)?;
    let restored = target(None, dims).or_else(|| copied(dims)).ok_or(Skip::NotThis)?;
    Ok(Reshape.emit([y, restored.into()]))
}

/// Batch and length as they are, heads and size as they are known.
fn copied(dims: &[Int]) -> Option<Tensor> {
    let [_, _, heads, size] = dims else { return None };
    Some(Tensor::vector(&[0, 0, heads.known()?, size.known()?]))
}

/// The value with heads after one another that `transpose` turns into heads before length, when it does so.
pub fn joined_view(transpose: &CallView<'_>) -> Option<ValueId> {
    if transpose.node().op != Transpose || permutation(transpose)? != SWAPPED {
        return None;
    }
    let [batch, length, heads, size] = transpose.dims(0)? else { return None };
    let joined = [batch.clone(), length.clone(), heads.checked_mul(size)?];
    let view = view_of(transpose.graph(), transpose.operand(0)?)?;
    (view.dims(0) == Some(&joined[..])).then(|| view.operand(0)).flatten()
}

fn producer(graph: &Graph, value: ValueId) -> Option<CallView<'_>> {
    let (node, slot) = graph.producer(value)?;
    (slot == 0).then(|| CallView::new(graph, node))
}

/// What is turned into heads before length.
enum Joined {
    /// A view of this value, which has the heads after one another.
    View(ValueId),
    /// This value, which has them on an axis of their own, so wide together.
    Apart(ValueId, i64),
}

impl Joined {
    fn after_one_another(self, gone: bool) -> Option<Expr> {
        match self {
            Joined::View(x) => Some(x.into()),
            // A `Reshape` in the place of the `Transpose`, unless that has to stay.
            Joined::Apart(x, width) => gone.then(|| Reshape.emit([x.into(), Tensor::vector(&[0, 0, width]).into()])),
        }
    }
}

fn before(transpose: &CallView<'_>) -> Option<Joined> {
    if transpose.node().op != Transpose || permutation(transpose)? != SWAPPED {
        return None;
    }
    apart(transpose.graph(), transpose.operand(0)?)
}

fn apart(graph: &Graph, parted: ValueId) -> Option<Joined> {
    let [batch, length, heads, size] = graph.value(parted).ty.shape().dims()? else { return None };
    let width = heads.checked_mul(size)?;
    let view = view_of(graph, parted);
    let dims = [batch.clone(), length.clone(), width.clone()];
    match view.filter(|view| view.dims(0) == Some(&dims[..])) {
        Some(view) => Some(Joined::View(view.operand(0)?)),
        None => Some(Joined::Apart(parted, width.known()?)),
    }
}
