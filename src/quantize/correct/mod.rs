//! Corrections that make integers lose less, without training.
//!
//! Each is a step of its own with a name, can be left out by that name, and is kept only where outputs on samples that
//! no range was chosen from come closer to those of the model in real numbers.
//!
//! | step | what it does |
//! | --- | --- |
//! | `equalize-channels` | channels between layers get ranges alike |
//! | `smooth-activations` | so do those behind normalizations |
//! | `choose-ranges` | ranges cut off as much as outputs are better for |
//! | `correct-biases` | biases take back what rounding weights adds to the mean of outputs |

mod biases;
mod classes;
mod equalize;
mod factors;
mod in_order;
mod judge;
mod simulation;

use std::collections::BTreeSet;

use serde::Serialize;

use crate::calibrate::{CalibrationError, Gathered, Gathering, Method, Probe, Sample, Wanted, gather};
use crate::exec::{Cannot, Executor};
use crate::ir::{Graph, OpKind, ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::ops::{CallView, Channels, def};
use crate::quantize::correct::biases::correct_biases;
use crate::quantize::correct::equalize::{Kind, equalize, follow, measures};
use crate::quantize::correct::in_order::correct_in_order;
use crate::quantize::correct::judge::{EARLY, Judged, Rivals, highest, judged};
pub use crate::quantize::correct::simulation::Scales;
use crate::quantize::correct::simulation::Simulation;
use crate::quantize::{Plan, QuantizeError, Ranges, WeightSite, scales};

/// What one correction brought.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// The correction.
    pub name: &'static str,
    /// How close outputs were before it: their signal to quantization noise ratio in dB, the mean of samples and outputs.
    pub before: f64,
    /// And with it.
    pub after: f64,
    /// Whether it was kept: it made outputs better.
    pub kept: bool,
    /// How many places it changed.
    pub changes: usize,
}

/// What corrections are measured with.
pub struct Bench<'a> {
    /// What runs models.
    pub engine: &'a dyn Executor,
    /// Samples that corrections are made from, and others that they are measured on.
    pub probe: &'a Probe,
    /// What gets integers.
    pub plan: &'a Plan,
    /// Corrections that are left out.
    pub without: &'a BTreeSet<String>,
    /// How many of the samples that corrections are made from go through the model layer by layer; none where that
    /// takes too long.
    stepped: usize,
    /// What is compared.
    scores: Vec<ValueId>,
    /// What that is in the model in real numbers, of samples held out.
    reference: Vec<Vec<Tensor>>,
    /// And of the first of those that corrections are tried on, as far as these help to choose ranges.
    further: Vec<Vec<Tensor>>,
    /// The outputs of the model in real numbers, for those of the samples held out that outputs are compared on.
    outputs: Vec<Vec<Tensor>>,
}

/// What says of each output how good it is: the output, or what a `Softmax` or `Sigmoid` makes it of. Behind these,
/// samples of which the model is certain look perfect whatever was done to it, and one at which it is not decides alone.
pub(crate) fn scores(graph: &Graph) -> Vec<ValueId> {
    let before = |value: ValueId| {
        let (node, _) = graph.producer(value)?;
        let squashes = matches!(graph.node(node).op, OpKind::Softmax | OpKind::LogSoftmax | OpKind::Sigmoid);
        graph.operand(node, 0).filter(|&v| squashes && graph.constant(v).is_none())
    };
    let outputs = graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value);
    outputs.map(|value| before(value).unwrap_or(value)).collect()
}

/// `model` with `values` for its outputs.
fn giving(model: &Model, values: &[ValueId]) -> Model {
    let mut model = model.clone();
    for (index, &value) in values.iter().enumerate() {
        if model.graph.has_value(value) {
            model.graph.set_output(ScopeId::MAIN, index, value);
        }
    }
    model.graph.remove_dead();
    model
}

/// How carefully ranges are cut, from the most careful on: from never to counting each error once. The first is what
/// others are compared with.
const LADDER: [Ranges; 5] = [
    Ranges::Method(Method::MinMax),
    Ranges::Careful(512.0),
    Ranges::Careful(64.0),
    Ranges::Careful(8.0),
    Ranges::Careful(1.0),
];

impl<'a> Bench<'a> {
    /// A bench for `float` with these limits.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub fn new(
        float: &Model,
        engine: &'a dyn Executor,
        probe: &'a Probe,
        plan: &'a Plan,
        without: &'a BTreeSet<String>,
        limits: Limits,
    ) -> Result<Bench<'a>, QuantizeError> {
        let mut shown = shown(float, &Wanted::only([]), engine)?;
        Ok(Bench::with(float, engine, probe, plan, without, limits, &mut shown)?)
    }

    /// As [`Bench::new`], where `float` is loaded and [`shown`].
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub(crate) fn with(
        float: &Model,
        engine: &'a dyn Executor,
        probe: &'a Probe,
        plan: &'a Plan,
        without: &'a BTreeSet<String>,
        limits: Limits,
        shown: &mut Gathering<'_>,
    ) -> Result<Bench<'a>, Cannot> {
        let scores = scores(&float.graph);
        let outputs = float.graph.scope(ScopeId::MAIN).outputs().len();
        let (reference, further) = (Vec::new(), Vec::new());
        let stepped = limits.stepped;
        let mut bench =
            Bench { engine, probe, plan, without, stepped, scores, reference, further, outputs: Vec::new() };
        for feed in probe.held_out.iter().take(limits.proven.max(limits.judged).max(1)) {
            let mut given = shown.beside(feed)?;
            let scored = given.split_off(outputs.min(given.len()));
            if bench.reference.len() < limits.judged.max(1) {
                bench.reference.push(scored);
            }
            bench.outputs.push(given);
        }
        for feed in probe.tried.iter().take(limits.further) {
            let mut given = shown.beside(feed)?;
            bench.further.push(given.split_off(outputs.min(given.len())));
        }
        Ok(bench)
    }

    /// The outputs of the model in real numbers, for the first samples held out.
    pub fn outputs(&self) -> &[Vec<Tensor>] {
        &self.outputs
    }

    /// How close outputs are to those of the model in real numbers, in dB: the mean over samples and outputs of each
    /// one's signal over noise. So a sample at which the model is undecided, whose error is many times that of others,
    /// does not say alone which of two models is better.
    fn judge(&self, run: impl FnMut(&Sample) -> Result<Vec<Tensor>, QuantizeError>) -> Result<f64, QuantizeError> {
        Ok(judged(self.probe.held_out.iter().zip(&self.reference), run)?.mean())
    }

    /// As [`Bench::judge`] on the samples held out; and on these and others together.
    fn judge_further(
        &self,
        mut run: impl FnMut(&Sample) -> Result<Vec<Tensor>, QuantizeError>,
    ) -> Result<[f64; 2], QuantizeError> {
        let held_out = judged(self.probe.held_out.iter().zip(&self.reference), &mut run)?;
        let further = judged(self.probe.tried.iter().zip(&self.further), run)?;
        Ok([held_out.mean(), Judged::all(&[held_out, further]).mean()])
    }

    /// `float` with the plan's integers, to be run with any scales of these groups.
    fn simulated(&self, float: &Model, scales: &Scales) -> Result<Simulation, QuantizeError> {
        Simulation::of(float, self.plan, scales, &self.scores, self.engine)
    }

    /// How good `float` is with the plan's integers and these scales.
    pub(crate) fn quantized(&self, float: &Model, scales: &Scales) -> Result<f64, QuantizeError> {
        let mut simulation = self.simulated(float, scales)?;
        self.judge(|feed| simulation.run(feed, scales))
    }

    /// The same bench for another plan.
    #[must_use]
    pub fn planned<'b>(&'b self, plan: &'b Plan) -> Bench<'b> {
        let (reference, further, outputs) = (self.reference.clone(), self.further.clone(), self.outputs.clone());
        Bench { plan, scores: self.scores.clone(), reference, further, outputs, ..*self }
    }

    /// Correct the weights of `float`, whose tensors hold what was `gathered`; the tensors of the corrected model are
    /// seen on the samples to try things on.
    ///
    /// Nothing is done where statistics come from files: they are of the model as it was.
    ///
    /// Where runs take long, the first samples held out have to agree that it is better, or no others are run; and what
    /// was changed is not run on samples to try things on: its range follows from the channels that were divided. What
    /// else its tensors hold is not known then, and where it is kept nothing is `gathered` any more.
    ///
    /// # Errors
    /// When the engine cannot run a model that it could run before.
    pub fn equalize(
        &self,
        float: &mut Model,
        gathered: &mut Gathered,
        ranges: Ranges,
        steps: &mut Vec<Step>,
    ) -> Result<(), QuantizeError> {
        let mut before = None;
        let mut is_complete = true;
        for (name, kind) in [("equalize-channels", Kind::Channels), ("smooth-activations", Kind::Activations)] {
            if self.without.contains(name) {
                continue;
            }
            let mut changed = float.clone();
            let divided = equalize(&mut changed, kind, gathered, self);
            if divided.is_empty() {
                continue;
            }
            let was = match before.take() {
                Some(before) => before,
                None => self.each(float, gathered, ranges, &[])?,
            };
            let follows = self.is_long() && ranges == LADDER[0];
            let (seen, is_seen) = match follow(&changed.graph, gathered, &divided).filter(|_| follows) {
                Some(following) => (following, false),
                None => (seen(&changed, self.plan, self.probe, self.engine)?, true),
            };
            let than = if self.is_long() { &was[..] } else { &[] };
            let after = self.each(&changed, &seen, ranges, than)?;
            let [earlier, later] = [&was[..after.len()], &after].map(|each| Judged::all(each).mean());
            let kept = after.len() == was.len() && later > earlier;
            steps.push(Step { name, before: earlier, after: later, kept, changes: divided.len() });
            if kept {
                *float = changed;
                *gathered = seen;
                is_complete = is_seen;
            }
            before = Some(if kept { after } else { was });
        }
        if !is_complete {
            *gathered = Gathered::default();
        }
        Ok(())
    }

    /// How good `float` is on each of the samples held out, with the plan's integers and such ranges of what was
    /// `gathered`. Where it is not better on each of the first than another model, it is not run on more.
    fn each(
        &self,
        float: &Model,
        gathered: &Gathered,
        ranges: Ranges,
        than: &[Judged],
    ) -> Result<Vec<Judged>, QuantizeError> {
        let scales = scales(&float.graph, self.plan, gathered, ranges)?;
        let mut simulation = self.simulated(float, &scales)?;
        let mut each: Vec<Judged> = Vec::with_capacity(self.reference.len());
        for sample in self.probe.held_out.iter().zip(&self.reference) {
            let is_better = |(found, than): (&Judged, &Judged)| found.mean() > than.mean();
            if each.len() == EARLY && !each.iter().zip(than).all(is_better) {
                break;
            }
            each.push(judged(std::iter::once(sample), |feed| simulation.run(feed, &scales))?);
        }
        Ok(each)
    }

    /// Scales for ranges that cut off as much as is good for the outputs; with how good they are on samples held out,
    /// where that was measured, and how the ranges were chosen.
    ///
    /// What is cut off differs from sample to sample, more than what other corrections bring, and a choice of few fits
    /// no sample by chance: so those that statistics are of have a say as well.
    ///
    /// # Errors
    /// As [`Bench::equalize`].
    pub fn choose_ranges(
        &self,
        float: &Model,
        gathered: &Gathered,
        steps: &mut Vec<Step>,
    ) -> Result<(Scales, Option<f64>, Ranges), QuantizeError> {
        const NAME: &str = "choose-ranges";
        let of = |ranges: Ranges| scales(&float.graph, self.plan, gathered, ranges);
        let first = of(LADDER[0])?;
        if self.without.contains(NAME) || self.plan.sites.is_empty() {
            return Ok((first, None, LADDER[0]));
        }
        let mut simulation = self.simulated(float, &first)?;
        let mut known = [[f64::NEG_INFINITY; 2]; LADDER.len()];
        let rung = match self.further.is_empty() {
            true => {
                let scales = LADDER.map(of);
                let scales = scales.into_iter().collect::<Result<Vec<Scales>, _>>()?;
                let samples: Vec<_> = self.probe.held_out.iter().zip(&self.reference).collect();
                let run = |rung: usize, place: usize| {
                    judged(std::iter::once(samples[place]), |feed| simulation.run(feed, &scales[rung]))
                };
                let mut rivals = Rivals::new(LADDER.len(), samples.len(), run);
                let rung = highest(LADDER.len(), |rung, best| rivals.is_better(rung, best))?;
                let told = rivals.told(rung)?;
                known[0] = [told.first; 2];
                known[rung] = [told.all, told.beside];
                rung
            }
            // Runs take little: what is chance is no slope.
            false => {
                let measured = |rung: usize| {
                    let tried = of(LADDER[rung])?;
                    known[rung] = self.judge_further(|feed| simulation.run(feed, &tried))?;
                    Ok::<f64, QuantizeError>(known[rung][1])
                };
                let heights = (0..LADDER.len()).map(measured).collect::<Result<Vec<f64>, QuantizeError>>()?;
                (1..heights.len()).fold(0, |best, rung| if heights[rung] > heights[best] { rung } else { best })
            }
        };
        let ([_, before], [held_out, after]) = (known[0], known[rung]);
        steps.push(Step { name: NAME, before, after, kept: rung > 0, changes: self.plan.sites.len() });
        Ok((of(LADDER[rung])?, Some(held_out), LADDER[rung]))
    }

    /// Correct the biases of `float`, whose outputs with these scales are as good as `before` says, where that is known.
    ///
    /// # Errors
    /// As [`Bench::equalize`].
    pub fn correct_biases(
        &self,
        float: &mut Model,
        gathered: &Gathered,
        scales: &Scales,
        before: Option<f64>,
        steps: &mut Vec<Step>,
    ) -> Result<(), QuantizeError> {
        let Some((changed, changes)) = self.with_biases(float, gathered) else { return Ok(()) };
        let before = match before {
            Some(before) => before,
            None => self.quantized(float, scales)?,
        };
        let mut best = (self.quantized(&changed, scales)?, changed, changes);
        let feeds = &self.probe.tried[..self.stepped.min(self.probe.tried.len())];
        if !feeds.is_empty() {
            let (changed, changes) = correct_in_order(float, self.plan, scales, feeds, self.engine)?;
            let found = self.quantized(&changed, scales)?;
            if found > best.0 {
                best = (found, changed, changes);
            }
        }
        let (after, changed, changes) = best;
        let kept = after > before;
        if kept {
            *float = changed;
        }
        steps.push(Step { name: BIASES, before, after, kept, changes });
        Ok(())
    }

    /// Whether runs take so long that as few as possible are made.
    pub(crate) fn is_long(&self) -> bool {
        self.stepped == 0
    }

    /// `float` with biases that take back what rounding weights adds on the average, and how many changed. `None` where
    /// that is left out, or changes nothing.
    pub(crate) fn with_biases(&self, float: &Model, gathered: &Gathered) -> Option<(Model, usize)> {
        let mut changed = float.clone();
        let changes = if self.without.contains(BIASES) { 0 } else { correct_biases(&mut changed, self.plan, gathered) };
        (changes > 0).then_some((changed, changes))
    }

    /// What [`Bench::with_biases`] brought, where a model with integers `gives` so of each sample held out and is as good as
    /// `before` says without it.
    pub(crate) fn told_of_biases(
        &self,
        before: f64,
        gives: Vec<Vec<Tensor>>,
        changes: usize,
    ) -> Result<Step, QuantizeError> {
        let mut gives = gives.into_iter();
        let after = self.judge(|_| Ok(gives.next().unwrap_or_default()))?;
        Ok(Step { name: BIASES, before, after, kept: after > before, changes })
    }

    /// What is compared in a model with integers, a descendant of the one in real numbers.
    pub(crate) fn scores_in(&self, integer: &Graph) -> Vec<ValueId> {
        let outputs = integer.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value);
        let scores = self.scores.iter().zip(outputs);
        scores.map(|(&score, output)| if integer.has_value(score) { score } else { output }).collect()
    }
}

/// What correcting biases is called.
const BIASES: &str = "correct-biases";

/// How many samples are run how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Samples held out that decide, at the most.
    pub judged: usize,
    /// Samples held out that outputs are compared on, at the most; never fewer than those that decide.
    pub proven: usize,
    /// How many others help to choose ranges.
    pub further: usize,
    /// How many go through the model layer by layer.
    pub stepped: usize,
}

/// `float`, loaded to see what is `wanted` of it; beside that it gives its outputs, and then what is compared of each.
pub(crate) fn shown<'e>(
    float: &Model,
    wanted: &Wanted,
    engine: &'e dyn Executor,
) -> Result<Gathering<'e>, CalibrationError> {
    let outputs = float.graph.scope(ScopeId::MAIN).outputs().iter().map(crate::ir::Output::value);
    let beside: Vec<ValueId> = outputs.chain(scores(&float.graph)).collect();
    Ok(Gathering::new(float, wanted, &beside, engine, Gathered::default())?)
}

/// What the tensors of `plan` hold in `float`, on the few samples that corrections are tried on.
///
/// # Errors
/// When the engine cannot run it.
pub fn seen(float: &Model, plan: &Plan, probe: &Probe, engine: &dyn Executor) -> Result<Gathered, CalibrationError> {
    let wanted = wanted(&float.graph, plan, Wanted::only([]));
    Ok(gather(float, &wanted, &mut probe.tried.iter().cloned().map(Ok), engine, &|_| {}, Gathered::default())?)
}

/// `wanted` and what corrections and scales of `plan` need.
pub fn wanted(graph: &Graph, plan: &Plan, wanted: Wanted) -> Wanted {
    let wanted = plan.sites.iter().fold(wanted, |wanted, site| wanted.with(site.value));
    let measured = measures(graph, plan);
    channels_of_layers(graph, plan)
        .into_iter()
        .chain(measured)
        .fold(wanted, |wanted, (value, axis)| wanted.with_channels(value, i64::try_from(axis).unwrap_or_default()))
}

/// What the plan's layers read, with the axis of its channels.
fn channels_of_layers(graph: &Graph, plan: &Plan) -> Vec<(ValueId, usize)> {
    let layer = |site: &WeightSite| {
        let call = CallView::new(graph, site.node);
        let Channels::Mixed { weight, input, .. } = (def(call.node().op).channels)(&call) else { return None };
        call.operand(input.0).filter(|_| weight == site.slot).map(|value| (value, input.1))
    };
    let mut found: Vec<(ValueId, usize)> = plan.weights.iter().filter_map(layer).collect();
    found.sort_unstable();
    found.dedup_by_key(|(value, _)| *value);
    found
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::calibrate::{Calibration, Source};
    use crate::exec::tract::Tract;
    use crate::ir::{OpKind, ScopeId};
    use crate::passes::infer_declared;
    use crate::quantize::correct::judge::BEST;
    use crate::quantize::{Grid, Readers, Site};
    use crate::text::parse;

    fn limits(stepped: usize) -> Limits {
        Limits { judged: 8, proven: 8, further: 0, stepped }
    }

    /// A model in text, and a plan that gives integers to every layer and to what it reads.
    fn planned(text: &str) -> (Model, Plan) {
        let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {text}"#)).unwrap();
        infer_declared(&mut model.graph);
        let mut plan = Plan::default();
        for node in model.graph.schedule(ScopeId::MAIN) {
            if !matches!(model.graph.node(node).op, OpKind::Conv | OpKind::Gemm | OpKind::MatMul) {
                continue;
            }
            let axis = usize::from(model.graph.node(node).op != OpKind::Conv);
            let (group, grid) = (plan.sites.len(), Grid::U8);
            plan.weights.push(WeightSite {
                node,
                slot: 1,
                axis: Some(axis),
                grid: Grid::I8,
                scales: None,
                rule: String::new(),
                bias: crate::target::policy::BiasForm::Float,
            });
            let value = model.graph.operand(node, 0).unwrap();
            let readers = Readers::Some(vec![(node, 0)]);
            plan.sites.push(Site {
                value,
                readers,
                grid,
                group,
                rule: String::new(),
                fixed: None,
                near: false,
                even: None,
            });
        }
        (model, plan)
    }

    fn given(model: &Model) -> Probe {
        let calibration = Calibration { source: Some(Source::Random(1)), samples: Some(32), ..Calibration::default() };
        calibration.probe(model, &Tract, &|_| 8).unwrap()
    }

    const UNEVEN: &str = "g (float[1,2,6,6] x) => (float[1,2,6,6] y)
        <float[3,2,1,1] w = {1, 0.7, 0.005, -0.01, -0.02, 0.004}, float[3] b = {0.1, 0.001, 0.002},
         float[2,3,1,1] v = {0.8, 90, -40, -0.5, 100, 60}, float[2] c = {0.3, -0.2}>
        { a = Conv(x, w, b)
          r = Relu(a)
          y = Conv(r, v, c) }";

    #[test]
    fn uneven_channels_are_equalized_and_the_function_stays() {
        let (float, plan) = planned(UNEVEN);
        let probe = given(&float);
        let none = BTreeSet::new();
        let bench = Bench::new(&float, &Tract, &probe, &plan, &none, limits(0)).unwrap();
        let (mut model, mut steps) = (float.clone(), Vec::new());
        let mut gathered = seen(&model, &plan, &probe, &Tract).unwrap();
        let ranges = Ranges::Method(Method::MinMax);
        bench.equalize(&mut model, &mut gathered, ranges, &mut steps).unwrap();
        assert_eq!((steps.len(), steps[0].name, steps[0].changes), (1, "equalize-channels", 1));
        assert!(steps[0].kept && steps[0].after > steps[0].before + 5.0, "{steps:?}");
        let mut session = Tract.load(&model).unwrap();
        let same = bench.judge(|feed| Ok(session.run(feed)?)).unwrap();
        assert!(same > BEST - 1e-9, "the function is the same");
        assert!(model.graph.values().count() == float.graph.values().count(), "old weights are gone");
    }

    #[test]
    fn what_divided_channels_hold_follows() {
        let (float, plan) = planned(UNEVEN);
        let probe = given(&float);
        let none = BTreeSet::new();
        let bench = Bench::new(&float, &Tract, &probe, &plan, &none, limits(0)).unwrap();
        let mut gathered = seen(&float, &plan, &probe, &Tract).unwrap();
        let mut changed = float.clone();
        let divided = equalize(&mut changed, Kind::Channels, &gathered, &bench);
        let following = follow(&changed.graph, &gathered, &divided).unwrap();
        let known = seen(&changed, &plan, &probe, &Tract).unwrap();
        let (known, found) = (&known.tensors["r"], &following.tensors["r"]);
        let of = |s: &crate::calibrate::Statistics| {
            let channels = s.channels.clone().unwrap();
            let ends = channels.min.into_iter().chain(channels.max).chain([s.min, s.max]).map(f64::from);
            ends.chain(channels.mean).chain(channels.power).collect::<Vec<f64>>()
        };
        assert!(of(known).iter().zip(of(found)).all(|(x, y)| (x - y).abs() <= 1e-5 * x.abs()), "{known:?} {found:?}");
        assert!(known.max != gathered.tensors["r"].max && (found.samples, found.histogram.len()) == (8, 0));
        // Where runs take long, histograms are not known then.
        let mut steps = Vec::new();
        bench.equalize(&mut float.clone(), &mut gathered, LADDER[0], &mut steps).unwrap();
        assert!(steps[0].kept && gathered == Gathered::default());
        let mut few = seen(&float, &plan, &probe, &Tract).unwrap();
        let bench = Bench::new(&float, &Tract, &probe, &plan, &none, limits(8)).unwrap();
        bench.equalize(&mut float.clone(), &mut few, LADDER[0], &mut steps).unwrap();
        assert!(steps[1].kept && !few.tensors["r"].histogram.is_empty());
    }

    #[test]
    fn what_is_left_out_by_name_is_not_done() {
        let (mut float, plan) = planned(UNEVEN);
        let probe = given(&float);
        let without = ["equalize-channels", "smooth-activations", "choose-ranges", "correct-biases"];
        let without: BTreeSet<String> = without.into_iter().map(str::to_string).collect();
        let model = float.clone();
        let bench = Bench::new(&model, &Tract, &probe, &plan, &without, limits(0)).unwrap();
        let mut gathered = seen(&float, &plan, &probe, &Tract).unwrap();
        let mut steps = Vec::new();
        let first = Ranges::Method(Method::MinMax);
        bench.equalize(&mut float, &mut gathered, first, &mut steps).unwrap();
        let (chosen, known, _) = bench.choose_ranges(&float, &gathered, &mut steps).unwrap();
        assert_eq!((&chosen, known), (&scales(&float.graph, &plan, &gathered, first).unwrap(), None));
        bench.correct_biases(&mut float, &gathered, &chosen, known, &mut steps).unwrap();
        assert_eq!(steps, []);
    }

    #[test]
    fn a_bias_takes_back_what_rounding_takes_away() {
        // Behind a Relu means are positive, and 0.0038 is just below half a step of 1/127.
        let (float, plan) = planned(
            "g (float[4,4] x) => (float[4,2] y)
            <float[4,2] w = {1, 0.0038, 0.0038, 1, 0.0038, 0.0038, 0.0038, 0.0038}, float[2] b = {0, 0}>
            { r = Relu(x)
              y = Gemm(r, w, b) }",
        );
        let probe = given(&float);
        let none = BTreeSet::new();
        let bench = Bench::new(&float, &Tract, &probe, &plan, &none, limits(0)).unwrap();
        let (mut model, mut steps) = (float.clone(), Vec::new());
        let gathered = seen(&model, &plan, &probe, &Tract).unwrap();
        let scales = scales(&model.graph, &plan, &gathered, Method::MinMax).unwrap();
        bench.correct_biases(&mut model, &gathered, &scales, None, &mut steps).unwrap();
        assert!(steps[0].kept && steps[0].changes == 1, "{steps:?}");
        let call = model.graph.schedule(ScopeId::MAIN)[1];
        let bias = model.graph.operand(call, 2).and_then(|b| model.graph.constant(b)?.reals()).unwrap();
        // Three weights of 0.0038 each, times the mean of a normal distribution's positive part.
        assert!(bias.iter().all(|b| (0.003..0.006).contains(b)), "{bias:?}");
    }

    #[test]
    fn biases_corrected_in_order_see_what_pads() {
        // Every weight of the first layer is rounded up, by nearly half a step; elements that pad are none of a mean.
        let (float, plan) = planned(
            "g (float[1,1,3,3] x) => (float[1,1,3,3] y)
            <float[2,1,3,3] w = {1, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042,
                                 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 0.0042, 1},
             float[1,2,1,1] v = {1, 0.0042}>
            { r = Relu(x)
              a = Conv <pads = [1, 1, 1, 1]> (r, w)
              y = Conv(a, v) }",
        );
        let probe = given(&float);
        let gathered = seen(&float, &plan, &probe, &Tract).unwrap();
        let scales = scales(&float.graph, &plan, &gathered, Method::MinMax).unwrap();
        let (corrected, changes) = correct_in_order(&float, &plan, &scales, &probe.tried, &Tract).unwrap();
        assert_eq!(changes, 2);
        let none = BTreeSet::new();
        let bench = Bench::new(&float, &Tract, &probe, &plan, &none, limits(8)).unwrap();
        let (before, after) =
            (bench.quantized(&float, &scales).unwrap(), bench.quantized(&corrected, &scales).unwrap());
        assert!(after > before, "{before} {after}");
        let (mut model, mut steps) = (float.clone(), Vec::new());
        bench.correct_biases(&mut model, &gathered, &scales, Some(before), &mut steps).unwrap();
        assert!(steps[0].kept && steps[0].after >= after && steps[0].before == before, "{steps:?}");
    }

    #[test]
    fn ranges_are_no_worse_than_the_first_rung() {
        let (float, plan) = planned(UNEVEN);
        let probe = given(&float);
        let none = BTreeSet::new();
        let bench = Bench::new(&float, &Tract, &probe, &plan, &none, limits(0)).unwrap();
        let gathered = seen(&float, &plan, &probe, &Tract).unwrap();
        let mut steps = Vec::new();
        let (chosen, known, _) = bench.choose_ranges(&float, &gathered, &mut steps).unwrap();
        let first = scales(&float.graph, &plan, &gathered, LADDER[0]).unwrap();
        assert!(steps[0].after >= steps[0].before && steps[0].kept == (chosen != first), "{steps:?}");
        let again = bench.quantized(&float, &chosen).unwrap();
        assert_eq!(known, Some(again), "of all samples, as far as they were needed to choose or not");
    }

    #[test]
    fn weights_that_are_no_numbers_are_left_alone() {
        for bad in ["nan", "inf", "0"] {
            let text = UNEVEN.replace("0.8, 90, -40, -0.5, 100, 60", &[bad; 6].join(", "));
            let (float, plan) = planned(&text);
            let probe = given(&float);
            let none = BTreeSet::new();
            let bench = Bench::new(&float, &Tract, &probe, &plan, &none, limits(0)).unwrap();
            let (mut model, mut steps) = (float.clone(), Vec::new());
            let mut gathered = seen(&model, &plan, &probe, &Tract).unwrap();
            bench.equalize(&mut model, &mut gathered, LADDER[0], &mut steps).unwrap();
            assert_eq!(steps, [], "{bad}");
        }
    }
}
