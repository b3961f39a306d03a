//! From an assignment to a model: integers where layers have them, with their scales; integers of few bits in the place of
//! weights; then halves, around all of which stands a `Cast`.
//!
//! While assignments are only tried, they are rehearsed: weights are what integers give back, and nothing is written.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::assign::{AssignError, Assigner};
use crate::choice::Choice;
use crate::exec::demand::run_of;
use crate::ir::{Graph, NodeId, OpKind, ValueId};
use crate::lowbit::{Integers, Method, Packer};
use crate::model::Model;
use crate::precision::{Half, Halver, Role, store_these};
use crate::quantize::correct::{Bench, Setting};
use crate::quantize::{Plan, QuantizeError, Step, TakenOut, emit, place_without};
use crate::selecting::exactly;
use crate::sensitivity::dress::half_of;
use crate::sensitivity::ground::{bench_probe, limits};
use crate::sensitivity::packed::Packed;
use crate::sensitivity::{Measured, Precision};

/// What became of an assignment.
pub(super) struct Realized {
    /// The model.
    pub model: Model,
    /// What it computes, in types that every engine has.
    pub rehearsal: Model,
    /// By layer: what it computes in. A layer that was to have integers has none where the target does not take them
    /// without those of its neighbours.
    pub precisions: Vec<Precision>,
    /// What corrections brought.
    pub corrections: Vec<Step>,
    /// Runs on one sample that they took.
    pub runs: usize,
}

/// How far an assignment is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// It is only to be tried: the rehearsal alone is worth anything.
    Tried,
    /// The model is written.
    Written,
    /// Before that, biases take back what integers take away.
    Corrected,
    /// And integers of few bits are found on samples, in what the model computes with those before.
    Learned,
}

/// Why a node that is to have no halves stays.
const OTHER: &str = "it computes in another precision";

/// An assignment on its way to a model.
struct Making<'a> {
    assigner: &'a Assigner,
    measured: &'a Measured,
    depth: Depth,
    done: Realized,
    /// Nodes that compute in integers.
    integers: Vec<NodeId>,
    /// Nodes of the rehearsal alone, which round what is read beside integers of few bits.
    rounding: Vec<NodeId>,
    /// The weights of the model that it is made of, as integers of few bits.
    weights: (&'a Packed, &'a Graph),
}

impl Assigner {
    /// The model with these precisions.
    ///
    /// # Errors
    /// For a tensor of which nothing is known, and when the engine cannot run a model.
    pub(super) fn realize(
        &self,
        measured: &Measured,
        precisions: &[Precision],
        depth: Depth,
    ) -> Result<Realized, AssignError> {
        let ground = &measured.ground;
        let (model, packed) = match precisions.contains(&Precision::Int8) {
            true => (&ground.model, &ground.packed),
            // What was equalized computes the same, and nothing is gained by it.
            false => ground.plain(),
        };
        let done = Realized {
            model: model.clone(),
            rehearsal: model.clone(),
            precisions: precisions.to_vec(),
            corrections: Vec::new(),
            runs: 0,
        };
        let (integers, rounding, weights) = (Vec::new(), Vec::new(), (packed, &model.graph));
        let mut making = Making { assigner: self, measured, depth, done, integers, rounding, weights };
        if precisions.contains(&Precision::Int8) {
            making.integers()?;
        }
        for precision in Precision::ALL {
            if let Some(integers) = precision.few_bits().filter(|_| precisions.contains(&precision)) {
                making.few_bits(precision, integers)?;
            }
        }
        making.halves(precisions);
        if precisions.contains(&Precision::Fp16Weights) {
            making.stored();
        }
        Ok(making.done)
    }

    /// Whether integers of few bits, which some layer has with these precisions, can be found on samples.
    pub(super) fn learns(&self, precisions: &[Precision]) -> bool {
        self.sensitivity.calibration.source.is_some()
            && precisions.iter().any(|precision| precision.few_bits().is_some())
    }

    /// Integers for the layers that are to have them, and for what follows these.
    fn plan(&self, measured: &Measured, precisions: &[Precision]) -> Result<Plan, QuantizeError> {
        let (ground, asked) = (&measured.ground, &self.sensitivity);
        let others = measured.layers.iter().zip(precisions).filter(|(_, p)| **p != Precision::Int8);
        let out: TakenOut =
            others.map(|(layer, p)| (layer.node, (String::new(), format!("it computes in {p}")))).collect();
        let sized = ground.probe.tried.first().map(|sample| run_of(&ground.model, sample));
        let graph = sized.as_ref().unwrap_or(&ground.model.graph);
        Ok(place_without(graph, &asked.policy, ground.model.opset(), &asked.choice, &ground.unfit, &out)?)
    }
}

impl<'a> Making<'a> {
    /// The nodes of the layers that compute in `precision`.
    fn layers(&self, precision: Precision) -> impl Iterator<Item = NodeId> {
        let layers = self.measured.layers.iter().zip(&self.done.precisions);
        layers.filter(move |(_, p)| **p == precision).map(|(layer, _)| layer.node)
    }

    /// Integers in what layers read and give.
    fn integers(&mut self) -> Result<(), AssignError> {
        let ground = &self.measured.ground;
        let plan = self.assigner.plan(self.measured, &self.done.precisions)?;
        let scales = ground.scales_of(&plan)?;
        for (layer, precision) in self.measured.layers.iter().zip(&mut self.done.precisions) {
            if *precision == Precision::Int8 && !plan.integer.contains(&layer.node) {
                *precision = Precision::Fp32;
            }
        }
        let model = &mut self.done.model;
        if self.depth >= Depth::Corrected && !plan.is_empty() {
            let probe = bench_probe(&ground.probe);
            let (_, limits) = limits(&ground.float, &probe);
            // As they were and corrected in two ways, with the float model, and through the model layer by layer.
            self.done.runs += probe.held_out.len() + 3 * limits.judged + limits.stepped;
            let (engine, none) = (&*self.assigner.sensitivity.engine, BTreeSet::new());
            let setting = Setting { engine, probe: &probe, plan: &plan, without: &none, limits };
            let bench = Bench::new(&ground.float, setting)?;
            bench.correct_biases(model, &ground.gathered, &scales, None, &mut self.done.corrections)?;
        }
        self.integers.extend(plan.integer.iter().copied());
        emit(&mut model.graph, &plan, &scales).map_err(QuantizeError::from)?;
        self.done.rehearsal = model.clone();
        Ok(())
    }

    /// Integers of few bits in the place of the weights of layers that are to have them.
    fn few_bits(&mut self, precision: Precision, integers: Integers) -> Result<(), AssignError> {
        let known: FxHashSet<NodeId> = self.done.rehearsal.graph.nodes().collect();
        self.packed(precision, integers)?;
        self.rounding.extend(self.done.rehearsal.graph.nodes().filter(|node| !known.contains(node)));
        Ok(())
    }

    /// The same, in the model and its rehearsal.
    fn packed(&mut self, precision: Precision, integers: Integers) -> Result<(), AssignError> {
        let ground = &self.measured.ground;
        let nodes: Vec<NodeId> = self.layers(precision).collect();
        let (packed, graph) = self.weights;
        let Realized { model, rehearsal, runs, .. } = &mut self.done;
        let only = nodes.iter().map(|&node| exactly(&model.graph, node)).collect();
        let choice = Choice { only, ..Choice::default() };
        let asked = &self.assigner.sensitivity;
        let packer = Packer { choice, ..asked.packer(integers) };
        if self.depth >= Depth::Learned {
            let packer = Packer { method: Method::Auto, calibration: asked.calibration.clone(), ..packer };
            *rehearsal = packer.learned(model, rehearsal)?;
            *runs += ground.probe.tried.len();
            return Ok(());
        }
        for node in nodes {
            if let Some((weight, tensor)) = packed.weight(graph, node, precision) {
                rehearsal.graph.set_constant(weight, tensor);
                packed.round_read(&mut rehearsal.graph, node, precision, node);
            }
        }
        if self.depth >= Depth::Written {
            packer.run(model, &|_, _| {})?;
        }
        Ok(())
    }

    /// Weights that lie in halves and are computed with in float32.
    fn stored(&mut self) {
        let Some(halves) = self.measured.ground.halves.get(&Precision::Fp16Weights) else { return };
        let layers = self.measured.layers.iter().zip(&self.done.precisions);
        let stored = layers.filter(|(_, precision)| **precision == Precision::Fp16Weights);
        let graph = &self.done.rehearsal.graph;
        let weights: BTreeSet<ValueId> = stored
            .flat_map(|(layer, _)| layer.weights.iter().filter_map(|weight| graph.operand(layer.node, weight.slot)))
            .collect();
        for &weight in &weights {
            let graph = &mut self.done.rehearsal.graph;
            if let Some(half) = graph.constant(weight).and_then(|tensor| half_of(tensor, &halves.fit, Role::Number)) {
                graph.set_constant(weight, half);
            }
        }
        if self.depth >= Depth::Written {
            store_these(&mut self.done.model.graph, &weights.into_iter().collect::<Vec<_>>());
        }
    }

    /// Halves in the layers that are to have them and in what lies around these.
    fn halves(&mut self, precisions: &[Precision]) {
        let plain = self.done.rehearsal.graph.clone();
        let mut has_half: Vec<NodeId> = Vec::new();
        for precision in Precision::ALL {
            if let Some(half) = precision.half().filter(|_| precisions.contains(&precision)) {
                has_half.extend(self.half(precision, half, &plain, &has_half));
            }
        }
    }

    /// One type of halves, in `plain` calls that do not have another one. Returns the nodes that have it.
    fn half(&mut self, precision: Precision, half: Half, plain: &Graph, has_half: &[NodeId]) -> Vec<NodeId> {
        let Some(halves) = self.measured.ground.halves.get(&precision) else { return Vec::new() };
        let layers = self.measured.layers.iter().zip(&self.done.precisions);
        let others: Vec<NodeId> = layers.filter(|(_, p)| **p != precision).map(|(layer, _)| layer.node).collect();
        // What came in with weights of few bits is float32, too, and so are the borders of halves of another type.
        let is_new = |graph: &Graph, node: NodeId| {
            let op = graph.node(node).op;
            let is_border = matches!(op, OpKind::QuantizeLinear | OpKind::DequantizeLinear);
            is_border || !plain.has_node(node) || op != plain.node(node).op
        };
        let staying = |graph: &Graph| -> FxHashMap<NodeId, String> {
            let other = |node: NodeId| (node, OTHER.to_string());
            let taken = self.integers.iter().copied().map(other);
            let known = taken.chain(halves.stays.iter().map(|(node, why)| (*node, why.clone())));
            let new = graph.nodes().filter(|&node| is_new(graph, node));
            known.chain(others.iter().chain(has_half).copied().chain(new).map(other)).collect()
        };
        let asked = &self.assigner.sensitivity;
        let halver = Halver { target: asked.target, ..Halver::new(half, asked.engine.clone()) };
        let layers: FxHashSet<NodeId> = self.measured.layers.iter().map(|layer| layer.node).collect();
        let mut stays = staying(&self.done.rehearsal.graph);
        stays.extend(self.rounding.iter().map(|&node| (node, OTHER.to_string())));
        let [narrow, rehearsal] = halver.halved(&self.done.rehearsal, &halves.fit, &layers, stays);
        let written = (self.depth >= Depth::Written)
            .then(|| halver.halved(&self.done.model, &halves.fit, &layers, staying(&self.done.model.graph)));
        self.done.rehearsal = rehearsal;
        if let Some([model, _]) = written {
            self.done.model = model;
        }
        // What has one half does not have another.
        let graph = &narrow.graph;
        let is_half = |node: &NodeId| {
            let mut results = graph.results(*node).iter().flatten();
            results.any(|&value| graph.value(value).ty.dtype() == Some(halves.fit.half))
        };
        graph.nodes().filter(is_half).collect()
    }
}
