//! One call as its operator's row sees it: read-only, with the questions that rows ask.

use smallvec::SmallVec;

use crate::ir::{Attr, DType, Graph, Int, Node, NodeId, OpKind, Tensor, Type, ValueId};

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

    /// The elements of operand `slot` as symbolic integers: see [`content`].
    pub fn ints(&self, slot: usize) -> Option<Vec<Int>> {
        content(self.graph, self.operand(slot)?)
    }

    /// As [`CallView::ints`]; where nothing is known of an integer vector of a few elements, each stands for itself
    /// ([`Atom::Element`](crate::ir::Atom::Element)), so that what is computed from them can still be compared.
    pub fn elements(&self, slot: usize) -> Option<Vec<Int>> {
        if let Some(known) = self.ints(slot) {
            return Some(known);
        }
        let value = self.operand(slot)?;
        if self.graph.constant(value).is_some() || !self.dtype(slot)?.is_integer() {
            return None;
        }
        let n = match self.dims(slot)? {
            [] => 1,
            [n] => n.known().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= MAX_ELEMENTS)?,
            _ => return None,
        };
        Some((0..n).map(|i| value.element(i)).collect())
    }

    /// The single element of operand `slot` as a symbolic integer: see [`CallView::elements`].
    pub fn int(&self, slot: usize) -> Option<Int> {
        match &self.elements(slot)?[..] {
            [one] => Some(one.clone()),
            _ => None,
        }
    }

    /// The elements of operand `slot` as numbers, when all are known.
    pub fn known_ints(&self, slot: usize) -> Option<Vec<i64>> {
        if let Some(t) = self.constant(slot) {
            return if t.len() <= MAX_CONTENT { t.integers() } else { None };
        }
        self.ints(slot)?.iter().map(Int::known).collect()
    }

    /// The type of result `slot`.
    pub fn result_ty(&self, slot: usize) -> Option<&'g Type> {
        self.graph.result(self.id, slot).map(|v| &self.graph.value(v).ty)
    }

    /// The dimensions of result `slot`.
    pub fn result_dims(&self, slot: usize) -> Option<&'g [Int]> {
        self.result_ty(slot)?.shape().dims()
    }

    /// Whether operand `slot` is a weight: a constant, or one that is only dequantized.
    pub fn is_weight(&self, slot: usize) -> bool {
        let Some(value) = self.operand(slot) else { return false };
        if self.graph.constant(value).is_some() {
            return true;
        }
        self.graph.producer(value).is_some_and(|(node, _)| {
            self.graph.node(node).op == OpKind::DequantizeLinear
                && self.graph.operand(node, 0).is_some_and(|v| self.graph.constant(v).is_some())
        })
    }

    /// The integers of attribute `name`, one per axis: `n` of them, or `n` times `default` when the attribute is
    /// absent or empty. `None` when there are another number, or the attribute is of another kind.
    pub fn per_axis(&self, name: &str, n: usize, default: i64) -> Option<SmallVec<[i64; 8]>> {
        match self.node().attr(name) {
            None => Some(SmallVec::from_elem(default, n)),
            Some(Attr::Ints(list)) if list.is_empty() => Some(SmallVec::from_elem(default, n)),
            Some(Attr::Ints(list)) if list.len() == n => Some(SmallVec::from_slice(list)),
            Some(_) => None,
        }
    }
}

/// Content is followed in tensors of up to this many elements.
pub const MAX_CONTENT: usize = 256;

/// Elements that stand for themselves: the largest rank that a shape vector is expected to have.
const MAX_ELEMENTS: usize = 8;

/// The elements of `value` as symbolic integers (of either sign: ask [`Int::surely_non_negative`]), when it is a tensor
/// of rank 0 or 1 with at most [`MAX_CONTENT`] elements, each provably an integer.
///
/// Exporters also compute sizes through floats (`Cast`, `Mul` by 2.0, `Floor`, `Cast`), so the tensor may be of a
/// float type: whoever must have integers looks at the element type. A float's content says which number it is, not
/// which of the two zeros.
pub fn content(graph: &Graph, value: ValueId) -> Option<Vec<Int>> {
    let v = graph.value(value);
    if let Some(t) = v.constant() {
        if t.len() > MAX_CONTENT || t.rank() > 1 {
            return None;
        }
        if !t.dtype().is_float() {
            return Some(t.integers()?.into_iter().map(Int::from).collect());
        }
        return t.reals()?.into_iter().map(|x| integral(x).filter(|n| fits(t.dtype(), n))).collect();
    }
    v.content.as_ref().map(|c| c.to_vec())
}

/// `x` as an integer, when it is one that every step of shape arithmetic holds exactly.
fn integral(x: f64) -> Option<Int> {
    // Below 2⁵³ the conversion is exact.
    (x.fract() == 0.0 && x.abs() < (1u64 << 53) as f64).then(|| Int::from(x as i64))
}

/// Whether a tensor of `dtype` holds exactly this integer, so that arithmetic which should give it does.
///
/// Integers must not wrap and floats must not round. Of symbolic ones it is taken for granted that sizes stay within
/// int32, and within 2²⁴ where a size along one axis passes through float32 arithmetic; and that arithmetic on other
/// numbers stays within int64. Narrower types and products of sizes in float32 are not followed.
pub(super) fn fits(dtype: DType, n: &Int) -> bool {
    let Some(known) = n.known() else {
        return match dtype {
            DType::I64 => true,
            DType::I32 | DType::F64 => n.is_of_sizes(),
            DType::U64 | DType::U32 => n.surely_non_negative(),
            DType::F32 => n.is_of_sizes() && n.degree() <= 1,
            _ => false,
        };
    };
    let within = |bits: u32| known.unsigned_abs() <= 1 << bits;
    match dtype {
        DType::I64 => true,
        DType::U64 => known >= 0,
        DType::Bool => known == 0 || known == 1,
        DType::F64 => within(53),
        DType::F32 => within(24),
        DType::F16 => within(11),
        DType::BF16 => within(8),
        _ if dtype.is_signed_integer() => (-(1i64 << (dtype.bits() - 1))..1 << (dtype.bits() - 1)).contains(&known),
        _ if dtype.is_unsigned_integer() => (0..1i64 << dtype.bits()).contains(&known),
        _ => false,
    }
}
