//! What a kernel is given: the node's attributes, its operands, and how much memory the results may take.

use std::borrow::Cow;

use bytes::Bytes;

use crate::exec::exact::Unable;
pub(super) use crate::ir::count;
use crate::ir::{DType, Dims, Key, Node, OpKind, Tensor};
use crate::ops::normalize_axis;

/// One call with constant operands.
pub(super) struct Args<'a> {
    node: &'a Node,
    operands: &'a [Option<Tensor>],
    results: usize,
    limit: usize,
}

impl<'a> Args<'a> {
    pub(super) fn new(node: &'a Node, operands: &'a [Option<Tensor>], results: usize, limit: usize) -> Args<'a> {
        Args { node, operands, results, limit }
    }

    /// The node, for its attributes.
    pub(super) fn node(&self) -> &'a Node {
        self.node
    }

    /// Which operator.
    pub(super) fn op(&self) -> OpKind {
        self.node.op
    }

    /// How many result slots the node has.
    pub(super) fn results(&self) -> usize {
        self.results
    }

    /// How many operand slots there are.
    pub(super) fn count(&self) -> usize {
        self.operands.len()
    }

    /// Operand `slot`, which the operator demands.
    pub(super) fn tensor(&self, slot: usize) -> Result<&'a Tensor, Unable> {
        self.optional(slot).ok_or_else(|| Unable::malformed(format!("operand {slot} is missing")))
    }

    /// Operand `slot`, when given.
    pub(super) fn optional(&self, slot: usize) -> Option<&'a Tensor> {
        self.operands.get(slot)?.as_ref()
    }

    /// The elements of operand `slot`, an int32 or int64 tensor.
    pub(super) fn ints(&self, slot: usize) -> Result<Vec<i64>, Unable> {
        self.integers(self.tensor(slot)?)
    }

    /// The elements of operand `slot`, when given.
    pub(super) fn optional_ints(&self, slot: usize) -> Result<Option<Vec<i64>>, Unable> {
        self.optional(slot).map(|t| self.integers(t)).transpose()
    }

    fn integers(&self, t: &Tensor) -> Result<Vec<i64>, Unable> {
        if !matches!(t.dtype(), DType::I32 | DType::I64) {
            return Err(Unable::malformed(format!("{t} where int64 is needed")));
        }
        self.room(DType::I64, t.len())?;
        t.integers().ok_or(Unable::NoKernel)
    }

    /// The single element of operand `slot`, an int32 or int64 scalar or a one-element vector.
    pub(super) fn int(&self, slot: usize) -> Result<i64, Unable> {
        match self.ints(slot)?[..] {
            [i] => Ok(i),
            _ => Err(Unable::malformed(format!("operand {slot} has to be one number"))),
        }
    }

    /// The elements of operand `slot`, a tensor of floats, in f64.
    pub(super) fn floats(&self, slot: usize) -> Result<Vec<f64>, Unable> {
        let t = self.tensor(slot)?;
        if !t.dtype().is_float() {
            return Err(Unable::NoKernel);
        }
        self.room(DType::F64, t.len())?;
        t.reals().ok_or(Unable::NoKernel)
    }

    /// Attribute `key` as an axis of a tensor of rank `rank`.
    pub(super) fn axis(&self, key: Key<i64>, rank: usize) -> Result<usize, Unable> {
        axis(key.of(self.node), rank)
    }

    /// A string attribute.
    pub(super) fn text(&self, key: Key<&'static str>) -> Cow<'a, str> {
        key.of(self.node)
    }

    /// The dimensions that `sizes` spell.
    pub(super) fn dims(&self, sizes: &[i64]) -> Result<Dims, Unable> {
        sizes
            .iter()
            .map(|&d| usize::try_from(d).map_err(|_| Unable::malformed(format!("a dimension of {d}"))))
            .collect()
    }

    /// The number of elements that `dims` span, once it is clear that they may be spelled out.
    pub(super) fn room_for(&self, dtype: DType, dims: &[usize]) -> Result<usize, Unable> {
        let n = count(dims).ok_or(Unable::TooLarge { limit: self.limit })?;
        self.room(dtype, n)?;
        Ok(n)
    }

    /// Whether `n` elements of `dtype` may be spelled out. A string counts as its handle.
    pub(super) fn room(&self, dtype: DType, n: usize) -> Result<(), Unable> {
        let bytes = match dtype {
            DType::String => n.checked_mul(size_of::<Bytes>()),
            _ => dtype.byte_len(n),
        };
        match bytes {
            Some(b) if b <= self.limit => Ok(()),
            _ => Err(Unable::TooLarge { limit: self.limit }),
        }
    }

    /// A tensor of equal elements, however many. Few are spelled out: in a file, a node that fills takes more.
    pub(super) fn splat(&self, dtype: DType, dims: &[usize], element: &[u8]) -> Result<Tensor, Unable> {
        const SPELLED_OUT: usize = 128;
        let too_large = |_| Unable::TooLarge { limit: self.limit };
        let splat = Tensor::splat(dtype, dims, element).map_err(too_large)?;
        if dtype.byte_len(splat.len()).is_some_and(|b| b <= SPELLED_OUT)
            && let Some(bytes) = splat.bytes()
        {
            return Tensor::raw(dtype, dims, bytes).map_err(too_large);
        }
        Ok(splat)
    }
}

/// `axis` of a tensor of rank `rank`, counted from the back when negative.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Unable> {
    normalize_axis(axis, rank).ok_or_else(|| Unable::malformed(format!("axis {axis} of a tensor of rank {rank}")))
}

/// Position `index` of an axis of `size` elements, counted from the back when negative.
pub(super) fn position(index: i64, size: usize) -> Result<usize, Unable> {
    let from_back = index < 0;
    let at = if from_back {
        usize::try_from(index.unsigned_abs()).ok().and_then(|back| size.checked_sub(back))
    } else {
        usize::try_from(index).ok().filter(|&i| i < size)
    };
    at.ok_or_else(|| Unable::malformed(format!("index {index} of {size} elements")))
}
