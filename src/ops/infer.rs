//! What an inference rule sees and sets: a call's operands, and the results' types and content.

use std::ops::Deref;

use smallvec::SmallVec;

use crate::ir::{DType, Graph, Int, NodeId, Shape, Type};
use crate::ops::call::{MAX_CONTENT, fits};
use crate::ops::{CallView, row_of};

/// `None` when a rule can say no more.
pub type Outcome = Option<()>;

/// No shape of a higher rank is followed: a file decides ranks, and a chain of calls can double them.
pub const MAX_RANK: usize = 64;

/// One call under inference. Reads like the [`CallView`] that it wraps; collects what is known of the results.
pub struct Infer<'g> {
    call: CallView<'g>,
    results: SmallVec<[Result; 2]>,
}

#[derive(Clone, Default)]
struct Result {
    ty: Type,
    content: Option<Vec<Int>>,
}

impl<'g> Deref for Infer<'g> {
    type Target = CallView<'g>;
    fn deref(&self) -> &CallView<'g> {
        &self.call
    }
}

impl Infer<'_> {
    /// Result `slot` is a tensor of `dtype` (where that is known) with `dims`.
    pub fn set(&mut self, slot: usize, dtype: impl Into<Option<DType>>, dims: impl IntoIterator<Item = Int>) {
        let dims: Vec<Int> = dims.into_iter().take(MAX_RANK + 1).collect();
        let shape = if dims.len() > MAX_RANK { Shape::UNKNOWN } else { Shape::of(dims) };
        self.set_type(slot, Type::Tensor { dtype: dtype.into(), shape });
    }

    /// Result `slot` is of this type.
    pub fn set_type(&mut self, slot: usize, ty: Type) {
        if let Some(result) = self.results.get_mut(slot) {
            result.ty = ty;
        }
    }

    /// The type of result `slot` as set before.
    pub fn set_so_far(&self, slot: usize) -> Option<&Type> {
        self.results.get(slot).map(|r| &r.ty)
    }

    /// Result `slot` is a tensor of `dtype`; of its shape nothing is known.
    pub fn set_dtype(&mut self, slot: usize, dtype: Option<DType>) {
        if let Some(result) = self.results.get_mut(slot) {
            result.ty = Type::Tensor { dtype, shape: Shape::UNKNOWN };
        }
    }

    /// Result `slot` is a tensor whose rank alone is known: each size is a measurement of the result.
    pub fn set_rank(&mut self, slot: usize, dtype: impl Into<Option<DType>>, rank: usize) {
        let dims: Vec<Int> = (0..rank.min(MAX_RANK + 1)).map(|axis| self.fresh(slot, axis)).collect();
        self.set(slot, dtype, dims);
    }

    /// How many result slots there are, left-out ones included.
    pub fn result_count(&self) -> usize {
        self.results.len()
    }

    /// The elements of result `slot`, a tensor of rank 0 or 1: see [`content`](crate::ops::call::content).
    ///
    /// Kept only where the result's element type holds each of them exactly (no wrapping, no rounding) and the rank
    /// is known, so a rule need not look.
    pub fn set_content(&mut self, slot: usize, content: impl Into<Option<Vec<Int>>>) {
        if let Some(result) = self.results.get_mut(slot) {
            result.content = content.into().filter(|c| c.len() <= MAX_CONTENT);
        }
    }

    /// The size of result `slot` along `axis`, which only a run tells.
    pub fn fresh(&self, slot: usize, axis: usize) -> Int {
        match self.graph().result(self.id(), slot) {
            Some(value) => value.measured(axis),
            // A result that nobody can name: nothing can be compared with it either.
            None => Int::measured(u32::MAX, u32::try_from(axis).unwrap_or(u32::MAX)),
        }
    }
}

/// Work out the types and content of `node`'s results and store them. Returns whether anything changed.
///
/// What the graph already knows of a result (a type that the file declares) fills what the rule leaves open.
pub fn infer_node(graph: &mut Graph, node: NodeId) -> bool {
    let Some(rule) = row_of(graph.node(node)).infer else { return false };
    let count = graph.results(node).len();
    let mut infer = Infer { call: CallView::new(graph, node), results: SmallVec::from_elem(Result::default(), count) };
    let _ = rule(&mut infer);
    let results = infer.results;
    let mut changed = false;
    for (slot, result) in results.into_iter().enumerate() {
        let Some(value) = graph.result(node, slot) else { continue };
        let v = graph.value_mut(value);
        let mut ty = result.ty;
        ty.refine(&v.ty);
        let content = result.content.filter(|c| holds(&mut ty, c)).map(Into::into);
        if v.ty != ty || (content.is_some() && v.content != content) {
            v.ty = ty;
            v.content = content.or(v.content.take());
            changed = true;
        }
    }
    changed
}

/// Whether a tensor of type `ty` can be the vector or scalar with these elements. A vector's length is noted in `ty`.
fn holds(ty: &mut Type, content: &[Int]) -> bool {
    let Type::Tensor { dtype: Some(dtype), shape } = ty else { return false };
    if !content.iter().all(|n| fits(*dtype, n)) {
        return false;
    }
    match shape.dims() {
        Some([]) => content.len() == 1,
        Some([dim]) => {
            let length = Int::from(content.len());
            if dim.known().is_none() {
                *shape = Shape::of([length]);
                return true;
            }
            *dim == length
        }
        _ => false,
    }
}
