//! From an assignment to a model: integers where layers have them, with their scales; integers of few bits in the place of
//! weights; then halves, around all of which stands a `Cast`.
//!
//! While assignments are only tried, they are rehearsed: weights are what integers give back, and nothing is written.

use rustc_hash::FxHashMap;

use crate::assign::{AssignError, Assigner};
use crate::choice::Choice;
use crate::exec::demand::run_of;
use crate::ir::{NodeId, OpKind};
use crate::lowbit::Packer;
use crate::model::Model;
use crate::precision::{Half, Halver};
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
}

/// Why a node that is to have no halves stays.
const OTHER: &str = "it computes in another precision";

impl Assigner {
    /// The model with these precisions. Where it is only to be tried, `corrects` is false: biases do not take back what
    /// integers take away, and the rehearsal alone is worth anything.
    ///
    /// # Errors
    /// For a tensor of which nothing is known, and when the engine cannot run a model.
    pub(super) fn realize(
        &self,
        measured: &Measured,
        precisions: &[Precision],
        corrects: bool,
    ) -> Result<Realized, AssignError> {
        let ground = &measured.ground;
        let has = |precision: Precision| precisions.contains(&precision);
        let mut model = match has(Precision::Int8) {
            true => ground.model.clone(),
            // What was equalized computes the same, and nothing is gained by it.
            false => ground.float.clone(),
        };
        let mut done = precisions.to_vec();
        let mut corrections = Vec::new();
        let mut taken: FxHashMap<NodeId, String> = ground.no_halves.clone();
        if has(Precision::Int8) {
            let plan = self.plan(measured, precisions)?;
            let scales = ground.scales_of(&plan)?;
            for (layer, done) in measured.layers.iter().zip(&mut done) {
                if *done == Precision::Int8 && !plan.integer.contains(&layer.node) {
                    *done = Precision::Fp32;
                }
            }
            if corrects && !plan.is_empty() {
                let probe = bench_probe(&ground.probe);
                let (_, limits) = limits(&ground.float, &probe);
                let none = std::collections::BTreeSet::new();
                let bench = Bench::new(&ground.float, &*self.sensitivity.engine, &probe, &plan, &none, limits)?;
                bench.correct_biases(&mut model, &ground.gathered, &scales, None, &mut corrections)?;
            }
            taken.extend(plan.integer.iter().map(|&node| (node, OTHER.to_string())));
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
            if corrects {
                let only = chosen().map(|layer| exactly(&model.graph, layer.node)).collect();
                let choice = Choice { only, ..Choice::default() };
                let packer = Packer { choice, ..self.sensitivity.packer(integers) };
                packer.run(&mut model, &|_, _| {}).map_err(AssignError::from)?;
            }
        }
        if has(Precision::Fp16) {
            for (layer, precision) in measured.layers.iter().zip(&done) {
                if *precision != Precision::Fp16 {
                    taken.insert(layer.node, OTHER.into());
                }
            }
            let rehearsed = rehearsal.graph.clone();
            let graph = &model.graph;
            let is_border =
                |&node: &NodeId| matches!(graph.node(node).op, OpKind::QuantizeLinear | OpKind::DequantizeLinear);
            let borders: Vec<NodeId> = graph.nodes().filter(is_border).collect();
            taken.extend(borders.into_iter().map(|node| (node, OTHER.to_string())));
            let halver = Halver { target: self.sensitivity.target, ..self.halver() };
            [_, rehearsal] = halver.halved(&rehearsal, &ground.fit, taken.clone());
            if corrects {
                // What came in with weights of few bits is float32, too.
                let graph = &model.graph;
                let is_new =
                    |&node: &NodeId| !rehearsed.has_node(node) || graph.node(node).op != rehearsed.node(node).op;
                taken.extend(graph.nodes().filter(is_new).map(|node| (node, OTHER.to_string())));
                [model, _] = halver.halved(&model, &ground.fit, taken);
            }
        }
        Ok(Realized { model, rehearsal, precisions: done, corrections })
    }

    fn halver(&self) -> Halver {
        Halver::new(Half::F16, self.sensitivity.engine.clone())
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
