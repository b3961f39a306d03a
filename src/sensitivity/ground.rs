//! What has to be known of a model before precisions are tried on its layers: one pass over the samples.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::calibrate::{Gathered, Probe, Source, Wanted};
use crate::choice::Choice;
use crate::ir::{DType, Graph, NodeId, ValueId};
use crate::lowbit::{Integers, Method, Packer, Trial};
use crate::model::Model;
use crate::ops::{CallView, Quant, row_of};
use crate::precision::{Fit, Halver, store_refuses};
use crate::quantize::correct::{Bench, Limits, Scales, Setting, seen, wanted};
use crate::quantize::quantizer::{FEW, JUDGED, TRIED, TRIED_MACS, affordable, stepped};
use crate::quantize::{
    Grid, Plan, QuantizeError, Ranges, Readers, Scaling, Step, TakenOut, place_without, scales, unfit,
};
use crate::selecting::exactly;
use crate::sensitivity::layer::Layer;
use crate::sensitivity::packed::Packed;
use crate::sensitivity::{Precision, Sensitivity};

/// What is known of a half.
pub(crate) struct Halves {
    /// What tensors hold.
    pub fit: Fit,
    /// Why nodes cannot have it.
    pub stays: FxHashMap<NodeId, String>,
}

/// What is known of a model.
pub(crate) struct Ground {
    /// The model as it was given.
    pub float: Model,
    /// A model that computes the same, with channels equalized where integers gain by it. Its tensors are those that
    /// statistics are of.
    pub model: Model,
    /// Samples to try things on, and samples to verify on.
    pub probe: Probe,
    /// What the model's tensors held.
    pub gathered: Gathered,
    /// Tensors that no integers stand for.
    pub unfit: FxHashSet<ValueId>,
    /// Integers wherever the target takes them.
    pub plan: Plan,
    /// How ranges are chosen.
    pub ranges: Ranges,
    /// What the integers of `plan` are worth.
    pub scales: Scales,
    /// What is known of each half that layers may have.
    pub halves: BTreeMap<Precision, Halves>,
    /// What weights of `model` are as integers of few bits.
    pub packed: Packed,
    /// The same of `float`, where its weights are others: channels were equalized.
    pub plain: Option<Packed>,
    /// What corrections brought.
    pub corrections: Vec<Step>,
    /// Runs on samples that were made.
    pub runs: u64,
    /// Seconds that one pass over the samples took: gathering statistics.
    pub pass_seconds: f64,
    by_use: FxHashMap<(NodeId, usize), (Grid, Scaling)>,
    by_value: FxHashMap<ValueId, (Grid, Scaling)>,
}

/// Moves that are looked past.
const FAR: usize = 16;

/// Why a layer has no precision that is about weights.
const NO_WEIGHTS: &str = "it has no weights";

/// Samples that corrections are decided on: whoever verifies needs more, and corrections do not.
const DECIDING: usize = 16;

/// The samples of a bench.
pub(crate) fn bench_probe(probe: &Probe) -> Probe {
    let held_out = if probe.held_out.is_empty() { &probe.tried } else { &probe.held_out };
    let held_out = held_out.iter().take(DECIDING).cloned().collect();
    Probe { tried: probe.tried.clone(), held_out, notes: Vec::new() }
}

/// How many of its samples decide, and that number with how many go through the model layer by layer.
pub(crate) fn limits(float: &Model, probe: &Probe) -> (usize, Limits) {
    let Some(first) = probe.held_out.first() else { return (0, Limits::default()) };
    let (macs, least) = JUDGED;
    let judged = affordable(float, first, macs, least, u64::MAX).min(probe.held_out.len());
    (
        judged,
        Limits { judged, proven: probe.held_out.len(), further: 0, stepped: stepped(float, first, probe.tried.len()) },
    )
}

impl Ground {
    /// Run `model` on the samples, and find out what it takes to give its layers integers or halves.
    ///
    /// # Errors
    /// When samples cannot be read, or the engine cannot run the model.
    pub(crate) fn of(asked: &Sensitivity, model: &Model, tell: &dyn Fn(u64, u64)) -> Result<Ground, QuantizeError> {
        let (engine, calibration) = (&*asked.engine, &asked.calibration);
        let probe = calibration.probe(model, engine, &|sample| affordable(model, sample, TRIED_MACS, FEW, TRIED))?;
        let mut probe = probe;
        if probe.tried.is_empty() {
            probe.tried.clone_from(&probe.held_out);
        }
        let feed = probe.tried.first().ok_or(crate::calibrate::CalibrationError::Nothing)?;
        let sized = crate::exec::demand::run_of(model, feed);
        let place = |unfit: &FxHashSet<ValueId>| {
            place_without(&sized, &asked.policy, model.opset(), &asked.choice, unfit, &TakenOut::default())
        };
        let mut plan = place(&FxHashSet::default())?;
        let float = model.clone();
        let mut model = model.clone();
        let mut corrections = Vec::new();
        let mut runs = 0;
        let few_held = bench_probe(&probe);
        let (judged, limits) = limits(&float, &few_held);
        let none = BTreeSet::new();
        let mut few = None;
        if !plan.is_empty() {
            let seen = seen(&model, &plan, &probe, engine)?;
            runs += probe.tried.len() as u64;
            let unfit = unfit(&model.graph, &seen);
            if !unfit.is_empty() {
                plan = place(&unfit)?;
            }
            few = Some(seen);
        }
        let setting = Setting { engine, probe: &few_held, plan: &plan, without: &none, limits };
        let bench = Bench::new(&float, setting)?;
        runs += few_held.held_out.len() as u64;
        if let Some(few) = &mut few {
            bench.equalize(&mut model, few, Ranges::Method(crate::calibrate::Method::MinMax), &mut corrections)?;
            runs += corrections.len() as u64 * (judged + probe.tried.len()) as u64 + judged as u64;
        }
        let is_equalized = corrections.iter().any(|step| step.kept);
        let start = Instant::now();
        let all = wanted(&model.graph, &plan, Wanted::all());
        let gathered = calibration.gathered(&model, &all, engine, tell, None, None)?.gathered;
        let pass_seconds = start.elapsed().as_secs_f64();
        runs += gathered.runs;
        let unfit = unfit(&model.graph, &gathered);
        let last = if unfit.is_empty() { plan.clone() } else { place(&unfit)? };
        let bench = bench.planned(&last);
        let (found, _, ranges) = bench.choose_ranges(&model, &gathered, &mut corrections)?;
        // Of a ladder of five, four rungs at the most.
        runs += if last.sites.is_empty() { 0 } else { 4 * judged as u64 };
        let is_asked = |precision: &Precision| asked.candidates.contains(precision) || asked.candidates.is_empty();
        let mut halves = BTreeMap::new();
        for precision in Precision::ALL.into_iter().filter(is_asked) {
            let Some(half) = precision.half() else { continue };
            let halver = Halver { target: asked.target, ..Halver::new(half, asked.engine.clone()) };
            let fit = Fit::of(half.dtype(), &model.graph, &gathered);
            let mut stays = halver.staying(&model, &fit);
            stays.extend(asked.choice.excluded(&model.graph)?);
            halves.insert(precision, Halves { fit, stays });
        }
        if is_asked(&Precision::Fp16Weights) {
            let (fit, stays) = (Fit::unknown(DType::F16, &model.graph), asked.choice.excluded(&model.graph)?);
            halves.insert(Precision::Fp16Weights, Halves { fit, stays });
        }
        let packed = Packed::of(asked, &model);
        let plain = is_equalized.then(|| Packed::of(asked, &float));
        let mut ground = Ground {
            float,
            model,
            gathered,
            unfit,
            ranges,
            scales: found,
            halves,
            packed,
            plain,
            corrections,
            runs,
            pass_seconds,
            by_use: FxHashMap::default(),
            by_value: FxHashMap::default(),
            plan: last.clone(),
            probe: Probe::default(),
        };
        ground.probe = probe;
        for site in &last.sites {
            let Some(scaling) = site.fixed.or_else(|| ground.scales.get(&site.group).copied()) else { continue };
            match &site.readers {
                Readers::All => drop(ground.by_value.insert(site.value, (site.grid, scaling))),
                Readers::Some(uses) => ground.by_use.extend(uses.iter().map(|&user| (user, (site.grid, scaling)))),
            }
        }
        Ok(ground)
    }

    /// The model as it was given, and its weights as integers of few bits.
    pub(crate) fn plain(&self) -> (&Model, &Packed) {
        self.plain.as_ref().map_or((&self.model, &self.packed), |packed| (&self.float, packed))
    }

    /// Whether samples were made up.
    pub(crate) fn is_made_up(asked: &Sensitivity) -> bool {
        !asked.calibration.source.as_ref().is_some_and(Source::is_real)
    }

    /// What the integers of an operand are worth where the target takes integers there.
    pub(crate) fn operand(&self, node: NodeId, slot: usize) -> Option<(Grid, Scaling)> {
        let (mut node, mut slot) = (node, slot);
        for _ in 0..FAR {
            if let Some(&found) = self.by_use.get(&(node, slot)) {
                return Some(found);
            }
            let value = self.model.graph.operand(node, slot)?;
            if let Some(&found) = self.by_value.get(&value) {
                return Some(found);
            }
            let (maker, _) = self.model.graph.producer(value)?;
            (node, slot) = (maker, shares_scale_of(&self.model.graph, maker)?);
        }
        None
    }

    /// What the integers of a result are worth, where it has some of its own: nobody reads them who would round them
    /// anyway.
    pub(crate) fn result(&self, node: NodeId, is_layer: &dyn Fn(NodeId) -> bool) -> Option<(Grid, Scaling)> {
        let graph = &self.model.graph;
        let mut value = graph.result(node, 0)?;
        // What is taken into the layer stands before its integers.
        while let Some(&(next, _)) =
            self.plan.taken_in.iter().find(|(next, head)| *head == node && graph.operand(*next, 0) == Some(value))
        {
            value = graph.result(next, 0)?;
        }
        let read_by_layers = graph.value(value).users().iter().any(|user| match *user {
            crate::ir::User::Node(reader, _) => is_layer(reader),
            crate::ir::User::Output(..) => false,
        });
        self.by_value.get(&value).copied().filter(|_| !read_by_layers)
    }

    /// What the integers of `plan`, a part of the ground's own, are worth.
    ///
    /// # Errors
    /// For a tensor of which nothing is known.
    pub(crate) fn scales_of(&self, plan: &Plan) -> Result<Scales, QuantizeError> {
        Ok(scales(&self.model.graph, plan, &self.gathered, self.ranges)?)
    }

    /// Why a layer cannot have a precision; `None` where it can.
    pub(crate) fn refuses(&self, layer: &Layer, precision: Precision) -> Option<String> {
        match precision {
            Precision::Fp32 => None,
            Precision::Fp16Weights if layer.weights.is_empty() => Some(NO_WEIGHTS.into()),
            Precision::Fp16Weights | Precision::Fp16 | Precision::Bf16 => match self.halves.get(&precision) {
                Some(halves) => {
                    let stays = halves.stays.get(&layer.node).cloned();
                    stays.or_else(|| if precision.half().is_some() { None } else { self.unstored(layer, &halves.fit) })
                }
                None => Some("it was not tried".into()),
            },
            Precision::Int8 if self.plan.integer.contains(&layer.node) => None,
            Precision::Int8 => {
                let kept = self.plan.kept.iter().find(|kept| kept.node == layer.node);
                Some(kept.map_or_else(|| "the target has no integers for it".to_string(), |kept| kept.why.clone()))
            }
            _ if layer.weights.is_empty() => Some(NO_WEIGHTS.into()),
            _ => self.packed.refuses(&self.model.graph, layer.node, precision),
        }
    }

    /// Why the weights of a layer are not to lie in halves.
    fn unstored(&self, layer: &Layer, fit: &Fit) -> Option<String> {
        let graph = &self.model.graph;
        let mut weights = layer.weights.iter().filter_map(|w| graph.constant(graph.operand(layer.node, w.slot)?));
        weights.find_map(|weight| store_refuses(weight, fit))
    }
}

/// The operand whose numbers the results of `node` hold, and no others, where there is one: its integers are theirs.
fn shares_scale_of(graph: &Graph, node: NodeId) -> Option<usize> {
    let call = CallView::new(graph, node);
    if (row_of(call.node()).quant)(&call) != Quant::SharesScale {
        return None;
    }
    let is_computed = |&slot: &usize| {
        call.operand(slot).is_some_and(|value| graph.constant(value).is_none()) && call.dtype(slot) == Some(DType::F32)
    };
    let mut computed = (0..graph.operands(node).len()).filter(is_computed);
    computed.next().filter(|_| computed.next().is_none())
}

impl Sensitivity {
    /// What gives weights few bits. Nothing is learned from samples: what is measured of a layer is then what becomes of
    /// it, whatever becomes of the layers before.
    pub(crate) fn packer(&self, integers: Integers) -> Packer {
        let packer = Packer::new(integers, self.engine.clone());
        Packer { target: self.target, method: Method::Refined, kernels: true, is_uniform: true, ..packer }
    }

    /// What the weights of layers could be; why none, in words.
    pub(super) fn trial(&self, model: &Model, integers: Integers) -> Result<Trial, String> {
        let packer = self.packer(integers);
        let opset = packer.opset_for(model.opset());
        if opset > model.opset() {
            return Err(format!("it takes a later opset: --opset {opset}"));
        }
        let layers = crate::sensitivity::layer::layers(model, None);
        let only = layers.iter().map(|layer| exactly(&model.graph, layer.node)).collect();
        let mut choice = Choice { only, ..self.choice.clone() };
        if !self.choice.only.is_empty() {
            let excluded = self.choice.excluded(&model.graph).map_err(|why| why.to_string())?;
            let is_chosen = |layer: &&Layer| !excluded.contains_key(&layer.node);
            choice.only = layers.iter().filter(is_chosen).map(|layer| exactly(&model.graph, layer.node)).collect();
        }
        if choice.only.is_empty() {
            return Err("there are no layers".into());
        }
        Trial::of(&packer, &model.graph, &choice)
    }
}
