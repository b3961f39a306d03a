//! What gets one precision together, and what each precision costs it.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use crate::assign::Cost;
use crate::ir::{Graph, NodeId, OpKind, User, ValueId};
use crate::quantize::Latencies;
use crate::sensitivity::layer::Layer;
use crate::sensitivity::{Measured, Precision};

/// Layers that get one precision.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    /// Their indices.
    pub layers: Vec<usize>,
    /// What they may compute in, the dearest first.
    pub choices: Vec<Choice>,
}

/// One precision of a unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub precision: Precision,
    pub loss: f64,
}

/// Layers as units: those that read one tensor side by side (queries, keys and values), those that share a weight or a
/// scale (what a `Concat` joins) and those of one name.
pub(super) fn units(measured: &Measured) -> Vec<Unit> {
    let layers = &measured.layers;
    let graph = &measured.ground.model.graph;
    let mut sets = Sets((0..layers.len()).collect());
    let mut by_weight: FxHashMap<ValueId, usize> = FxHashMap::default();
    let mut by_operand: FxHashMap<ValueId, usize> = FxHashMap::default();
    let mut by_name: FxHashMap<&str, usize> = FxHashMap::default();
    for (index, layer) in layers.iter().enumerate() {
        sets.join(index, *by_name.entry(&layer.name).or_insert(index));
        for weight in &layer.weights {
            if let Some(value) = graph.operand(layer.node, weight.slot) {
                sets.join(index, *by_weight.entry(value).or_insert(index));
            }
        }
        let is_product = matches!(layer.op, OpKind::MatMul | OpKind::Gemm) && !layer.weights.is_empty();
        if let (true, Some(value)) = (is_product, layer.operands.first().and_then(|&s| graph.operand(layer.node, s))) {
            sets.join(index, *by_operand.entry(value).or_insert(index));
        }
    }
    let by_node: FxHashMap<NodeId, usize> =
        layers.iter().enumerate().map(|(index, layer)| (layer.node, index)).collect();
    let heads: FxHashMap<NodeId, NodeId> = measured.ground.plan.taken_in.iter().copied().collect();
    let mut by_group: FxHashMap<usize, usize> = FxHashMap::default();
    for site in &measured.ground.plan.sites {
        let maker = graph.producer(site.value).map(|(node, _)| *heads.get(&node).unwrap_or(&node));
        if let Some(&layer) = maker.and_then(|node| by_node.get(&node)) {
            sets.join(layer, *by_group.entry(site.group).or_insert(layer));
        }
    }
    let mut found: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..layers.len() {
        found.entry(sets.root(index)).or_default().push(index);
    }
    found.into_values().map(|layers| Unit { choices: choices(measured, &layers), layers }).collect()
}

/// What all of these may compute in, and what they lose together.
fn choices(measured: &Measured, layers: &[usize]) -> Vec<Choice> {
    let of = |precision: Precision| {
        let loss = |&layer: &usize| match precision {
            Precision::Fp32 => Some(0.0),
            _ if !measured.candidates[layer].contains(&precision) => None,
            _ => measured.effects[layer].get(&precision).map(|effect| effect.loss),
        };
        let loss: f64 = layers.iter().map(loss).sum::<Option<f64>>()?;
        loss.is_finite().then_some(Choice { precision, loss })
    };
    Precision::ALL.into_iter().filter_map(of).collect()
}

/// Sets that are joined.
struct Sets(Vec<usize>);

impl Sets {
    fn root(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.0[high] = low;
    }
}

/// Bytes of a scale and a zero point.
const SCALE: u64 = 5;

/// What an edge between layers costs where one side has another type than the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Border {
    pub from: usize,
    pub to: usize,
    /// Elements of the tensor.
    pub elements: u64,
}

/// What layers cost.
pub(super) struct Costs<'a> {
    layers: &'a [Layer],
    /// Nanoseconds of each layer in float32 and in integers, where the target's costs are known.
    pub latency: Option<Latencies>,
    borders: Vec<Border>,
    /// Elements of each layer's result.
    made: Vec<u64>,
    /// Layers whose weight another layer before them has.
    shared: Vec<bool>,
    /// Bytes of each layer's weight as integers of few bits.
    packed: Vec<BTreeMap<Precision, u64>>,
    /// Bytes of constants that are no layer's weights.
    pub rest: u64,
    /// Bytes and time of everything in float32.
    whole: [u64; 2],
}

/// What bytes, and what time, of everything in float32 count together.
const WHOLE: u64 = 1 << 30;

/// Bytes that a pair of nodes takes in a file: two nodes with names, a scale and a zero point.
const PAIR: u64 = 300;

/// Parts of a nanosecond that costs are counted in.
pub(super) const FINE: f64 = 16.0;

/// Nanoseconds as they are counted.
fn fine(ns: f64) -> u64 {
    (ns.max(0.0) * FINE) as u64
}

impl<'a> Costs<'a> {
    pub(super) fn of(measured: &'a Measured, latency: Option<Latencies>) -> Costs<'a> {
        let graph = &measured.ground.model.graph;
        let layers = &measured.layers;
        let mut seen = rustc_hash::FxHashSet::default();
        let mut weights = 0u64;
        let mut shared = Vec::with_capacity(layers.len());
        for layer in layers {
            let mut is_new = layer.weights.is_empty();
            for weight in &layer.weights {
                if graph.operand(layer.node, weight.slot).is_some_and(|value| seen.insert(value)) {
                    is_new = true;
                    weights += 4 * weight.elements;
                }
            }
            shared.push(!is_new);
        }
        let all: u64 = graph.values().filter_map(|v| graph.constant(v)).map(|t| t.stored_bytes() as u64).sum();
        let borders = borders(measured);
        let packed = layers.iter().map(|layer| measured.ground.packed.bytes(graph, layer.node)).collect();
        let rest = all.saturating_sub(weights);
        let made = layers.iter().map(|layer| graph.result(layer.node, 0).map_or(0, |value| elements(graph, value)));
        let made = made.collect();
        let mut costs = Costs { layers, latency, borders, made, shared, packed, rest, whole: [1; 2] };
        let float = vec![Precision::Fp32; layers.len()];
        costs.whole = [Cost::Bytes, costs.time()].map(|cost| costs.all(&float, cost).max(1));
        costs
    }

    /// What stands for the time of a run.
    fn time(&self) -> Cost {
        if self.latency.is_some() { Cost::Latency } else { Cost::Bitops }
    }

    /// Bytes and time together, where `of` tells either.
    fn balanced(&self, of: impl Fn(Cost) -> u64) -> u64 {
        let share = |cost: Cost, whole: u64| (of(cost) as f64 / whole as f64 * WHOLE as f64) as u64;
        share(Cost::Bytes, self.whole[0]).saturating_add(share(self.time(), self.whole[1]))
    }

    /// What one layer costs.
    pub(super) fn layer(&self, index: usize, precision: Precision, cost: Cost) -> u64 {
        let layer = &self.layers[index];
        let elements = if self.shared[index] { 0 } else { layer.elements() };
        match cost {
            Cost::Balance => self.balanced(|cost| self.layer(index, precision, cost)),
            Cost::Bits => elements.saturating_mul(precision.weight_bits()),
            Cost::Bytes => {
                if let Some(&bytes) = self.packed[index].get(&precision) {
                    return if self.shared[index] { 0 } else { bytes };
                }
                let channels: u64 = layer.weights.iter().map(|weight| weight.channels).sum();
                let scales = match precision {
                    Precision::Int8 => SCALE * (channels + layer.operands.len() as u64),
                    _ => 0,
                };
                elements.saturating_mul(precision.weight_bits()).div_ceil(8).saturating_add(scales)
            }
            Cost::Bitops => {
                let bits = match layer.weights.is_empty() {
                    true => precision.operand_bits() * precision.operand_bits(),
                    false => precision.weight_bits() * precision.operand_bits(),
                };
                layer.macs.saturating_mul(bits)
            }
            Cost::Latency => {
                let known = self.latency.as_ref().and_then(|latency| latency.parts.get(&layer.node));
                let [float, int8] = known.copied().unwrap_or_default();
                let half = |latency: &Latencies| latency.half[0] + latency.half[1] * self.made[index] as f64;
                fine(match precision {
                    Precision::Int8 => int8,
                    _ if precision.half().is_some() => float + self.latency.as_ref().map_or(0.0, half),
                    _ => float,
                })
            }
        }
    }

    /// What an assignment costs. Of time with what lies between layers of different types; that takes nothing of what
    /// else is counted, and only of two assignments that cost the same it says which one is better: see
    /// [`Costs::between`].
    pub(super) fn all(&self, precisions: &[Precision], cost: Cost) -> u64 {
        if cost == Cost::Balance {
            return self.balanced(|cost| self.all(precisions, cost));
        }
        let layers = precisions.iter().enumerate().map(|(index, &p)| self.layer(index, p, cost));
        let between = if cost == Cost::Latency { self.between(precisions, cost) } else { 0 };
        layers.fold(self.beside(cost).saturating_add(between), u64::saturating_add)
    }

    /// The same with what lies between layers, whatever is counted.
    pub(super) fn whole(&self, precisions: &[Precision], cost: Cost) -> u64 {
        let layers = precisions.iter().enumerate().map(|(index, &p)| self.layer(index, p, cost));
        layers.fold(self.beside(cost).saturating_add(self.between(precisions, cost)), u64::saturating_add)
    }

    /// What the model costs beside its layers.
    pub(super) fn beside(&self, cost: Cost) -> u64 {
        match cost {
            Cost::Balance => self.balanced(|cost| self.beside(cost)),
            Cost::Bytes => self.rest,
            Cost::Latency => fine(self.latency.as_ref().map_or(0.0, |latency| latency.rest)),
            Cost::Bits | Cost::Bitops => 0,
        }
    }

    /// What lies between layers of different types.
    fn between(&self, precisions: &[Precision], cost: Cost) -> u64 {
        let differs = |border: &&Border| kind(precisions[border.from]) != kind(precisions[border.to]);
        let of = |border: &Border| self.border(border, cost);
        self.borders.iter().filter(differs).map(of).fold(0, u64::saturating_add)
    }

    /// What a border costs where the types on both sides differ.
    fn border(&self, border: &Border, cost: Cost) -> u64 {
        match cost {
            Cost::Balance => self.balanced(|cost| self.border(border, cost)),
            Cost::Bytes => PAIR,
            // A conversion of each element, of 32 bits.
            Cost::Bitops => border.elements.saturating_mul(32),
            Cost::Latency => self.latency.as_ref().map_or(0, |latency| {
                let [call, element] = latency.border;
                fine(call + element * border.elements as f64)
            }),
            Cost::Bits => 0,
        }
    }

    /// The pairs of layers that have something between them, with what it costs where their types differ.
    pub(super) fn borders(&self, cost: Cost) -> impl Iterator<Item = ([usize; 2], u64)> {
        self.borders.iter().map(move |border| ([border.from, border.to], self.border(border, cost)))
    }

    /// The layers that stand next to `layer`.
    pub(super) fn neighbours(&self, layer: usize) -> impl Iterator<Item = usize> {
        let other = move |border: &Border| match (border.from == layer, border.to == layer) {
            (true, _) => Some(border.to),
            (_, true) => Some(border.from),
            _ => None,
        };
        self.borders.iter().filter_map(other)
    }
}

/// The type of what a layer reads and makes.
pub(super) fn kind(precision: Precision) -> (u64, bool) {
    (precision.operand_bits(), precision == Precision::Bf16)
}

/// Which layers read what others make, with nothing but other operators between, and no more than one of these that brings
/// several tensors together: what else flows into a sum behind that has the type of those nearest to it.
fn borders(measured: &Measured) -> Vec<Border> {
    let graph = &measured.ground.model.graph;
    let index: FxHashMap<NodeId, usize> =
        measured.layers.iter().enumerate().map(|(index, layer)| (layer.node, index)).collect();
    let mut found = Vec::new();
    for (from, layer) in measured.layers.iter().enumerate() {
        let mut seen = rustc_hash::FxHashSet::default();
        let mut open = vec![(layer.node, 0)];
        let mut count = 0;
        while let Some((node, met)) = open.pop() {
            count += 1;
            if count > NEAR {
                break;
            }
            for user in graph.results(node).iter().flatten().flat_map(|&v| graph.value(v).users()) {
                let User::Node(reader, _) = *user else { continue };
                if !seen.insert(reader) {
                    continue;
                }
                match index.get(&reader) {
                    Some(&to) => {
                        let value = graph.result(layer.node, 0);
                        found.push(Border { from, to, elements: value.map_or(0, |value| elements(graph, value)) });
                    }
                    None => {
                        let computed = graph.operands(reader).flatten().filter(|&v| graph.constant(v).is_none());
                        let met = met + usize::from(computed.count() > 1);
                        if met <= MEETINGS {
                            open.push((reader, met));
                        }
                    }
                }
            }
        }
    }
    found
}

/// Elements of a tensor.
fn elements(graph: &Graph, value: ValueId) -> u64 {
    let dims = graph.value(value).ty.shape().dims();
    // An open size counts as one: of a run on one sample most are.
    let size = |d: &crate::ir::Int| u64::try_from(d.known().unwrap_or(1)).unwrap_or(0);
    dims.map_or(0, |dims| dims.iter().map(size).fold(1, u64::saturating_mul))
}

/// Operators of several tensors that are looked through.
const MEETINGS: usize = 1;

/// Operators behind a layer that are looked through for the next layers.
const NEAR: usize = 256;
