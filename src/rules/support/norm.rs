//! Normalizations spelled out: a value divided by a statistic of itself over some axes, then scaled and shifted.

mod instance;
mod layer;

pub use instance::instance_norm;
pub use layer::layer_norm;

use smallvec::SmallVec;

use crate::ir::{DType, Graph, Int, NodeId, OpKind, Tensor, User, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Expr, Skip, applies, require};
use crate::rules::support::formula::{near, only_read_within};
use crate::rules::support::numbers::is_foldable_float;
use crate::rules::support::reductions::{KEEPDIMS, reduced};

/// Nodes that one normalization is made of, at most.
const MOST_NODES: usize = 32;

/// What a value is normalized by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistic {
    /// `(x - mean) / √(variance + ε)`.
    Deviation,
    /// `x / √(mean of squares + ε)`.
    RootMeanSquare,
}

/// `normalized(x) · scale + shift`.
#[derive(Clone, Debug)]
pub struct Norm {
    /// What is normalized, of the result's type.
    pub x: ValueId,
    /// By what.
    pub statistic: Statistic,
    /// Over which axes, sorted, not none.
    pub axes: Vec<usize>,
    /// The number below the root that guards against zero.
    pub epsilon: f32,
    /// What the result is multiplied by.
    pub scale: Option<ValueId>,
    /// What is added then.
    pub shift: Option<ValueId>,
    /// Every node that was read.
    nodes: SmallVec<[NodeId; 16]>,
}

impl Norm {
    /// The normalization that `root` ends; `None` where it ends none.
    pub fn of(graph: &Graph, root: NodeId) -> Option<Norm> {
        let value = graph.result(root, 0)?;
        let mut read = Read { graph, root, nodes: SmallVec::new() };
        let (unit, scale, shift) = read.shifted(value)?;
        let result = graph.value(value).ty.shape();
        let x = graph.value(unit.x).ty.shape();
        // A scale of more dimensions would widen the result.
        let fits = result.surely_equals(x) && unit.axes.len() <= x.rank()?;
        fits.then_some(Norm {
            x: unit.x,
            statistic: unit.statistic,
            axes: unit.axes,
            epsilon: unit.epsilon as f32,
            scale,
            shift,
            nodes: read.nodes,
        })
    }

    /// The dimensions of what is normalized.
    pub fn dims<'g>(&self, graph: &'g Graph) -> &'g [Int] {
        graph.value(self.x).ty.shape().dims().unwrap_or_default()
    }

    /// Whether the axes are the last ones.
    pub fn is_trailing(&self, graph: &Graph) -> bool {
        let rank = self.dims(graph).len();
        self.axes.iter().rev().enumerate().all(|(i, &axis)| axis + i + 1 == rank)
    }

    /// The first axis, counted from the back.
    pub fn axis_from_back(&self, graph: &Graph) -> i64 {
        let from_back = self.dims(graph).len().saturating_sub(self.axes.first().copied().unwrap_or_default());
        -i64::try_from(from_back).unwrap_or(i64::MAX)
    }

    /// Every node that was read.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// Nobody else reads what is computed on the way, and statistics are taken precisely enough.
    ///
    /// # Errors
    /// Where that is not so.
    pub fn check(&self, graph: &Graph, root: NodeId) -> Result<(), Skip> {
        let dtype = graph.value(self.x).ty.dtype();
        applies(dtype.is_some_and(is_foldable_float))?;
        require(dtype != Some(DType::F64), "the statistics would be taken in single precision")?;
        only_read_within(graph, root, &self.nodes)
    }

    /// The parameter `value` as an operand that has one element for each of `axes`, which are known or the same as
    /// the parameter's; one for each without a parameter is `otherwise`.
    ///
    /// # Errors
    /// Where it has others.
    pub fn parameter(
        &self,
        graph: &Graph,
        axes: &[usize],
        value: Option<ValueId>,
        otherwise: f64,
    ) -> Result<Expr, Skip> {
        let dims = self.dims(graph);
        let wanted: Vec<Int> = axes.iter().filter_map(|&axis| dims.get(axis).cloned()).collect();
        let sizes: Option<Vec<usize>> =
            wanted.iter().map(|d| d.known().and_then(|n| usize::try_from(n).ok())).collect();
        let Some(value) = value else {
            let sizes = sizes.ok_or(Skip::Unsuitable("without a scale, the size must be known"))?;
            let dtype = graph.value(self.x).ty.dtype().ok_or(Skip::NotThis)?;
            let one = Tensor::rounded(dtype, &[], &[otherwise]).map_err(|_| Skip::NotThis)?;
            return Ok(spread(&one, &sizes)?.into());
        };
        let shape = graph.value(value).ty.shape().dims().ok_or(Skip::NotThis)?;
        if shape == wanted {
            return Ok(value.into());
        }
        let (constant, sizes) = graph.constant(value).zip(sizes).ok_or(Skip::NotThis)?;
        if !spans_only(constant, dims, axes) {
            return Err(Skip::NotThis);
        }
        if constant.len() == sizes.iter().product::<usize>() {
            return Ok(constant.reshaped(&sizes).map_err(|_| Skip::NotThis)?.into());
        }
        if constant.len() == 1 {
            return Ok(spread(constant, &sizes)?.into());
        }
        Err(Skip::NotThis)
    }
}

/// What `fused` makes of `root`, unless the node that reads its result ends the same normalization.
///
/// # Errors
/// Where it makes nothing, and where it is up to the other node.
pub fn outermost<T>(graph: &Graph, root: NodeId, fused: impl Fn(&Graph, NodeId) -> Result<T, Skip>) -> Result<T, Skip> {
    if reader_ends(graph, root, &fused) { Err(Skip::NotThis) } else { fused(graph, root) }
}

/// Whether the node that reads the result of `root`, the only one, ends something that `fused` is about.
pub fn reader_ends<T>(graph: &Graph, root: NodeId, fused: impl Fn(&Graph, NodeId) -> Result<T, Skip>) -> bool {
    let Some(result) = graph.result(root, 0) else { return false };
    match graph.value(result).users() {
        [User::Node(reader, _)] => {
            matches!(graph.node(*reader).op, OpKind::Add | OpKind::Mul | OpKind::Cast)
                && !matches!(fused(graph, *reader), Err(Skip::NotThis))
        }
        _ => false,
    }
}

/// Whether `constant`, aligned from the back with a value of these dimensions, spans `axes` of it and nothing else.
fn spans_only(constant: &Tensor, dims: &[Int], axes: &[usize]) -> bool {
    let rank = dims.len();
    constant.dims().iter().rev().enumerate().all(|(from_back, &n)| match rank.checked_sub(from_back + 1) {
        Some(axis) if axes.contains(&axis) => {
            n == 1 || dims.get(axis).is_some_and(|d| d.known() == i64::try_from(n).ok())
        }
        _ => n == 1,
    })
}

/// The elements of `constant`, one for each index along `axis` of a value of these dimensions that it is broadcast
/// with; `None` where it varies along another axis, or the size is not known.
pub fn along(constant: &Tensor, dims: &[Int], axis: usize) -> Option<Vec<f64>> {
    let size = usize::try_from(dims.get(axis)?.known()?).ok().filter(|&size| size <= MOST_CHANNELS)?;
    if !spans_only(constant, dims, &[axis]) || constant.rank() > dims.len() || constant.len() == 0 {
        return None;
    }
    match constant.len() {
        1 => Some(vec![constant.item()?; size]),
        _ => constant.reals(),
    }
}

/// Parameters are written down for at most this many channels.
const MOST_CHANNELS: usize = 1 << 16;

/// The one element of `tensor`, `sizes` times.
fn spread(tensor: &Tensor, sizes: &[usize]) -> Result<Tensor, Skip> {
    let element = tensor.element(0).ok_or(Skip::NotThis)?;
    Tensor::splat(tensor.dtype(), sizes, &element).map_err(|_| Skip::NotThis)
}

/// A normalized value before it is scaled.
struct Unit {
    x: ValueId,
    statistic: Statistic,
    axes: Vec<usize>,
    epsilon: f64,
}

/// A mean over axes that stay with size 1.
struct Mean {
    of: ValueId,
    axes: Vec<usize>,
    /// Whether it is the mean of squares.
    squared: bool,
}

struct Read<'g> {
    graph: &'g Graph,
    root: NodeId,
    nodes: SmallVec<[NodeId; 16]>,
}

impl<'g> Read<'g> {
    /// The call of one of `ops` that makes `value`.
    fn call(&mut self, value: ValueId, ops: &[OpKind]) -> Option<CallView<'g>> {
        let (node, slot) = self.graph.producer(value)?;
        let here = self.graph.node(node).scope() == self.graph.node(self.root).scope();
        let fits = slot == 0 && here && ops.contains(&self.graph.node(node).op) && self.nodes.len() < MOST_NODES;
        fits.then(|| {
            self.nodes.push(node);
            CallView::new(self.graph, node)
        })
    }

    /// What `read` reads, leaving no trace where it reads nothing.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mark = self.nodes.len();
        let result = read(self);
        if result.is_none() {
            self.nodes.truncate(mark);
        }
        result
    }

    /// What `read` makes of one operand, and the other operand, of a call with two, in either order.
    fn either<T>(
        &mut self,
        call: &CallView<'g>,
        read: impl Fn(&mut Self, ValueId) -> Option<T>,
    ) -> Option<(T, ValueId)> {
        let (a, b) = (call.operand(0)?, call.operand(1)?);
        let first = self.attempt(|r| read(r, a)).map(|t| (t, b));
        first.or_else(|| self.attempt(|r| read(r, b)).map(|t| (t, a)))
    }

    fn shifted(&mut self, value: ValueId) -> Option<(Unit, Option<ValueId>, Option<ValueId>)> {
        let with_shift = self.attempt(|r| {
            let add = r.call(value, &[OpKind::Add])?;
            let ((unit, scale), shift) = r.either(&add, Self::scaled)?;
            Some((unit, scale, Some(shift)))
        });
        let with_shift = with_shift.or_else(|| self.attempt(|r| r.parted(value)));
        with_shift.or_else(|| self.scaled(value).map(|(unit, scale)| (unit, scale, None)))
    }

    /// `x · k + (shift - mean(x) · k)`, where k is the scale divided by the root.
    fn parted(&mut self, value: ValueId) -> Option<(Unit, Option<ValueId>, Option<ValueId>)> {
        let add = self.call(value, &[OpKind::Add])?;
        let (rest, product) = self.either(&add, |r, v| r.call(v, &[OpKind::Sub]))?;
        let (product, taken) = (self.call(product, &[OpKind::Mul])?, self.call(rest.operand(1)?, &[OpKind::Mul])?);
        // The mean is one factor, and what the other is of is a factor there.
        let (mean, k) = self.either(&taken, Self::plain_mean)?;
        let x = mean.of;
        let same =
            [[0, 1], [1, 0]].iter().any(|&[a, b]| product.operand(a) == Some(x) && product.operand(b) == Some(k));
        let ((variance, epsilon), scale) = self.factor(k)?;
        let (of, axes) = self.centred(variance.of)?;
        let fits = same && !mean.squared && variance.squared && of == x && axes == mean.axes && axes == variance.axes;
        let unit = Unit { x, statistic: Statistic::Deviation, axes, epsilon };
        (fits && !unit.axes.is_empty()).then(|| Some((unit, scale, Some(rest.operand(0)?))))?
    }

    /// The statistic and the scale of `scale / √(v + ε)`, with the root divided by or its reciprocal multiplied with.
    fn factor(&mut self, k: ValueId) -> Option<((Mean, f64), Option<ValueId>)> {
        let alone = self.attempt(|r| r.inverse_root(k)).map(|mean| (mean, None));
        let product = alone.or_else(|| {
            self.attempt(|r| {
                let mul = r.call(k, &[OpKind::Mul])?;
                r.either(&mul, Self::inverse_root).map(|(mean, scale)| (mean, Some(scale)))
            })
        });
        product.or_else(|| {
            self.attempt(|r| {
                let div = r.call(k, &[OpKind::Div])?;
                Some((r.root_of_mean(div.operand(1)?)?, Some(div.operand(0)?)))
            })
        })
    }

    fn scaled(&mut self, value: ValueId) -> Option<(Unit, Option<ValueId>)> {
        let plain = self.attempt(|r| r.unit(value)).map(|unit| (unit, None));
        plain.or_else(|| {
            self.attempt(|r| {
                let mul = r.call(value, &[OpKind::Mul])?;
                let (unit, scale) = r.either(&mul, Self::unit)?;
                Some((unit, Some(scale)))
            })
        })
    }

    /// A normalized value, or one that is cast to more precision for it and back.
    fn unit(&mut self, value: ValueId) -> Option<Unit> {
        let plain = self.attempt(|r| r.ratio(value));
        plain.or_else(|| {
            self.attempt(|r| {
                let back = r.call(value, &[OpKind::Cast])?;
                let unit = r.ratio(back.operand(0)?)?;
                let there = r.call(unit.x, &[OpKind::Cast])?;
                let x = there.operand(0)?;
                let half = [DType::F16, DType::BF16];
                let (narrow, wide) = (there.dtype(0)?, back.dtype(0)?);
                let same = back.result_ty(0)?.dtype() == Some(narrow);
                (same && half.contains(&narrow) && wide == DType::F32).then_some(Unit { x, ..unit })
            })
        })
    }

    /// `c / √(v + ε)` or `c · 1/√(v + ε)`, where v is the mean of c².
    fn ratio(&mut self, value: ValueId) -> Option<Unit> {
        let call = self.call(value, &[OpKind::Div, OpKind::Mul])?;
        let ((mean, epsilon), c) = match call.node().op {
            OpKind::Div => (self.root_of_mean(call.operand(1)?)?, call.operand(0)?),
            _ => self.either(&call, Self::inverse_root)?,
        };
        let dims = self.graph.value(c).ty.shape().dims()?;
        if !mean.squared || mean.axes.is_empty() || mean.axes.iter().any(|&axis| axis >= dims.len()) {
            return None;
        }
        let mark = self.nodes.len();
        let centred = self.attempt(|r| r.centred(c));
        if c != mean.of {
            // The same difference, computed twice.
            let (x, axes) = centred.as_ref()?;
            let (y, others) = self.centred(mean.of)?;
            if (*x, axes) != (y, &others) {
                return None;
            }
        }
        let (x, statistic) = match centred {
            Some((x, axes)) if axes == mean.axes => (x, Statistic::Deviation),
            _ if c == mean.of => {
                self.nodes.truncate(mark);
                (c, Statistic::RootMeanSquare)
            }
            _ => return None,
        };
        Some(Unit { x, statistic, axes: mean.axes, epsilon })
    }

    /// `√(v + ε)`.
    fn root_of_mean(&mut self, value: ValueId) -> Option<(Mean, f64)> {
        let call = self.call(value, &[OpKind::Sqrt, OpKind::Pow])?;
        if call.node().op == OpKind::Pow && number(self.graph, call.operand(1)?)? != 0.5 {
            return None;
        }
        self.guarded(call.operand(0)?)
    }

    /// `1 / √(v + ε)`.
    fn inverse_root(&mut self, value: ValueId) -> Option<(Mean, f64)> {
        let call = self.call(value, &[OpKind::Reciprocal, OpKind::Div, OpKind::Pow])?;
        match call.node().op {
            OpKind::Reciprocal => self.root_of_mean(call.operand(0)?),
            OpKind::Div if number(self.graph, call.operand(0)?)? == 1.0 => self.root_of_mean(call.operand(1)?),
            OpKind::Pow if number(self.graph, call.operand(1)?)? == -0.5 => self.guarded(call.operand(0)?),
            _ => None,
        }
    }

    /// `v + ε`; without the addition ε is zero.
    fn guarded(&mut self, value: ValueId) -> Option<(Mean, f64)> {
        let sum = self.attempt(|r| {
            let add = r.call(value, &[OpKind::Add])?;
            let (mean, epsilon) = r.either(&add, Self::mean)?;
            let epsilon = number(r.graph, epsilon)?;
            // The attribute is of single precision.
            ((0.0..1.0).contains(&epsilon)).then_some((mean, epsilon))
        });
        sum.or_else(|| self.mean(value).map(|mean| (mean, 0.0)))
    }

    /// A mean over axes, of squares where it can be read so.
    fn mean(&mut self, value: ValueId) -> Option<Mean> {
        let mut mean = self.plain_mean(value)?;
        if !mean.squared
            && let Some(of) = self.attempt(|r| r.squared(mean.of))
        {
            mean = Mean { of, squared: true, ..mean };
        }
        Some(mean)
    }

    fn plain_mean(&mut self, value: ValueId) -> Option<Mean> {
        let call = self.call(value, &[OpKind::ReduceMean, OpKind::Div, OpKind::Mul])?;
        if call.node().op == OpKind::ReduceMean {
            return KEEPDIMS.of(call.node()).then_some(Mean {
                of: call.operand(0)?,
                axes: reduced(&call)?,
                squared: false,
            });
        }
        // A sum divided by how many there are.
        let (sum, count) = match call.node().op {
            OpKind::Div => (self.sum(call.operand(0)?)?, number(self.graph, call.operand(1)?)?),
            _ => {
                let (sum, factor) = self.either(&call, Self::sum)?;
                (sum, 1.0 / number(self.graph, factor)?)
            }
        };
        let dims = self.graph.value(sum.of).ty.shape().dims()?;
        let mut sizes = sum.axes.iter().map(|&axis| dims.get(axis)?.known());
        let wanted = sizes.try_fold(1i64, |n, d| n.checked_mul(d?))?;
        near(count, wanted as f64, DType::F32).then_some(sum)
    }

    fn sum(&mut self, value: ValueId) -> Option<Mean> {
        let call = self.call(value, &[OpKind::ReduceSum, OpKind::ReduceSumSquare])?;
        let squared = call.node().op == OpKind::ReduceSumSquare;
        KEEPDIMS.of(call.node()).then_some(Mean { of: call.operand(0)?, axes: reduced(&call)?, squared })
    }

    /// What `value` is the square of.
    fn squared(&mut self, value: ValueId) -> Option<ValueId> {
        let call = self.call(value, &[OpKind::Pow, OpKind::Mul])?;
        let (a, b) = (call.operand(0)?, call.operand(1)?);
        let square = if call.node().op == OpKind::Pow { number(self.graph, b)? == 2.0 } else { a == b };
        square.then_some(a)
    }

    /// `x` and the axes, where `value` is `x` minus its mean over them.
    fn centred(&mut self, value: ValueId) -> Option<(ValueId, Vec<usize>)> {
        let sub = self.call(value, &[OpKind::Sub])?;
        let mean = self.plain_mean(sub.operand(1)?)?;
        (!mean.squared && mean.of == sub.operand(0)?).then_some((mean.of, mean.axes))
    }
}

/// The number that a constant of one element and at most one dimension is: it widens nothing that keeps its axes.
fn number(graph: &Graph, value: ValueId) -> Option<f64> {
    graph.constant(value).filter(|t| t.len() == 1 && t.rank() <= 1)?.item()
}
