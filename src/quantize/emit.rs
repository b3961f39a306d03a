//! Writes the integers of a plan into a graph, in ONNX's QDQ form.

use std::collections::BTreeMap;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::calibrate::Range;
use crate::ir::{DType, Graph, NodeId, OpKind, ScopeId, Tensor, TensorError, User, ValueId};
use crate::ops::infer_node;
use crate::quantize::{ConstantSite, Group, Integers, Plan, Readers, Scaling, Site, WeightSite};
use crate::target::policy::{BiasForm, WeightForm};

/// Put `plan` into `graph`: one pair of `QuantizeLinear` and `DequantizeLinear` for each tensor, and integers with a
/// `DequantizeLinear` in the place of each weight. Of each pair it gives which of the plan's tensors it is for, and its
/// scale and zero point.
///
/// # Errors
/// For a tensor that cannot be made, which is a defect.
pub fn emit(
    graph: &mut Graph,
    plan: &Plan,
    scales: &BTreeMap<Group, Scaling>,
) -> Result<Vec<(usize, [ValueId; 2])>, TensorError> {
    let names = graph.nodes().map(|n| graph.node(n).name.to_string()).collect();
    let mut emitter = Emitter { graph, names, written: FxHashMap::default(), of_operand: FxHashMap::default() };
    let mut pairs = Vec::with_capacity(plan.sites.len());
    for (index, site) in plan.sites.iter().enumerate() {
        if let Some(&scaling) = scales.get(&site.group) {
            pairs.push((index, emitter.pair(site, site.fixed.unwrap_or(scaling))?));
        }
    }
    for site in &plan.constants {
        emitter.constant(site)?;
    }
    for site in &plan.weights {
        emitter.weight(site, plan)?;
    }
    Ok(pairs)
}

struct Emitter<'g> {
    graph: &'g mut Graph,
    /// Names of nodes.
    names: FxHashSet<String>,
    /// Integers, scale and zero points of a weight, by the weight, its axis and the scales that differ for a bias's sake.
    written: FxHashMap<(ValueId, Option<usize>, Vec<u32>), [ValueId; 3]>,
    /// What the integers of an operand are worth, by reader and slot.
    of_operand: FxHashMap<(NodeId, usize), Scaling>,
}

impl Emitter<'_> {
    /// A pair for a tensor that a run computes.
    fn pair(&mut self, site: &Site, scaling: Scaling) -> Result<[ValueId; 2], TensorError> {
        let (users, source) = match &site.readers {
            Readers::All => (self.graph.value(site.value).users().to_vec(), site.value),
            Readers::Some(slots) => {
                let users = slots.iter().map(|&(node, slot)| User::Node(node, slot)).collect();
                // Behind a pair that everyone reads.
                let source = slots.first().and_then(|&(node, slot)| self.graph.operand(node, slot));
                (users, source.unwrap_or(site.value))
            }
        };
        let label = self.graph.value_label(site.value);
        let scale = Tensor::f32s(&[], &[scaling.scale])?;
        let zero = whole(site.grid.dtype, &[], scaling.zero_point)?;
        let scale = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "scale"), scale);
        let zero = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "zero_point"), zero);
        let order = self.graph.producer(site.value).map_or(0, |(node, _)| self.graph.node(node).order());
        let quantize = self.call(OpKind::QuantizeLinear, &[source, scale, zero], order, &label);
        let dequantize = self.call(OpKind::DequantizeLinear, &[quantize, scale, zero], order, &label);
        for user in users {
            let read = match user {
                // The integers have the same shape, and a runtime need not make real numbers of them for it.
                User::Node(node, 0) if matches!(self.graph.node(node).op, OpKind::Shape | OpKind::Size) => quantize,
                _ => dequantize,
            };
            if let User::Node(node, slot) = user {
                self.of_operand.insert((node, slot), scaling);
            }
            self.graph.replace_use(user, read);
        }
        Ok([scale, zero])
    }

    /// Integers for a constant operand that is no weight.
    fn constant(&mut self, site: &ConstantSite) -> Result<(), TensorError> {
        let Some(value) = self.graph.operand(site.node, site.slot) else { return Ok(()) };
        let Some(reals) = self.graph.constant(value).and_then(Tensor::reals) else { return Ok(()) };
        let dims = self.graph.constant(value).map(|t| t.dims().to_vec()).unwrap_or_default();
        let ends = reals.iter().fold((0f64, 0f64), |(low, high), &x| (low.min(x), high.max(x)));
        let mut range = Range { low: ends.0, high: ends.1 };
        if range.low == range.high {
            range.high = 1.0;
        }
        let scaling = site.grid.scaling(range);
        let integer = |x: &f64| {
            let steps = (x / f64::from(scaling.scale)).round_ties_even() as i64 + scaling.zero_point;
            steps.clamp(site.grid.least(), site.grid.greatest())
        };
        let numbers: Vec<i64> = reals.iter().map(integer).collect();
        let label = self.graph.value_label(value);
        let tensor = packed(site.grid.dtype, &dims, &numbers)?;
        let tensor = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "quantized"), tensor);
        let scale = Tensor::f32s(&[], &[scaling.scale])?;
        let scale = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "scale"), scale);
        let zero = whole(site.grid.dtype, &[], scaling.zero_point)?;
        let zero = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "zero_point"), zero);
        let order = self.graph.node(site.node).order();
        let real = self.call(OpKind::DequantizeLinear, &[tensor, scale, zero], order, &label);
        self.graph.set_operand(site.node, site.slot, Some(real));
        self.graph.prune_constant(value);
        Ok(())
    }

    /// Integers for a weight, and for the bias that is added to its products. Nodes that want the same of one weight
    /// read the same integers.
    fn weight(&mut self, site: &WeightSite, plan: &Plan) -> Result<(), TensorError> {
        let Some(weight) = self.graph.operand(site.node, site.slot) else { return Ok(()) };
        let Some(tensor) = self.graph.constant(weight).cloned() else { return Ok(()) };
        let widest = self.widest_bias(site);
        let least: Vec<u32> = widest.iter().map(|scale| scale.to_bits()).collect();
        let key = (weight, site.axis, least);
        let label = self.graph.value_label(weight);
        let order = self.graph.node(site.node).order();
        let [ints, scale, zeros] = match self.written.get(&key) {
            Some(&written) => written,
            None => {
                let Some(mut found) = site.integers(&tensor) else { return Ok(()) };
                widen(&mut found, &tensor, site, &widest)?;
                let shape: &[usize] = if site.axis.is_some() { &[found.scales.len()] } else { &[] };
                let scale = Tensor::f32s(shape, &found.scales)?;
                let zeros = whole(site.grid.dtype, shape, 0)?;
                if plan.repeated && tensor.is_repeated() {
                    found.tensor = repeated(found.tensor);
                }
                let ints = match plan.form {
                    WeightForm::Integers => {
                        self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "quantized"), found.tensor)
                    }
                    WeightForm::Float => weight,
                };
                let scale = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "scale"), scale);
                let zeros = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "zero_point"), zeros);
                self.written.insert(key, [ints, scale, zeros]);
                [ints, scale, zeros]
            }
        };
        let axis = site.axis.and_then(|axis| i64::try_from(axis).ok());
        let ints = match plan.form {
            WeightForm::Integers => ints,
            WeightForm::Float => self.along(OpKind::QuantizeLinear, &[ints, scale, zeros], axis, order, &label),
        };
        let real = self.along(OpKind::DequantizeLinear, &[ints, scale, zeros], axis, order, &label);
        self.graph.set_operand(site.node, site.slot, Some(real));
        if site.bias == BiasForm::Int32 {
            self.bias(site, scale)?;
        }
        if plan.form == WeightForm::Integers {
            self.graph.prune_constant(weight);
        }
        Ok(())
    }

    /// Where the bias has to be int32, the least scale of each slice of the weight with which it is one (TFL-Q11).
    fn widest_bias(&self, site: &WeightSite) -> Vec<f32> {
        let Some((input, reals)) = self.bias_of(site).filter(|_| site.bias == BiasForm::Int32) else {
            return Vec::new();
        };
        let most = f64::from(i32::MAX) * f64::from(input);
        let least: Vec<f32> = reals.iter().map(|b| (b.abs() / most * (1.0 + 1e-6)) as f32).collect();
        match site.axis {
            Some(_) => least,
            None => vec![least.into_iter().fold(0.0, f32::max)],
        }
    }

    /// The scale of the operand that a weight multiplies, and the bias that is added.
    fn bias_of(&self, site: &WeightSite) -> Option<(f32, Vec<f64>)> {
        let bias = self.graph.constant(self.graph.operand(site.node, 2)?)?;
        let input = self.of_operand.get(&(site.node, 1 - site.slot.min(1)))?;
        // One for each channel, whatever axes of size 1 stand before.
        let is_row = bias.dims().last() == Some(&bias.len()) && bias.dtype() == DType::F32;
        is_row.then(|| bias.reals()).flatten().map(|b| (input.scale, b))
    }

    /// The bias as int32, whose scale is the product of those of operand and weight.
    fn bias(&mut self, site: &WeightSite, scale: ValueId) -> Result<(), TensorError> {
        let Some((input, reals)) = self.bias_of(site) else { return Ok(()) };
        let Some(weight) = self.graph.constant(scale).and_then(Tensor::reals) else { return Ok(()) };
        if weight.len() != 1 && weight.len() != reals.len() {
            return Ok(());
        }
        let products: Vec<f32> = weight.iter().map(|s| (s * f64::from(input)) as f32).collect();
        if products.iter().any(|s| !s.is_normal()) {
            return Ok(());
        }
        let number = |(i, b): (usize, &f64)| {
            let steps = (b / f64::from(products[i % products.len()])).round_ties_even();
            steps.clamp(f64::from(-i32::MAX), f64::from(i32::MAX)) as i64
        };
        let numbers: Vec<i64> = reals.iter().enumerate().map(number).collect();
        let Some(old) = self.graph.operand(site.node, 2) else { return Ok(()) };
        let label = self.graph.value_label(old);
        let tensor = packed(DType::I32, &[numbers.len()], &numbers)?;
        let tensor = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "quantized"), tensor);
        let shape: &[usize] = if products.len() == 1 { &[] } else { &[products.len()] };
        let scale = Tensor::f32s(shape, &products)?;
        let scale = self.graph.add_constant(ScopeId::MAIN, &suffixed(&label, "scale"), scale);
        let order = self.graph.node(site.node).order();
        let axis = (products.len() != 1).then_some(0);
        let real = self.along(OpKind::DequantizeLinear, &[tensor, scale], axis, order, &label);
        self.graph.set_operand(site.node, 2, Some(real));
        self.graph.prune_constant(old);
        Ok(())
    }

    fn along(&mut self, op: OpKind, operands: &[ValueId], axis: Option<i64>, order: u32, label: &str) -> ValueId {
        let result = self.call(op, operands, order, label);
        if let (Some(axis), Some((node, _))) = (axis, self.graph.producer(result)) {
            self.graph.set_attr(node, "axis", axis.into());
        }
        result
    }

    /// A name for a node that no other has.
    fn name(&mut self, label: &str, op: OpKind) -> String {
        let name = suffixed(label, op.name());
        let mut numbered = name.clone();
        let mut number = 1;
        while !name.is_empty() && !self.names.insert(numbered.clone()) {
            number += 1;
            numbered = format!("{name}_{number}");
        }
        numbered
    }

    fn call(&mut self, op: OpKind, operands: &[ValueId], order: u32, label: &str) -> ValueId {
        let operands: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
        let node: NodeId = self.graph.add_node(ScopeId::MAIN, op, &operands, 1, order);
        self.graph.node_mut(node).name = self.name(label, op).into();
        infer_node(self.graph, node);
        self.graph.result(node, 0).expect("a node that was made with a result has one")
    }
}

/// What belongs to a tensor is named after it; after one that nobody named, not at all.
pub(crate) fn suffixed(label: &str, suffix: &str) -> String {
    if label.is_empty() { String::new() } else { format!("{label}_{suffix}") }
}

/// Give those slices of a weight whose scale is less than `least` that scale.
fn widen(found: &mut Integers, tensor: &Tensor, site: &WeightSite, least: &[f32]) -> Result<(), TensorError> {
    if found.scales.len() != least.len() || found.scales.iter().zip(least).all(|(scale, least)| scale >= least) {
        return Ok(());
    }
    let Some(reals) = tensor.reals() else { return Ok(()) };
    for (scale, least) in found.scales.iter_mut().zip(least) {
        *scale = scale.max(*least);
    }
    let inner = site.axis.map_or(reals.len(), |axis| tensor.dims()[axis + 1..].iter().product::<usize>()).max(1);
    let scale = |i: usize| f64::from(found.scales[i / inner % found.scales.len()]);
    let most = site.grid.greatest() as f64;
    let integer = |(i, x): (usize, &f64)| (x / scale(i)).round_ties_even().clamp(-most, most) as i64;
    let numbers: Vec<i64> = reals.iter().enumerate().map(integer).collect();
    found.tensor = packed(site.grid.dtype, tensor.dims(), &numbers)?;
    Ok(())
}

/// Integers of one byte that are all equal as one that is repeated; others as they are.
fn repeated(tensor: Tensor) -> Tensor {
    let one = tensor.bytes().filter(|bytes| bytes.iter().all(|byte| Some(byte) == bytes.first()));
    let splat = one.and_then(|bytes| Tensor::splat(tensor.dtype(), tensor.dims(), bytes.get(..1)?).ok());
    splat.unwrap_or(tensor)
}

/// `number` in every place, spelled out: runtimes look for constants, not for what computes them.
fn whole(dtype: DType, dims: &[usize], number: i64) -> Result<Tensor, TensorError> {
    packed(dtype, dims, &vec![number; dims.iter().product()])
}

/// Integers of whole bytes.
fn packed(dtype: DType, dims: &[usize], numbers: &[i64]) -> Result<Tensor, TensorError> {
    let size = dtype.bits().div_ceil(8);
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes().into_iter().take(size)).collect();
    Tensor::raw(dtype, dims, bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::Grid;
    use crate::text::parse;

    #[test]
    fn what_repeats_a_number_repeats_its_integer() {
        let reals = Tensor::splat(DType::F32, &[20, 20], &0.02f32.to_le_bytes()).unwrap();
        let spelled = Tensor::raw(DType::F32, &[20, 20], reals.bytes().unwrap()).unwrap();
        for (weight, is_repeated, bytes) in [(&reals, true, 1), (&reals, false, 400), (&spelled, true, 400)] {
            let text = "g (float[1,20] x) => (float[1,20] y) <float[20,20] w> { y = MatMul(x, w) }";
            let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {text}"#)).unwrap();
            let graph = &mut model.graph;
            let node = graph.schedule(ScopeId::MAIN)[0];
            graph.set_constant(graph.operand(node, 1).unwrap(), weight.clone());
            crate::passes::infer_declared(graph);
            let site = WeightSite {
                node,
                slot: 1,
                axis: Some(1),
                grid: Grid::I8,
                scales: None,
                rule: String::new(),
                bias: BiasForm::Float,
            };
            let plan = Plan { weights: vec![site], repeated: is_repeated, ..Plan::default() };
            emit(graph, &plan, &BTreeMap::new()).unwrap();
            let (dequantize, _) = graph.producer(graph.operand(node, 1).unwrap()).unwrap();
            let operand = |slot: usize| graph.constant(graph.operand(dequantize, slot).unwrap()).unwrap();
            let (integers, scales) = (operand(0), operand(1).reals().unwrap());
            assert_eq!((integers.stored_bytes(), integers.len(), scales.len()), (bytes, 400, 20));
            let back = integers.integers().unwrap()[399] as f64 * scales[19];
            assert!((back - 0.02).abs() < 1e-4, "{back}");
        }
    }
}
