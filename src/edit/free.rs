//! A size that a file fixes becomes open, and what exporters computed from it is computed in the run again.
//!
//! What depends on constants alone is folded first. Declared sizes of results are forgotten and inferred anew from the open size. Where a constant contradicts it, the
//! constant was computed from the size when the model was exported, and is replaced:
//!
//! * a `Reshape` target, by one that copies or infers the size: elements keep their order, so the place of the open
//!   size among the others tells which entry of the target it went into;
//! * an `Expand` target, by one that keeps the operand's size;
//! * sizes of a `Resize`, by those of the operand;
//! * an operand of `Concat`, `GridSample` or a recurrent operator that has size 1 where the others have the open size,
//!   by one that is expanded to it;
//! * a constant with one slice per sample, all the same, by one slice that is broadcast.
//!
//! What none of this explains is refused, naming the node.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::EditFault;
use super::target::{Open, reshaped};
use crate::exec::exact;
use crate::ir::{Atom, Graph, Int, Key, NodeId, OpKind, Origin, ScopeId, Tensor, Type, ValueId};
use crate::ops::join::replaced;
use crate::ops::slice::AXIS;
use crate::ops::target::target_of;
use crate::ops::{CallView, infer_node, is_deterministic};
use crate::passes::{infer_shapes, known_tensor};

/// Axes of inputs, all of one size, that are to be open.
pub(super) struct Free {
    /// The inputs and their axes.
    pub(super) axes: Vec<(ValueId, usize)>,
    /// The size that they have.
    pub(super) old: i64,
    /// What to call it when it is open.
    pub(super) name: Arc<str>,
}

/// Rounds of inference and repair; each follows what the last one repaired in bodies.
const MAX_ROUNDS: usize = 16;

/// Bytes of results that are folded.
const MAX_FOLDED: usize = 1 << 16;

/// Open these sizes. Returns how many constants had to be replaced.
///
/// # Errors
/// When something in the graph holds on to the old size and does not tell how it comes by it.
pub(super) fn free(graph: &mut Graph, free: &Free) -> Result<usize, EditFault> {
    let mut freeing = Freeing::new(graph, free);
    freeing.forget();
    for _ in 0..MAX_ROUNDS {
        if !freeing.round()? {
            break;
        }
    }
    freeing.reset();
    infer_shapes(freeing.graph);
    freeing.declare();
    Ok(freeing.repairs)
}

struct Freeing<'g> {
    graph: &'g mut Graph,
    open: Open,
    /// An input that has the size, and the axis.
    at: (ValueId, usize),
    /// What is known of each value whatever the size is.
    base: FxHashMap<ValueId, Type>,
    /// How much of an axis, a multiple of the open size, lies within it: 64 where `[12·n, 64]` was `[n, 12, 64]`.
    inner: FxHashMap<ValueId, (usize, Int)>,
    /// The size as a vector of one element, once it is needed.
    size: Option<ValueId>,
    repairs: usize,
}

impl<'g> Freeing<'g> {
    fn new(graph: &'g mut Graph, free: &Free) -> Freeing<'g> {
        for &(input, axis) in &free.axes {
            let ty = &mut graph.value_mut(input).ty;
            let open = Int::named(Arc::clone(&free.name));
            let only = |at: usize| at == axis;
            *ty = with_sizes(ty, &|at, size| if only(at) { open.clone() } else { size.clone() });
        }
        let open = Open { atom: Atom::Named(Arc::clone(&free.name)), old: free.old };
        let at = free.axes[0];
        Freeing { graph, open, at, base: FxHashMap::default(), inner: FxHashMap::default(), size: None, repairs: 0 }
    }

    /// Forget every size of what is computed.
    fn forget(&mut self) {
        let values: Vec<ValueId> = self.graph.values().collect();
        for value in values {
            let v = self.graph.value(value);
            let is_given =
                v.origin() == Origin::Constant || (v.origin() == Origin::Input && v.scope() == ScopeId::MAIN);
            if !is_given {
                let ty = replaced(&v.ty, &|_| true, &|axis| value.measured(axis));
                self.base.insert(value, ty);
            }
        }
        for scope in self.graph.scopes().collect::<Vec<_>>() {
            for index in 0..self.graph.scope(scope).outputs().len() {
                let value = self.graph.scope(scope).outputs()[index].value();
                let output = self.graph.output_mut(scope, index);
                output.declared = replaced(&output.declared, &|_| true, &|axis| value.measured(axis));
            }
        }
        self.reset();
    }

    fn reset(&mut self) {
        for (&value, ty) in &self.base {
            if self.graph.has_value(value) {
                let v = self.graph.value_mut(value);
                (v.ty, v.content) = (ty.clone(), None);
            }
        }
    }

    /// Outputs are declared as what they are now.
    fn declare(&mut self) {
        for scope in self.graph.scopes().collect::<Vec<_>>() {
            for index in 0..self.graph.scope(scope).outputs().len() {
                let value = self.graph.scope(scope).outputs()[index].value();
                let mut ty = self.graph.value(value).ty.clone();
                ty.refine(&self.graph.scope(scope).outputs()[index].declared);
                self.graph.output_mut(scope, index).declared = ty;
            }
        }
    }

    /// Infer everything, then repair node by node. Says whether anything was repaired.
    fn round(&mut self) -> Result<bool, EditFault> {
        self.reset();
        infer_shapes(self.graph);
        let mut changed = false;
        for scope in self.graph.scopes().collect::<Vec<_>>() {
            for node in self.graph.schedule(scope) {
                // What runs a body was inferred with it; the next round sees what is repaired inside.
                if !self.graph.has_node(node) {
                    continue;
                }
                let has_body = self.graph.node(node).bodies().next().is_some();
                if changed && !has_body {
                    self.infer(node);
                }
                if self.repair(node)? {
                    (self.repairs, changed) = (self.repairs + 1, true);
                    self.infer(node);
                }
                self.inherit(node);
                changed |= !has_body && self.fold(node);
            }
        }
        Ok(changed)
    }

    /// Small results of shape arithmetic that do not depend on the size become constants: paddings and axes that other
    /// sizes follow from are often computed. Everything before `node` has been repaired.
    fn fold(&mut self, node: NodeId) -> bool {
        let call = CallView::new(self.graph, node);
        if call.operand_count() == 0 || !is_deterministic(self.graph, node) {
            return false;
        }
        let operands: Option<Vec<Option<Tensor>>> = self
            .graph
            .operands(node)
            .map(|v| v.map(|v| self.graph.constant(v).cloned().ok_or(())).transpose().ok())
            .collect();
        let operands = operands.filter(|_| exact::is_quick(self.graph.node(node).op));
        let evaluated = operands.and_then(|operands| exact::evaluate(&call, &operands, MAX_FOLDED).ok());
        let evaluated = evaluated.map(|folded| folded.results).unwrap_or_default();
        let mut folded = false;
        for slot in 0..self.graph.results(node).len() {
            let Some(value) = self.graph.result(node, slot) else { continue };
            let tensor = known_tensor(self.graph, value).or_else(|| evaluated.get(slot).cloned());
            let Some(tensor) = tensor.filter(|_| !self.graph.value(value).users().is_empty()) else { continue };
            if self.graph.is_output(value) {
                continue;
            }
            let constant = self.graph.add_constant(self.graph.node(node).scope(), "", tensor);
            self.graph.replace(value, constant);
            folded = true;
        }
        if folded {
            self.graph.prune_dead(node, |_| {});
        }
        folded
    }

    fn infer(&mut self, node: NodeId) {
        for value in self.graph.results(node).to_vec().into_iter().flatten() {
            let base = self.base.get(&value).cloned().unwrap_or_default();
            let v = self.graph.value_mut(value);
            (v.ty, v.content) = (base, None);
        }
        infer_node(self.graph, node);
    }

    /// Results have their sizes from operands, and these the order of what is in them.
    fn inherit(&mut self, node: NodeId) {
        for value in self.graph.results(node).to_vec().into_iter().flatten() {
            if self.inner.contains_key(&value) {
                continue;
            }
            let Some(dims) = self.graph.value(value).ty.shape().dims() else { continue };
            let Some(axis) = dims.iter().position(|d| self.open.is_in(d)) else { continue };
            let found = self.graph.operands(node).flatten().find_map(|operand| {
                let (at, inner) = self.inner.get(&operand)?;
                let same = self.graph.value(operand).ty.shape().dims()?.get(*at)? == &dims[axis];
                same.then(|| inner.clone())
            });
            if let Some(inner) = found {
                self.inner.insert(value, (axis, inner));
            }
        }
    }

    fn fault(&self, node: NodeId, why: impl Into<String>) -> EditFault {
        let node = format!("{} \"{}\"", self.graph.node(node).op_name(), self.graph.label(node));
        EditFault::Fixed { size: self.open.name(), old: self.open.old, node, why: why.into() }
    }

    /// Replace what in `node` holds on to the old size. Says whether there was anything.
    fn repair(&mut self, node: NodeId) -> Result<bool, EditFault> {
        match self.graph.node(node).op {
            OpKind::Reshape => self.reshape(node),
            OpKind::Expand => self.expand(node),
            OpKind::Resize => self.resize(node),
            OpKind::Squeeze => self.squeeze(node),
            OpKind::Concat => self.concat(node),
            OpKind::GridSample => self.matching(node, 0, 0, &[(1, 0)]),
            OpKind::LSTM | OpKind::GRU | OpKind::RNN => {
                const LAYOUT: Key<i64> = Key::new("layout", 0);
                let axis = if LAYOUT.of(self.graph.node(node)) == 0 { 1 } else { 0 };
                self.matching(node, 0, axis, &[(4, 0), (5, axis), (6, axis)])
            }
            op if is_broadcasting(op) => self.broadcast(node),
            _ => Ok(false),
        }
    }

    fn reshape(&mut self, node: NodeId) -> Result<bool, EditFault> {
        const ALLOWZERO: Key<bool> = Key::new("allowzero", false);
        let call = CallView::new(self.graph, node);
        let Some(target) = call.ints(1) else { return Ok(false) };
        let Some(dims) = call.dims(0) else {
            let is_open = target.iter().any(|t| t.known() == Some(-1)) || call.constant(1).is_none();
            return match is_open {
                true => Ok(false),
                false => Err(self.fault(node, "the shape of its operand is not known")),
            };
        };
        if !dims.iter().any(|d| self.open.is_in(d)) {
            return Ok(false);
        }
        let inner = call.operand(0).and_then(|v| self.inner.get(&v));
        let wanted = reshaped(&self.open, dims, &target, ALLOWZERO.of(call.node()), inner);
        let Some((wanted, inner)) = wanted else {
            let sizes = |ints: &[Int]| ints.iter().map(Int::to_string).collect::<Vec<_>>().join(",");
            let why = format!("it makes [{}] of [{}]", sizes(&target), sizes(dims));
            return Err(self.fault(node, why));
        };
        let is_right = call.result_dims(0) == Some(&wanted[..]);
        let target = target_of(call.dims(0), &wanted);
        if let (Some(inner), Some(result)) = (inner, self.graph.result(node, 0)) {
            self.inner.insert(result, inner);
        }
        if is_right {
            return Ok(false);
        }
        let order = self.graph.node(node).order();
        let target = match target {
            Some(target) => self.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&target)),
            None => self.vector(node, &wanted, order)?,
        };
        self.graph.remove_attr(node, "allowzero");
        self.graph.set_operand(node, 1, Some(target));
        Ok(true)
    }

    fn expand(&mut self, node: NodeId) -> Result<bool, EditFault> {
        let call = CallView::new(self.graph, node);
        let (Some(dims), Some(mut target)) = (call.dims(0), call.ints(1)) else { return Ok(false) };
        let offset = target.len().checked_sub(dims.len());
        let mut changed = false;
        for (axis, dim) in dims.iter().enumerate().filter(|(_, d)| self.open.is_in(d)) {
            let Some(entry) = offset.and_then(|o| target.get_mut(o + axis)) else { continue };
            if entry.known().is_some_and(|n| n != 1) && Some(&*entry) == self.open.before(dim).as_ref() {
                *entry = Int::from(1);
                changed = true;
            } else if entry.known().is_some_and(|n| n != 1) {
                return Err(self.fault(node, format!("it makes {entry} of {dim}")));
            }
        }
        if !changed {
            return Ok(false);
        }
        let order = self.graph.node(node).order();
        let target = self.vector(node, &target, order)?;
        self.graph.set_operand(node, 1, Some(target));
        Ok(true)
    }

    fn resize(&mut self, node: NodeId) -> Result<bool, EditFault> {
        const AXES: Key<&'static [i64]> = Key::new("axes", &[]);
        let call = CallView::new(self.graph, node);
        let (Some(dims), Some(mut sizes)) = (call.dims(0), call.ints(3)) else { return Ok(false) };
        let axes = AXES.of(call.node());
        let mut changed = false;
        for (index, size) in sizes.iter_mut().enumerate() {
            let axis = match axes.get(index) {
                Some(&axis) => crate::ops::normalize_axis(axis, dims.len()),
                None => axes.is_empty().then_some(index),
            };
            let Some(dim) = axis.and_then(|a| dims.get(a)).filter(|d| self.open.is_in(d)) else { continue };
            // Another size than the operand's is what the model means to make.
            if size.known().is_some() && Some(&*size) == self.open.before(dim).as_ref() {
                *size = dim.clone();
                changed = true;
            }
        }
        if !changed {
            return Ok(false);
        }
        let order = self.graph.node(node).order();
        let sizes = self.vector(node, &sizes, order)?;
        self.graph.set_operand(node, 3, Some(sizes));
        Ok(true)
    }

    fn squeeze(&mut self, node: NodeId) -> Result<bool, EditFault> {
        let call = CallView::new(self.graph, node);
        let (Some(dims), Some(axes)) = (call.dims(0), call.known_ints(1)) else { return Ok(false) };
        let axes = axes.into_iter().filter_map(|a| crate::ops::normalize_axis(a, dims.len()));
        match axes.filter_map(|a| dims.get(a)).find(|d| self.open.is_in(d)) {
            Some(dim) => Err(self.fault(node, format!("it takes the axis of size {dim} away"))),
            None => Ok(false),
        }
    }

    /// Operands of `Concat` agree in all sizes but one.
    fn concat(&mut self, node: NodeId) -> Result<bool, EditFault> {
        let call = CallView::new(self.graph, node);
        let count = call.operand_count();
        let Some(rank) = (0..count).find_map(|slot| call.rank(slot)) else { return Ok(false) };
        let along = crate::ops::normalize_axis(AXIS.of(call.node()), rank);
        let mut changed = false;
        for axis in (0..rank).filter(|a| Some(*a) != along) {
            let call = CallView::new(self.graph, node);
            let sizes = (0..count).filter_map(|slot| call.dims(slot)?.get(axis));
            let Some(size) = sizes.into_iter().find(|d| self.open.is_in(d)).cloned() else { continue };
            for slot in 0..count {
                changed |= self.match_size(node, slot, axis, &size)?;
            }
        }
        Ok(changed)
    }

    /// The size of each of `others` (a slot and an axis) is that of operand `slot` along `axis`.
    fn matching(
        &mut self,
        node: NodeId,
        slot: usize,
        axis: usize,
        others: &[(usize, usize)],
    ) -> Result<bool, EditFault> {
        let size = CallView::new(self.graph, node).dims(slot).and_then(|d| d.get(axis)).cloned();
        let Some(size) = size.filter(|d| self.open.is_in(d)) else { return Ok(false) };
        let mut changed = false;
        for &(slot, axis) in others {
            changed |= self.match_size(node, slot, axis, &size)?;
        }
        Ok(changed)
    }

    /// Give operand `slot` this size along `axis` where it has the old one.
    fn match_size(&mut self, node: NodeId, slot: usize, axis: usize, size: &Int) -> Result<bool, EditFault> {
        let call = CallView::new(self.graph, node);
        let (Some(operand), Some(dims)) = (call.operand(slot), call.dims(slot)) else { return Ok(false) };
        let Some(has) = dims.get(axis).and_then(Int::known) else { return Ok(false) };
        if self.open.before(size).and_then(|n| n.known()) != Some(has) {
            return Err(self.fault(node, format!("operand {slot} has size {has} where another has {size}")));
        }
        let rank = dims.len();
        let one = self.single(node, slot, operand, axis, has)?;
        let order = self.graph.node(node).order();
        let target: Vec<Int> = (0..rank).map(|a| if a == axis { size.clone() } else { Int::from(1) }).collect();
        let target = self.vector(node, &target, order)?;
        let scope = self.graph.node(node).scope();
        let expand = self.graph.add_node(scope, OpKind::Expand, &[Some(one), Some(target)], 1, order);
        infer_node(self.graph, expand);
        let expanded = self.graph.result(expand, 0);
        self.graph.set_operand(node, slot, expanded);
        Ok(true)
    }

    /// Operands that are broadcast: a constant with a slice per sample becomes one slice.
    fn broadcast(&mut self, node: NodeId) -> Result<bool, EditFault> {
        if self.open.old == 1 {
            return Ok(false);
        }
        let call = CallView::new(self.graph, node);
        let count = call.operand_count();
        let Some(rank) = (0..count).filter_map(|s| call.rank(s)).max() else { return Ok(false) };
        // Of a product, the last two sizes are not broadcast.
        let fixed = if call.node().op == OpKind::MatMul { 2 } else { 0 };
        let mut changed = false;
        for from_end in fixed + 1..=rank {
            let call = CallView::new(self.graph, node);
            let size = |slot: usize| {
                let dims = call.dims(slot)?;
                dims.get(dims.len().checked_sub(from_end)?)
            };
            let Some(open) = (0..count).filter_map(size).find(|d| self.open.is_in(d)).cloned() else { continue };
            let Some(old) = self.open.before(&open).and_then(|n| n.known()).filter(|&n| n != 1) else { continue };
            let held: Vec<usize> = (0..count).filter(|&s| size(s).and_then(Int::known) == Some(old)).collect();
            for slot in held {
                let call = CallView::new(self.graph, node);
                let (Some(operand), Some(rank)) = (call.operand(slot), call.rank(slot)) else { continue };
                let one = self.single(node, slot, operand, rank - from_end, old)?;
                self.graph.set_operand(node, slot, Some(one));
                changed = true;
            }
        }
        Ok(changed)
    }

    /// `value` of size 1 along `axis`, where it is of size `has` and all slices are the same.
    fn single(
        &mut self,
        node: NodeId,
        slot: usize,
        value: ValueId,
        axis: usize,
        has: i64,
    ) -> Result<ValueId, EditFault> {
        if has == 1 {
            return Ok(value);
        }
        match self.graph.constant(value).and_then(|t| first_slice(t, axis)) {
            Some(slice) => Ok(self.graph.add_constant(ScopeId::MAIN, "", slice)),
            None => Err(self.fault(node, format!("operand {slot} has {has} slices of its own"))),
        }
    }

    /// These sizes as an int64 vector, computed in the run where they are not numbers.
    fn vector(&mut self, node: NodeId, sizes: &[Int], order: u32) -> Result<ValueId, EditFault> {
        if let Some(known) = sizes.iter().map(Int::known).collect::<Option<Vec<i64>>>() {
            return Ok(self.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&known)));
        }
        let open = Int::atom(self.open.atom.clone());
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            if let Some(n) = size.known() {
                parts.push(self.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&[n])));
                continue;
            }
            let times = size.exact_div(&open).and_then(|k| k.known());
            let Some(times) = times else {
                return Err(self.fault(node, format!("{size} cannot be computed from {open} alone")));
            };
            let one = self.size_vector(order);
            parts.push(match times {
                1 => one,
                times => {
                    let times = self.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&[times]));
                    self.add(OpKind::Mul, &[one, times], order)
                }
            });
        }
        match parts[..] {
            [one] => Ok(one),
            _ => {
                let joined = self.add(OpKind::Concat, &parts, order);
                if let Some((concat, _)) = self.graph.producer(joined) {
                    self.graph.set_attr(concat, "axis", 0i64.into());
                    infer_node(self.graph, concat);
                }
                Ok(joined)
            }
        }
    }

    /// The open size as a vector of one element.
    fn size_vector(&mut self, order: u32) -> ValueId {
        if let Some(size) = self.size {
            return size;
        }
        let (input, axis) = self.at;
        let shape = self.add(OpKind::Shape, &[input], order);
        let axis = i64::try_from(axis).expect("tensors have few axes");
        let axis = self.graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&[axis]));
        let size = self.add(OpKind::Gather, &[shape, axis], order);
        *self.size.insert(size)
    }

    /// A call in the main graph, where everything can read it.
    fn add(&mut self, op: OpKind, operands: &[ValueId], order: u32) -> ValueId {
        let operands: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
        let node = self.graph.add_node(ScopeId::MAIN, op, &operands, 1, order);
        infer_node(self.graph, node);
        self.graph.result(node, 0).expect("it was made with a result")
    }
}

/// `ty` with each size replaced.
fn with_sizes(ty: &Type, with: &dyn Fn(usize, &Int) -> Int) -> Type {
    let Type::Tensor { dtype, shape } = ty else { return ty.clone() };
    let dims = shape.dims().map(|dims| dims.iter().enumerate().map(|(axis, d)| with(axis, d)).collect());
    Type::Tensor { dtype: *dtype, shape: crate::ir::Shape(dims) }
}

/// Whether operands that have size 1 where another has more are repeated.
fn is_broadcasting(op: OpKind) -> bool {
    matches!(
        op,
        OpKind::Add
            | OpKind::Sub
            | OpKind::Mul
            | OpKind::Div
            | OpKind::Pow
            | OpKind::Mod
            | OpKind::And
            | OpKind::Or
            | OpKind::Xor
            | OpKind::Equal
            | OpKind::Greater
            | OpKind::GreaterOrEqual
            | OpKind::Less
            | OpKind::LessOrEqual
            | OpKind::Where
            | OpKind::Min
            | OpKind::Max
            | OpKind::Sum
            | OpKind::Mean
            | OpKind::MatMul
    )
}

/// The first slice of `tensor` along `axis`, if the others are the same.
fn first_slice(tensor: &Tensor, axis: usize) -> Option<Tensor> {
    let mut dims = tensor.dims().to_vec();
    let count = *dims.get(axis)?;
    let inner = dims.get(axis + 1..)?.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
    dims[axis] = 1;
    if !tensor.dtype().bits().is_multiple_of(8) || tensor.dtype().bits() == 0 {
        return None;
    }
    let bytes = tensor.bytes()?;
    let slice = tensor.dtype().byte_len(inner)?;
    if slice == 0 || count == 0 {
        return None;
    }
    let mut kept = Vec::with_capacity(bytes.len() / count);
    for outer in bytes.chunks(slice.checked_mul(count)?) {
        let (first, rest) = outer.split_at_checked(slice)?;
        if rest.chunks(slice).any(|other| other != first) {
            return None;
        }
        kept.extend_from_slice(first);
    }
    Tensor::raw(tensor.dtype(), &dims, kept.into()).ok()
}
