//! Where corrections are tried: what a model with them makes of samples, beside what the one in real numbers makes.

use std::collections::BTreeSet;

use crate::calibrate::{Gathered, Gathering, Method, Probe, Sample, Wanted};
use crate::exec::{Cannot, Executor};
use crate::ir::{Graph, ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::quality::loss::scores;
use crate::quantize::correct::biases::correct_biases;
use crate::quantize::correct::equalize::{Kind, equalize, follow};
use crate::quantize::correct::in_order::correct_in_order;
use crate::quantize::correct::judge::{EARLY, Judged, Rivals, highest, judged};
use crate::quantize::correct::simulation::{Scales, Simulation};
use crate::quantize::correct::{Step, seen, shown};
use crate::quantize::{Plan, QuantizeError, Ranges, scales};

/// What corrections are made and measured with.
#[derive(Clone, Copy)]
pub struct Setting<'a> {
    /// What runs models.
    pub engine: &'a dyn Executor,
    /// Samples that corrections are made from, and others that they are measured on.
    pub probe: &'a Probe,
    /// What gets integers.
    pub plan: &'a Plan,
    /// Corrections that are left out.
    pub without: &'a BTreeSet<String>,
    /// How many samples are run how.
    pub limits: Limits,
}

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

/// Samples, and what the model in real numbers makes of them.
pub struct Bench<'a> {
    pub(super) setting: Setting<'a>,
    /// What is compared.
    scores: Vec<ValueId>,
    /// What that is in the model in real numbers, of samples held out.
    reference: Vec<Vec<Tensor>>,
    /// And of the first of those that corrections are tried on, as far as these help to choose ranges.
    further: Vec<Vec<Tensor>>,
    /// The outputs of the model in real numbers, for those of the samples held out that outputs are compared on.
    outputs: Vec<Vec<Tensor>>,
}

/// How carefully ranges are cut, from the most careful on: from never to counting each error once. The first is what
/// others are compared with.
pub(super) const LADDER: [Ranges; 5] = [
    Ranges::Method(Method::MinMax),
    Ranges::Careful(512.0),
    Ranges::Careful(64.0),
    Ranges::Careful(8.0),
    Ranges::Careful(1.0),
];

/// What correcting biases is called.
const BIASES: &str = "correct-biases";

impl<'a> Bench<'a> {
    /// A bench for `float`.
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub fn new(float: &Model, setting: Setting<'a>) -> Result<Bench<'a>, QuantizeError> {
        let mut shown = shown(float, &Wanted::only([]), setting.engine)?;
        Ok(Bench::with(float, setting, &mut shown)?)
    }

    /// As [`Bench::new`], where `float` is loaded and [`shown`].
    ///
    /// # Errors
    /// When the engine cannot run it.
    pub(crate) fn with(float: &Model, setting: Setting<'a>, shown: &mut Gathering<'_>) -> Result<Bench<'a>, Cannot> {
        let scores = scores(&float.graph);
        let outputs = float.graph.scope(ScopeId::MAIN).outputs().len();
        let (reference, further) = (Vec::new(), Vec::new());
        let Setting { probe, limits, .. } = setting;
        let mut bench = Bench { setting, scores, reference, further, outputs: Vec::new() };
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
    pub(super) fn judge(
        &self,
        run: impl FnMut(&Sample) -> Result<Vec<Tensor>, QuantizeError>,
    ) -> Result<f64, QuantizeError> {
        Ok(judged(self.setting.probe.held_out.iter().zip(&self.reference), run)?.mean())
    }

    /// As [`Bench::judge`] on the samples held out; and on these and others together.
    fn judge_further(
        &self,
        mut run: impl FnMut(&Sample) -> Result<Vec<Tensor>, QuantizeError>,
    ) -> Result<[f64; 2], QuantizeError> {
        let held_out = judged(self.setting.probe.held_out.iter().zip(&self.reference), &mut run)?;
        let further = judged(self.setting.probe.tried.iter().zip(&self.further), run)?;
        Ok([held_out.mean(), Judged::all(&[held_out, further]).mean()])
    }

    /// `float` with the plan's integers, to be run with any scales of these groups.
    fn simulated(&self, float: &Model, scales: &Scales) -> Result<Simulation, QuantizeError> {
        Simulation::of(float, self.setting.plan, scales, &self.scores, self.setting.engine)
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
        let setting = Setting { plan, ..self.setting };
        Bench { setting, scores: self.scores.clone(), reference, further, outputs }
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
            if self.setting.without.contains(name) {
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
                None => (seen(&changed, self.setting.plan, self.setting.probe, self.setting.engine)?, true),
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
        let scales = scales(&float.graph, self.setting.plan, gathered, ranges)?;
        let mut simulation = self.simulated(float, &scales)?;
        let mut each: Vec<Judged> = Vec::with_capacity(self.reference.len());
        for sample in self.setting.probe.held_out.iter().zip(&self.reference) {
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
        let of = |ranges: Ranges| scales(&float.graph, self.setting.plan, gathered, ranges);
        let first = of(LADDER[0])?;
        if self.setting.without.contains(NAME) || self.setting.plan.sites.is_empty() {
            return Ok((first, None, LADDER[0]));
        }
        let mut simulation = self.simulated(float, &first)?;
        let mut known = [[f64::NEG_INFINITY; 2]; LADDER.len()];
        let rung = match self.further.is_empty() {
            true => {
                let scales = LADDER.map(of);
                let scales = scales.into_iter().collect::<Result<Vec<Scales>, _>>()?;
                let samples: Vec<_> = self.setting.probe.held_out.iter().zip(&self.reference).collect();
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
        steps.push(Step { name: NAME, before, after, kept: rung > 0, changes: self.setting.plan.sites.len() });
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
        let feeds = &self.setting.probe.tried[..self.setting.limits.stepped.min(self.setting.probe.tried.len())];
        if !feeds.is_empty() {
            let (changed, changes) = correct_in_order(float, self.setting.plan, scales, feeds, self.setting.engine)?;
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
        self.setting.limits.stepped == 0
    }

    /// `float` with biases that take back what rounding weights adds on the average, and how many changed. `None` where
    /// that is left out, or changes nothing.
    pub(crate) fn with_biases(&self, float: &Model, gathered: &Gathered) -> Option<(Model, usize)> {
        let mut changed = float.clone();
        let changes = if self.setting.without.contains(BIASES) {
            0
        } else {
            correct_biases(&mut changed, self.setting.plan, gathered)
        };
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
