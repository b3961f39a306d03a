//! How a call looks when its operands and results have their axes in another order.

use crate::ir::{Attr, Data, Key, OpKind, Tensor};
use crate::ops::slice::AXIS;
use crate::ops::{CallView, Channels, def, is_deterministic, normalize_axis};
use crate::passes::place_transposes::orders::{inverse, widened, without};
use crate::rewrite::Exactness;
use crate::rules::support::axes::{normalize_each, operand, spelled};
use crate::rules::support::layout::{innermost, outermost, transposed};
use crate::rules::support::numbers::SMALL;
use crate::rules::support::readers::only_read_by;
use crate::rules::support::reductions::{KEEPDIMS, REDUCTIONS, reduced};

/// An operand or a result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Port {
    Operand(usize),
    Result(usize),
}

/// A call that computes the same on tensors whose axes stand in another order.
pub(super) struct Turned {
    /// The order of each operand and result that has another.
    pub(super) ports: Vec<(Port, Vec<usize>)>,
    /// Attributes that name axes.
    pub(super) attrs: Vec<(&'static str, Attr)>,
    /// Constant operands that name axes, or hold elements in the order of their axes.
    pub(super) constants: Vec<(usize, Tensor)>,
    /// Bytes of these that the file would hold beside what it holds.
    pub(super) growth: usize,
    /// How close the results stay.
    pub(super) exactness: Exactness,
}

impl Turned {
    fn new(ports: impl IntoIterator<Item = (Port, Vec<usize>)>) -> Turned {
        Turned {
            ports: ports.into_iter().filter(|(_, order)| !order.is_sorted()).collect(),
            attrs: Vec::new(),
            constants: Vec::new(),
            growth: 0,
            exactness: Exactness::Bitwise,
        }
    }

    fn with_attr(mut self, name: &'static str, axis: usize) -> Turned {
        self.attrs.push((name, Attr::Int(i64::try_from(axis).unwrap_or(i64::MAX))));
        self
    }

    fn with_constant(mut self, slot: usize, tensor: Tensor) -> Turned {
        self.constants.push((slot, tensor));
        self
    }

    fn rounding(mut self) -> Turned {
        self.exactness = Exactness::Rounding;
        self
    }

    /// The order of `port`, if it is another.
    pub(super) fn order(&self, port: Port) -> Option<&Vec<usize>> {
        self.ports.iter().find(|(p, _)| *p == port).map(|(_, order)| order)
    }
}

const LAST_AXIS: Key<i64> = Key::new("axis", -1);

/// Before this opset these took all axes from theirs on together.
const ONE_AXIS_SINCE: i64 = 13;

/// The call with `port` in `order`, to be written in `opset`; `None` where it does not compute the same then, or is not
/// known to.
pub(super) fn turned(call: &CallView<'_>, port: Port, order: &[usize], opset: i64) -> Option<Turned> {
    let op = call.node().op;
    if !is_deterministic(call.graph(), call.id()) {
        return None;
    }
    if op == OpKind::PRelu || (def(op).channels)(call) == Channels::Tied {
        return element_wise(call, order);
    }
    match op {
        OpKind::Concat => {
            let ports = (0..call.operand_count()).map(Port::Operand).chain([Port::Result(0)]);
            let known = (0..call.operand_count()).all(|slot| call.rank(slot) == Some(order.len()));
            let place = place_of(AXIS.of(call.node()), order)?;
            let ports: Vec<_> = ports.map(|port| (port, order.to_vec())).collect();
            let turned = Turned::new(ports).with_attr(AXIS.name, place);
            if known { constants_too(call, turned, order) } else { None }
        }
        OpKind::Split => {
            let results = (0..call.graph().results(call.id()).len()).map(Port::Result);
            let ports: Vec<_> = results.chain([Port::Operand(0)]).map(|port| (port, order.to_vec())).collect();
            Some(Turned::new(ports).with_attr(AXIS.name, place_of(AXIS.of(call.node()), order)?))
        }
        OpKind::Slice => {
            let count = call.known_ints(1)?.len();
            let axes = if call.has(3) { call.known_ints(3)? } else { (0..).take(count).collect() };
            Some(same_rank(order).with_constant(3, places_of(&axes, order)?))
        }
        OpKind::Pad if call.has(3) => Some(same_rank(order).with_constant(3, places_of(&call.known_ints(3)?, order)?)),
        OpKind::Pad => {
            let pads = call.known_ints(1).filter(|pads| pads.len() == 2 * order.len())?;
            let (before, after) = pads.split_at(order.len());
            let pads: Vec<i64> = [before, after].iter().flat_map(|side| order.iter().map(|&axis| side[axis])).collect();
            Some(same_rank(order).with_constant(1, Tensor::vector(&pads)))
        }
        OpKind::Tile => {
            let repeats = call.known_ints(1).filter(|repeats| repeats.len() == order.len())?;
            let repeats: Vec<i64> = order.iter().map(|&axis| repeats[axis]).collect();
            Some(same_rank(order).with_constant(1, Tensor::vector(&repeats)))
        }
        OpKind::Softmax | OpKind::LogSoftmax | OpKind::LpNormalization | OpKind::Hardmax => {
            let place = place_of(LAST_AXIS.of(call.node()), order)?;
            if opset < ONE_AXIS_SINCE && place + 1 != order.len() {
                return None;
            }
            Some(same_rank(order).with_attr(LAST_AXIS.name, place).rounding())
        }
        OpKind::CumSum => {
            let axis = match &call.known_ints(1)?[..] {
                &[axis] => place_of(axis, order)?,
                _ => return None,
            };
            let axis = i64::try_from(axis).ok()?;
            Some(same_rank(order).with_constant(1, Tensor::scalar(axis)))
        }
        OpKind::LayerNormalization => {
            // What is normalized has to stay last.
            let first = normalize_axis(LAST_AXIS.of(call.node()), order.len())?;
            let stays = (first..order.len()).all(|axis| order[axis] == axis);
            let alone = call.graph().results(call.id()).len() == 1;
            (stays && alone).then(|| same_rank(order).with_attr(LAST_AXIS.name, first).rounding())
        }
        OpKind::MatMul => {
            let (a, b) = (call.rank(0)?, call.rank(1)?);
            let rank = order.len();
            let stays = |count: usize| (rank.saturating_sub(count)..rank).all(|axis| order[axis] == axis);
            // Rows of a table times one matrix, or as many matrices times as many.
            let ports = match (a == rank, b) {
                (true, 2) if rank > 2 && stays(1) && call.constant(1).is_some() => vec![Port::Operand(0)],
                (true, b) if b == rank && rank > 2 && stays(2) && call.constant(1).is_none() => {
                    vec![Port::Operand(0), Port::Operand(1)]
                }
                _ => return None,
            };
            let ports = ports.into_iter().chain([Port::Result(0)]).map(|port| (port, order.to_vec()));
            let turned = Turned::new(ports).rounding();
            call.constant(0).is_none().then_some(turned)
        }
        OpKind::ArgMax | OpKind::ArgMin if port == Port::Operand(0) => {
            let axis = normalize_axis(AXIS.of(call.node()), order.len())?;
            Some(taken(call, order, &[axis]).with_attr(AXIS.name, inverse(order)[axis]))
        }
        op if REDUCTIONS.contains(&op) && port == Port::Operand(0) => {
            let axes = reduced(call).filter(|axes| !axes.is_empty())?;
            let places: Vec<usize> = axes.iter().map(|&axis| inverse(order)[axis]).collect();
            Some(taken(call, order, &axes).with_constant(1, sorted(places)).rounding())
        }
        op if REDUCTIONS.contains(&op) && KEEPDIMS.of(call.node()) => {
            let axes = reduced(call).filter(|axes| !axes.is_empty())?;
            let places: Vec<usize> = axes.iter().map(|&axis| inverse(order)[axis]).collect();
            Some(same_rank(order).with_constant(1, sorted(places)).rounding())
        }
        OpKind::Gather if port == Port::Operand(0) => {
            let axis = normalize_axis(AXIS.of(call.node()), order.len())?;
            let result = match call.rank(1)? {
                0 => without(order, |gone| gone == axis),
                more => widened(order, axis, more - 1),
            };
            let turned = Turned::new([(port, order.to_vec()), (Port::Result(0), result)]);
            Some(turned.with_attr(AXIS.name, inverse(order)[axis]))
        }
        OpKind::Unsqueeze => {
            let rank = call.rank(0)? + call.known_ints(1)?.len();
            let new = normalize_each(&call.known_ints(1)?, rank)?;
            // An axis of size 1 may stand anywhere: from above it stays where it is.
            let result = match port {
                Port::Operand(_) => with_these_in_place(order, rank, &new),
                Port::Result(_) => order.to_vec(),
            };
            let from = without(&result, |axis| new.contains(&axis));
            let places: Vec<usize> = new.iter().map(|&axis| inverse(&result)[axis]).collect();
            let turned = Turned::new([(Port::Operand(0), from), (Port::Result(0), result)]);
            Some(turned.with_constant(1, sorted(places)))
        }
        OpKind::Squeeze => {
            let rank = call.rank(0)?;
            let gone = normalize_each(&call.known_ints(1)?, rank)?;
            let from = match port {
                Port::Operand(_) => order.to_vec(),
                Port::Result(_) => with_these_in_place(order, rank, &gone),
            };
            let result = without(&from, |axis| gone.contains(&axis));
            let places: Vec<usize> = gone.iter().map(|&axis| inverse(&from)[axis]).collect();
            let turned = Turned::new([(Port::Operand(0), from), (Port::Result(0), result)]);
            Some(turned.with_constant(1, sorted(places)))
        }
        OpKind::GlobalAveragePool | OpKind::GlobalMaxPool if order.starts_with(&[0, 1]) => {
            Some(same_rank(order).rounding())
        }
        OpKind::LRN | OpKind::InstanceNormalization | OpKind::BatchNormalization if order.starts_with(&[0, 1]) => {
            let alone = call.graph().results(call.id()).len() == 1;
            alone.then(|| same_rank(order).rounding())
        }
        _ => None,
    }
}

fn same_rank(order: &[usize]) -> Turned {
    Turned::new([(Port::Operand(0), order.to_vec()), (Port::Result(0), order.to_vec())])
}

/// A call that takes `axes` of its operand together.
fn taken(call: &CallView<'_>, order: &[usize], axes: &[usize]) -> Turned {
    let result = match KEEPDIMS.of(call.node()) {
        true => order.to_vec(),
        false => without(order, |axis| axes.contains(&axis)),
    };
    Turned::new([(Port::Operand(0), order.to_vec()), (Port::Result(0), result)])
}

/// `order` of the axes that are not `these`, and each of `these` where it is.
fn with_these_in_place(order: &[usize], rank: usize, these: &[usize]) -> Vec<usize> {
    let others: Vec<usize> = (0..rank).filter(|axis| !these.contains(axis)).collect();
    let mut next = order.iter().map(|&axis| others[axis]);
    (0..rank).map(|axis| if these.contains(&axis) { axis } else { next.next().unwrap_or(axis) }).collect()
}

fn sorted(mut axes: Vec<usize>) -> Tensor {
    axes.sort_unstable();
    operand(&axes)
}

/// Where `axis` stands in `order`.
fn place_of(axis: i64, order: &[usize]) -> Option<usize> {
    let axis = normalize_axis(axis, order.len())?;
    order.iter().position(|&a| a == axis)
}

fn places_of(axes: &[i64], order: &[usize]) -> Option<Tensor> {
    let places: Option<Vec<usize>> = axes.iter().map(|&axis| place_of(axis, order)).collect();
    Some(Tensor::vector(&spelled(&places?)))
}

/// An operator that works element by element: every operand of full rank is in the order of the result, and smaller
/// constants are.
fn element_wise(call: &CallView<'_>, order: &[usize]) -> Option<Turned> {
    if call.graph().results(call.id()).len() != 1 {
        return None;
    }
    let mut ports = vec![(Port::Result(0), order.to_vec())];
    for slot in (0..call.operand_count()).filter(|&slot| call.has(slot) && call.constant(slot).is_none()) {
        let dims = call.dims(slot)?;
        // One element has the same order, whichever that is.
        if dims.iter().all(|d| d.known() == Some(1)) && dims.len() < order.len() {
            continue;
        }
        if dims.len() != order.len() {
            return None;
        }
        ports.push((Port::Operand(slot), order.to_vec()));
    }
    constants_too(call, Turned::new(ports), order)
}

/// With the constant operands of the call in this order, too.
fn constants_too(call: &CallView<'_>, mut turned: Turned, order: &[usize]) -> Option<Turned> {
    turned.ports.retain(|(port, _)| match port {
        Port::Operand(slot) => call.constant(*slot).is_none(),
        Port::Result(_) => true,
    });
    for slot in 0..call.operand_count() {
        let Some(constant) = call.constant(slot) else { continue };
        let joined = call.node().op == OpKind::Concat;
        if constant.len() == 1 && !joined {
            if constant.rank() > order.len() {
                return None;
            }
            continue;
        }
        if constant.stored_bytes() > LARGEST {
            return None;
        }
        let wide = outermost(constant, order.len())?;
        let uniform = matches!(wide.data(), Data::Splat(_));
        let dims: Vec<usize> = order.iter().map(|&axis| wide.dims()[axis]).collect();
        let other = if uniform { wide.reshaped(&dims).ok() } else { transposed(&wide, order) };
        let other = if joined { other? } else { innermost(&other?) };
        if other == *constant {
            continue;
        }
        let own = call.operand(slot).is_some_and(|v| only_read_by(call.graph(), v, call.id()));
        if !own {
            turned.growth += constant.stored_bytes();
        }
        if !own && constant.stored_bytes() > SMALL {
            return None;
        }
        turned.constants.push((slot, other));
    }
    Some(turned)
}

/// Larger constants stay as they are.
const LARGEST: usize = 1 << 20;
