//! From an assignment to a model: integers where layers have them, with their scales; integers of few bits in the place of
//! weights; then halves, around all of which stands a `Cast`.
//!
//! While assignments are only tried, they are rehearsed: weights are what integers give back, and nothing is written.

use rustc_hash::FxHashMap;

use crate::assign::{AssignError, Assigner};
use crate::choice::Choice;
use crate::exec::demand::run_of;
use crate::ir::{Graph, NodeId, OpKind};
use crate::lowbit::Packer;
use crate::model::Model;
use crate::precision::Halver;
use crate::quantize::correct::Bench;
use crate::quantize::{Plan, QuantizeError, Step, TakenOut, emit, place_without};
use crate::selecting::exactly;
use crate::sensitivity::ground::{bench_probe, limits};
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
}

/// Why a node that is to have no halves stays.
const OTHER: &str = "it computes in another precision";

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
        let has = |precision: Precision| precisions.contains(&precision);
        let mut model = match has(Precision::Int8) {
            true => ground.model.clone(),
            // What was equalized computes the same, and nothing is gained by it.
            false => ground.float.clone(),
        };
        let mut done = precisions.to_vec();
        let (mut corrections, mut runs) = (Vec::new(), 0);
        let other = |nodes: &mut dyn Iterator<Item = NodeId>| -> Vec<(NodeId, String)> {
            nodes.map(|node| (node, OTHER.to_string())).collect()
        };
        let mut taken: FxHashMap<NodeId, String> = FxHashMap::default();
        if has(Precision::Int8) {
            let plan = self.plan(measured, precisions)?;
            let scales = ground.scales_of(&plan)?;
            for (layer, done) in measured.layers.iter().zip(&mut done) {
                if *done == Precision::Int8 && !plan.integer.contains(&layer.node) {
                    *done = Precision::Fp32;
                }
            }
            if depth == Depth::Corrected && !plan.is_empty() {
                let probe = bench_probe(&ground.probe);
                let (_, limits) = limits(&ground.float, &probe);
                // As they were and corrected in two ways, with the float model, and through the model layer by layer.
                runs = probe.held_out.len() + 3 * limits[0] + limits[1];
                let none = std::collections::BTreeSet::new();
                let bench = Bench::new(&ground.float, &*self.sensitivity.engine, &probe, &plan, &none, limits)?;
                bench.correct_biases(&mut model, &ground.gathered, &scales, None, &mut corrections)?;
            }
            taken.extend(other(&mut plan.integer.iter().copied()));
            emit(&mut model.graph, &plan, &scales).map_err(QuantizeError::from)?;
        }
        let mut rehearsal = model.clone();
        for precision in Precision::ALL {
            let Some(integers) = precision.few_bits().filter(|_| has(precision)) else { continue };
            let chosen = || measured.layers.iter().zip(&done).filter(|(_, p)| **p == precision).map(|(layer, _)| layer);
            for layer in chosen() {
                if let Some((weight, tensor)) = ground.packed(layer.node, precision) {
                    rehearsal.graph.set_constant(weight, tensor);
                }
            }
            if depth >= Depth::Written {
                let only = chosen().map(|layer| exactly(&model.graph, layer.node)).collect();
                let choice = Choice { only, ..Choice::default() };
                let packer = Packer { choice, ..self.sensitivity.packer(integers) };
                packer.run(&mut model, &|_, _| {}).map_err(AssignError::from)?;
            }
        }
        let plain = rehearsal.graph.clone();
        let mut has_half: Vec<NodeId> = Vec::new();
        for precision in Precision::ALL {
            let (Some(half), true) = (precision.half(), has(precision)) else { continue };
            let Some(halves) = ground.halves.get(&precision) else { continue };
            let others = measured.layers.iter().zip(&done).filter(|(_, p)| **p != precision);
            let others = other(&mut others.map(|(layer, _)| layer.node).chain(has_half.iter().copied()));
            // What came in with weights of few bits is float32, too, and so are the borders of halves of another type.
            let is_new = |graph: &Graph, node: NodeId| {
                let op = graph.node(node).op;
                let is_border = matches!(op, OpKind::QuantizeLinear | OpKind::DequantizeLinear);
                is_border || !plain.has_node(node) || op != plain.node(node).op
            };
            let staying = |graph: &Graph| -> FxHashMap<NodeId, String> {
                let new = other(&mut graph.nodes().filter(|&node| is_new(graph, node)));
                let known = taken.iter().chain(&halves.stays).map(|(node, why)| (*node, why.clone()));
                known.chain(others.clone()).chain(new).collect()
            };
            let target = self.sensitivity.target;
            let halver = Halver { target, ..Halver::new(half, self.sensitivity.engine.clone()) };
            let [narrow, next] = halver.halved(&rehearsal, &halves.fit, staying(&rehearsal.graph));
            rehearsal = next;
            if depth >= Depth::Written {
                [model, _] = halver.halved(&model, &halves.fit, staying(&model.graph));
            }
            // What has one half does not have another.
            let graph = &narrow.graph;
            has_half.extend(graph.nodes().filter(|&node| {
                let mut results = graph.results(node).iter().flatten();
                results.any(|&value| graph.value(value).ty.dtype() == Some(halves.fit.half))
            }));
        }
        Ok(Realized { model, rehearsal, precisions: done, corrections, runs })
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
