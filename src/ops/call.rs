//! One call as its operator's row sees it: read-only, with the questions that rows ask.

use crate::ir::{DType, Graph, Int, Node, NodeId, Tensor, Type, ValueId};

/// A node with its graph.
#[derive(Clone, Copy)]
pub struct CallView<'g> {
    graph: &'g Graph,
    id: NodeId,
}

impl<'g> CallView<'g> {
    /// The call that `node` is.
    pub fn new(graph: &'g Graph, node: NodeId) -> CallView<'g> {
        CallView { graph, id: node }
    }

    /// The graph.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The node, for its attributes.
    pub fn node(&self) -> &'g Node {
        self.graph.node(self.id)
    }

    /// How many operand slots there are, left-out ones included.
    pub fn operand_count(&self) -> usize {
        self.graph.operand_count(self.id)
    }

    /// Operand `slot`.
    pub fn operand(&self, slot: usize) -> Option<ValueId> {
        self.graph.operand(self.id, slot)
    }

    /// Whether operand `slot` is given.
    pub fn has(&self, slot: usize) -> bool {
        self.operand(slot).is_some()
    }

    /// The type of operand `slot`.
    pub fn ty(&self, slot: usize) -> Option<&'g Type> {
        self.operand(slot).map(|v| &self.graph.value(v).ty)
    }

    /// The element type of operand `slot`.
    pub fn dtype(&self, slot: usize) -> Option<DType> {
        self.ty(slot)?.dtype()
    }

    /// The dimensions of operand `slot`.
    pub fn dims(&self, slot: usize) -> Option<&'g [Int]> {
        self.ty(slot)?.shape().dims()
    }

    /// The rank of operand `slot`.
    pub fn rank(&self, slot: usize) -> Option<usize> {
        self.dims(slot).map(<[Int]>::len)
    }

    /// The tensor of operand `slot`, when it is constant.
    pub fn constant(&self, slot: usize) -> Option<&'g Tensor> {
        self.graph.constant(self.operand(slot)?)
    }

    /// The elements of operand `slot` as symbolic integers, when it is an integer tensor of rank 0 or 1 and shape
    /// arithmetic (or its constant) tells them.
    pub fn ints(&self, slot: usize) -> Option<Vec<Int>> {
        content(self.graph, self.operand(slot)?)
    }

    /// The elements of operand `slot` as numbers, when all are known.
    pub fn known_ints(&self, slot: usize) -> Option<Vec<i64>> {
        if let Some(t) = self.constant(slot) {
            return if t.len() <= MAX_CONTENT { t.integers() } else { None };
        }
        self.ints(slot)?.iter().map(Int::known).collect()
    }

    /// The dimensions of result `slot`.
    pub fn result_dims(&self, slot: usize) -> Option<&'g [Int]> {
        self.graph.value(self.graph.result(self.id, slot)?).ty.shape().dims()
    }
}

/// Content is followed in tensors of up to this many elements.
pub const MAX_CONTENT: usize = 256;

/// The elements of `value` as symbolic integers, when it is an integer (or bool) tensor of rank 0 or 1 with at most
/// [`MAX_CONTENT`] elements that are known.
pub fn content(graph: &Graph, value: ValueId) -> Option<Vec<Int>> {
    let v = graph.value(value);
    if let Some(t) = v.constant() {
        let small = t.len() <= MAX_CONTENT && t.rank() <= 1 && !t.dtype().is_float();
        return if small { Some(t.integers()?.into_iter().map(Int::from).collect()) } else { None };
    }
    v.content.as_ref().map(|c| c.to_vec())
}
