//! Tensors whose channels can be measured in another unit each without the function changing.
//!
//! Divide channel `c` of a tensor by `s[c]`: what makes the tensor has to make it that much smaller, what reads it has
//! to take it that much larger, and what passes it on ties the next tensor to the same units. A class is closed under
//! that: its members are all tensors tied to one another, its makers are weights and parameters that are divided, its
//! readers are weights that are multiplied. What does not commute with a positive factor per channel, or shows the
//! tensor to the outside, rules the class out.

use rustc_hash::FxHashSet;

use crate::ir::{DType, Graph, Key, NodeId, OpKind, ScopeId, User, ValueId};
use crate::ops::{CallView, Channels, def};

/// Tensors that share the unit of each of their channels.
#[derive(Clone, Debug)]
pub(super) struct Class {
    /// How many channels there are.
    pub(super) size: usize,
    /// The tensors and the axis of their channels.
    pub(super) members: Vec<(ValueId, usize)>,
    /// Constants that are divided by a channel's factor.
    pub(super) makers: Vec<Part>,
    /// Constants that are multiplied by it.
    pub(super) readers: Vec<Part>,
    /// Those of them that are weights of layers.
    pub(super) layers: Vec<Layer>,
    /// Upper bounds of `Clip`, with what they bound.
    pub(super) ceilings: Vec<(f64, ValueId)>,
    /// Whether a maker is a parameter of a normalization or a product by channel, rather than a layer's weight.
    pub(super) is_parametric: bool,
}

/// A constant operand, and where a class's channels are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) node: NodeId,
    pub(super) slot: usize,
    pub(super) place: Place,
}

/// A layer that reads a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    /// Its weight.
    pub(super) weight: Part,
    /// The weight's axis of outputs.
    pub(super) outputs: usize,
    /// What it reads, and the axis of channels.
    pub(super) input: (ValueId, usize),
}

/// Where channels are in a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Along this axis, all of them.
    Axis(usize),
    /// A weight's: along `axis`, group by group where `other`, the axis of the layer's other channels, counts them all.
    Grouped { axis: usize, other: usize, groups: usize },
}

/// The class of `value`'s channels along `axis`. `None` where they are tied to something that cannot follow.
pub(super) fn class(graph: &Graph, value: ValueId, axis: usize) -> Option<Class> {
    let size = size_of(graph, value, axis)?;
    let mut found = Class {
        size,
        members: Vec::new(),
        makers: Vec::new(),
        readers: Vec::new(),
        layers: Vec::new(),
        ceilings: Vec::new(),
        is_parametric: false,
    };
    let mut seen: FxHashSet<ValueId> = FxHashSet::default();
    let mut passed: FxHashSet<NodeId> = FxHashSet::default();
    let mut next = vec![(value, axis)];
    while let Some((value, axis)) = next.pop() {
        if !seen.insert(value) {
            if !found.members.contains(&(value, axis)) {
                return None;
            }
            continue;
        }
        if size_of(graph, value, axis)? != size || graph.value(value).ty.dtype() != Some(DType::F32) {
            return None;
        }
        found.members.push((value, axis));
        let (maker, 0) = graph.producer(value)? else { return None };
        if !found.is_made(graph, maker, axis)? && passed.insert(maker) {
            next.extend(found.passes(graph, maker, axis)?);
        }
        for &user in graph.value(value).users() {
            let User::Node(node, slot) = user else { return None };
            let call = CallView::new(graph, node);
            if call.node().scope() != ScopeId::MAIN {
                return None;
            }
            if matches!(call.node().op, OpKind::Shape | OpKind::Size) || found.is_read(&call, slot, axis)? {
                continue;
            }
            let result_axis = axis_behind(&call, slot, axis)?;
            if passed.insert(node) {
                next.extend(found.passes(graph, node, result_axis)?);
            }
        }
    }
    (!found.layers.is_empty() && !found.makers.is_empty()).then_some(found)
}

impl Class {
    /// Whether `node`, whose result 0 is a member, is where the class begins; `None` where it can be no part of one.
    fn is_made(&mut self, graph: &Graph, node: NodeId, axis: usize) -> Option<bool> {
        let call = CallView::new(graph, node);
        let op = call.node().op;
        match channels_of(&call) {
            Channels::Mixed { weight, out_axis, in_axis, groups, output, bias, .. } if is_layer(op) => {
                if output != axis {
                    return None;
                }
                let place = Place::Grouped { axis: out_axis, other: in_axis, groups };
                // A transposed convolution counts a group's outputs only.
                let place = if op == OpKind::ConvTranspose { place } else { Place::Axis(out_axis) };
                self.add(graph, node, weight, place)?;
                if let Some(bias) = bias {
                    let last = call.rank(bias)?.checked_sub(1)?;
                    self.add(graph, node, bias, Place::Axis(last))?;
                }
                Some(true)
            }
            Channels::Normalized { axes, groups: 1, parameters } if axes[..] == [axis] => {
                if !matches!(op, OpKind::LayerNormalization | OpKind::RMSNormalization) || !call.has(1) {
                    return None;
                }
                for slot in parameters.into_iter().filter(|&slot| call.has(slot)) {
                    let last = call.rank(slot)?.checked_sub(1)?;
                    self.add(graph, node, slot, Place::Axis(last))?;
                }
                self.is_parametric = true;
                Some(true)
            }
            _ if op == OpKind::Mul => match factor(&call, axis) {
                Some((slot, place)) => {
                    self.add(graph, node, slot, place)?;
                    self.is_parametric = true;
                    Some(true)
                }
                None => None,
            },
            _ => Some(false),
        }
    }

    /// Whether `call`, whose operand `slot` is a member, is where the class ends; `None` where it can be no part of one.
    fn is_read(&mut self, call: &CallView<'_>, slot: usize, axis: usize) -> Option<bool> {
        let op = call.node().op;
        match channels_of(call) {
            Channels::Mixed { weight, out_axis, in_axis, groups, input, .. } if is_layer(op) => {
                if input != (slot, axis) {
                    return None;
                }
                let place = Place::Grouped { axis: in_axis, other: out_axis, groups };
                let place = if op == OpKind::ConvTranspose { Place::Axis(in_axis) } else { place };
                let part = Part { node: call.id(), slot: weight, place };
                self.fits(call.graph(), part)?;
                self.readers.push(part);
                self.layers.push(Layer { weight: part, outputs: out_axis, input: (call.operand(slot)?, axis) });
                Some(true)
            }
            _ if op == OpKind::Mul => {
                let (other, place) = factor(call, call.result_dims(0)?.len() - call.rank(slot)? + axis)?;
                let part = Part { node: call.id(), slot: other, place };
                self.fits(call.graph(), part)?;
                self.readers.push(part);
                Some(true)
            }
            _ => Some(false),
        }
    }

    /// What `node`, which commutes with factors along `axis` of its result 0, ties together.
    fn passes(&mut self, graph: &Graph, node: NodeId, axis: usize) -> Option<Vec<(ValueId, usize)>> {
        const SIDE: Key<&str> = Key::new("mode", "constant");
        const PLACES: Key<&str> = Key::new("coordinate_transformation_mode", "half_pixel");
        let call = CallView::new(graph, node);
        let mut tied = vec![(graph.result(node, 0)?, axis)];
        let rank = call.result_dims(0)?.len();
        match call.node().op {
            OpKind::Relu | OpKind::LeakyRelu | OpKind::Identity | OpKind::Neg | OpKind::Abs => {
                tied.push((call.operand(0)?, axis));
            }
            OpKind::PRelu => {
                call.constant(1)?;
                tied.push((call.operand(0)?, axis));
            }
            OpKind::Clip => {
                let low = if call.has(1) { call.constant(1)?.item()? } else { f64::NEG_INFINITY };
                let high = if call.has(2) { call.constant(2)?.item()? } else { f64::INFINITY };
                // Another lower bound than none and zero would have to follow each channel.
                if !(low == 0.0 || low == f64::NEG_INFINITY) || high <= 0.0 || high.is_nan() {
                    return None;
                }
                if high.is_finite() {
                    self.ceilings.push((high, graph.result(node, 0)?));
                }
                tied.push((call.operand(0)?, axis));
            }
            OpKind::Add | OpKind::Sub => {
                for slot in 0..2 {
                    let operand_rank = call.rank(slot)?;
                    let axis = (axis + operand_rank).checked_sub(rank);
                    if call.constant(slot).is_some() {
                        self.add(graph, node, slot, Place::Axis(axis?))?;
                    } else {
                        tied.push((call.operand(slot)?, axis?));
                    }
                }
            }
            OpKind::Concat => {
                let Channels::Joined { axis: joined } = channels_of(&call) else { return None };
                if joined == axis {
                    return None;
                }
                for slot in 0..call.operand_count() {
                    tied.push((call.operand(slot)?, axis));
                }
            }
            op => {
                let is_padding = op == OpKind::Pad && (SIDE.of(call.node()) != "constant" || !call.has(2));
                let is_resizing = op == OpKind::Resize && PLACES.of(call.node()) != "tf_crop_and_resize";
                if !is_homogeneous(op) && !is_padding && !is_resizing {
                    return None;
                }
                let Channels::Moved(axes) = channels_of(&call) else { return None };
                tied.push((call.operand(0)?, (*axes.get(axis)?)?));
            }
        }
        Some(tied)
    }

    fn add(&mut self, graph: &Graph, node: NodeId, slot: usize, place: Place) -> Option<()> {
        let part = Part { node, slot, place };
        self.fits(graph, part)?;
        self.makers.push(part);
        Some(())
    }

    /// Whether a constant has an element, or slice, for each channel.
    fn fits(&self, graph: &Graph, part: Part) -> Option<()> {
        let tensor = graph.constant(graph.operand(part.node, part.slot)?)?;
        let size = match part.place {
            Place::Axis(axis) => *tensor.dims().get(axis)?,
            Place::Grouped { axis, groups, .. } => tensor.dims().get(axis)?.checked_mul(groups)?,
        };
        (tensor.dtype() == DType::F32 && size == self.size).then_some(())
    }
}

fn channels_of(call: &CallView<'_>) -> Channels {
    (def(call.node().op).channels)(call)
}

/// Layers whose weights can take factors: they are linear and have no activation inside.
fn is_layer(op: OpKind) -> bool {
    matches!(op, OpKind::Conv | OpKind::ConvTranspose | OpKind::Gemm | OpKind::MatMul)
}

/// Data movement, and reductions to which a positive factor of all elements is the same before or after.
fn is_homogeneous(op: OpKind) -> bool {
    matches!(
        op,
        OpKind::MaxPool
            | OpKind::AveragePool
            | OpKind::GlobalMaxPool
            | OpKind::GlobalAveragePool
            | OpKind::ReduceMean
            | OpKind::ReduceMax
            | OpKind::ReduceMin
            | OpKind::ReduceSum
            | OpKind::Reshape
            | OpKind::Flatten
            | OpKind::Squeeze
            | OpKind::Unsqueeze
            | OpKind::Transpose
            | OpKind::Slice
    )
}

/// The constant operand of a product that has one element for each index along `axis` of its result.
fn factor(call: &CallView<'_>, axis: usize) -> Option<(usize, Place)> {
    let dims = call.result_dims(0)?;
    let slot = (0..2).find(|&slot| call.constant(slot).is_some())?;
    let constant = call.constant(slot)?;
    let axis_there = (axis + constant.rank()).checked_sub(dims.len())?;
    let spans = constant.dims().iter().enumerate().all(|(at, &n)| at == axis_there || n == 1);
    // The other operand keeps its shape.
    let same_rank = call.rank(1 - slot)? == dims.len();
    (spans && same_rank).then_some((slot, Place::Axis(axis_there)))
}

/// The axis of result 0 where `axis` of operand `slot` goes.
fn axis_behind(call: &CallView<'_>, slot: usize, axis: usize) -> Option<usize> {
    match channels_of(call) {
        Channels::Moved(axes) if slot == 0 => axes.iter().position(|&from| from == Some(axis)),
        Channels::Tied => (call.result_dims(0)?.len() + axis).checked_sub(call.rank(slot)?),
        Channels::Joined { .. } => Some(axis),
        _ => None,
    }
}

fn size_of(graph: &Graph, value: ValueId, axis: usize) -> Option<usize> {
    usize::try_from(graph.value(value).ty.shape().dims()?.get(axis)?.known()?).ok().filter(|&n| n > 0)
}

#[cfg(all(test, feature = "tract"))]
mod tests;
