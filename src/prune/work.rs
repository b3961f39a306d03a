//! From a model and a budget to a smaller model: what goes, stage by stage, and what is done for what is left.

use rustc_hash::FxHashMap;

use crate::distill::{Trial, distill};
use crate::exec::Verdict;
use crate::model::Model;
use crate::proof::{Referee, differences};
use crate::prune::account::{GroupAccount, accounts, stops};
use crate::prune::budget::{Budget, allocate};
use crate::prune::colour::{Axis, Choices, Class, Colouring};
use crate::prune::cut::Cut;
use crate::prune::error::PruneError;
use crate::prune::groups::{Group, Groups};
use crate::prune::importance::{Criterion, Ranker, Ranking, by_weights, rank};
use crate::prune::mask::masked;
use crate::prune::meter::Measure;
use crate::prune::pruner::Pruner;
use crate::prune::recover::{Recovery, recover};
use crate::prune::roles::Roles;
use crate::prune::summary::{Pruned, Summary};
use crate::prune::surgery::apply;
use crate::prune::untie::untie;
use crate::quality::{Bounds, Measured, OutOfBounds, compare};
use crate::rewrite::Exactness;

impl Pruner {
    /// Prune `model`; `tell` hears how many steps of how many are done.
    ///
    /// # Errors
    /// When nothing can go, when samples cannot be read or the result cannot be run, and when it is not as good as it
    /// has to be.
    pub fn run(&self, model: &mut Model, tell: &dyn Fn(u64, u64)) -> Result<Summary, PruneError> {
        untie(&mut model.graph);
        let choices = Choices { grouped: self.grouped, factor: self.factor, protected: self.protected(&model.graph)? };
        let groups = Groups::of(&model.graph, Colouring::of(&model.graph, &choices));
        let stopped = stops(&model.graph, &groups.colouring);
        if groups.groups.is_empty() {
            return Err(PruneError::Nothing(stopped, groups.alone()));
        }
        let ratios = self.ratios(&model.graph, &groups)?;
        let roles = self.roles(model)?;
        if roles.telling.is_empty() && self.bounds != Bounds::default() {
            return Err(PruneError::Bounds(OutOfBounds::NothingToCompare));
        }
        let work = Work { pruner: self, dense: model.clone(), groups, ratios, roles, tell };
        let mut done = work.spend(self.budget)?;
        done.summary.stopped = stopped;
        self.bounds.check(&done.summary.measured.outputs).map_err(PruneError::Bounds)?;
        *model = done.model;
        Ok(done.summary)
    }
}

/// The least share of the work that a search tries to leave.
const LEAST_SHARE: f64 = 0.05;

/// Steps of a search: the share that it finds is within a hundredth of the largest that is possible.
const HALVINGS: usize = 6;

/// Steps back from what samples that tell agree to, after larger ones towards it.
const FURTHER: usize = 2;

/// A pruner at work on one model.
pub(super) struct Work<'a> {
    pub(super) pruner: &'a Pruner,
    pub(super) dense: Model,
    pub(super) groups: Groups,
    pub(super) ratios: FxHashMap<usize, f64>,
    pub(super) roles: Roles,
    pub(super) tell: &'a dyn Fn(u64, u64),
}

/// A pruned model and what became of it.
#[derive(Clone)]
pub(super) struct Done {
    pub(super) model: Model,
    pub(super) cut: Cut,
    pub(super) summary: Summary,
}

impl Work<'_> {
    /// Spend a budget.
    pub(super) fn spend(&self, budget: Budget) -> Result<Done, PruneError> {
        let criterion = match (self.pruner.criterion, self.roles.all.is_empty()) {
            (Some(criterion), true) if criterion.needs_samples() => return Err(PruneError::NoSamples(criterion)),
            (Some(criterion), _) => criterion,
            (None, true) => Criterion::L2,
            (None, false) => Criterion::Obs,
        };
        let mut first = self.rankings(&self.dense, &self.groups, criterion)?;
        let mut criterion = criterion;
        // Nobody asked for what samples say, and they say nothing: of readers that are grouped convolutions, all of them.
        if self.pruner.criterion.is_none() && criterion != Criterion::L2 && first.iter().all(Option::is_none) {
            criterion = Criterion::L2;
            first = self.rankings(&self.dense, &self.groups, criterion)?;
        }
        if first.iter().all(Option::is_none) {
            return Err(PruneError::NoScores(criterion));
        }
        match budget {
            Budget::Auto => {
                let mut done = self.search(criterion, &first)?;
                let mut nearer = done.clone();
                self.distill_outputs(&mut nearer)?;
                self.tell_of(&mut nearer)?;
                // What is nearer on average may have another largest score somewhere.
                if self.pruner.bounds.check(&nearer.summary.measured.outputs).is_ok() {
                    return Ok(nearer);
                }
                done.summary.notes.push("outputs were not distilled: the bound is kept without that only".into());
                Ok(done)
            }
            budget => {
                let mut done = self.in_stages(criterion, &first, budget)?;
                self.distill_outputs(&mut done)?;
                self.tell_of(&mut done)?;
                Ok(done)
            }
        }
    }

    /// As much as bounds allow: halving the interval of shares of the work that may be enough finds it by samples that
    /// decide. Those that tell are asked of that alone. Where they say that it is too little, more is left, in steps that
    /// double, until they agree, and then a little less.
    fn search(&self, criterion: Criterion, first: &[Option<Ranking>]) -> Result<Done, PruneError> {
        let leaving = |share: f64| self.in_stages(criterion, first, Budget::Keep(Measure::Macs, share));
        let (mut enough, mut found, mut last) = (1.0, None, None);
        let mut little = LEAST_SHARE;
        for _ in 0..HALVINGS {
            let share = 0.5 * (enough + little);
            let done = leaving(share)?;
            let outputs = compare(&self.dense, &done.model, &self.roles.deciding, &*self.pruner.engine)?;
            match self.pruner.bounds.check(&outputs) {
                Ok(()) => (enough, found) = (share, Some(done)),
                Err(error) => (little, last) = (share, Some(error)),
            }
        }
        let mut done = match (found, last) {
            (Some(done), _) => done,
            (None, Some(error)) => return Err(PruneError::Bounds(error)),
            (None, None) => return Err(PruneError::Nothing(Vec::new(), 0)),
        };
        self.tell_of(&mut done)?;
        let keeps = |done: &Done| self.pruner.bounds.check(&done.summary.measured.outputs);
        let searched = done.summary.macs;
        let (mut share, mut step) = (enough, enough - little);
        while let Err(error) = keeps(&done) {
            // Where groups may lose no more, as much is left as if more had been asked for.
            little = share.max(done.summary.macs);
            share = little + step;
            step *= 2.0;
            if share >= 1.0 {
                return Err(PruneError::Bounds(error));
            }
            done = leaving(share)?;
            self.tell_of(&mut done)?;
        }
        if done.summary.macs > searched {
            for _ in 0..FURTHER {
                let between = 0.5 * (little + share);
                let mut less = leaving(between)?;
                self.tell_of(&mut less)?;
                match keeps(&less) {
                    Ok(()) => (share, done) = (between, less),
                    Err(_) => little = between,
                }
            }
            done.summary.notes.push(format!(
                "with {:.0} % of the work left the bound is kept on the samples that were searched by, and not on those \
                 that only tell: {:.0} % is left",
                100.0 * searched,
                100.0 * done.summary.macs
            ));
        }
        Ok(done)
    }

    /// Bring the outputs of a result nearer to the original's, where a short trial helps: on samples that nothing in the
    /// trial was fitted to. What is worth doing is done with all samples.
    fn distill_outputs(&self, done: &mut Done) -> Result<(), PruneError> {
        let how = &self.pruner.distillation;
        if !self.pruner.recovers || self.roles.all.is_empty() || how.steps == Some(0) || done.cut.is_empty() {
            return Ok(());
        }
        let (engine, tell) = (&*self.pruner.engine, self.telling());
        let (samples, held_out) = self.roles.lesson();
        if held_out.is_empty() {
            done.summary
                .notes
                .push("outputs were not distilled: there are too few samples to tell whether it helps".into());
            return Ok(());
        }
        let mut trial = self.dense.clone();
        apply(&mut trial.graph, &done.cut)?;
        recover(&self.dense, &mut trial, &done.cut, &samples, engine, &Recovery::default(), &tell)?;
        let trial = Trial { model: trial, samples: &samples, held_out: &held_out };
        match distill(&self.dense, &mut done.model, &self.roles.all, trial, engine, how, &tell)? {
            Ok(distilled) => done.summary.distilled = Some(distilled),
            Err(why) => done.summary.notes.push(format!("outputs were not distilled: {why}")),
        }
        Ok(())
    }

    /// Say how good a result is.
    fn tell_of(&self, done: &mut Done) -> Result<(), PruneError> {
        if !self.roles.telling.is_empty() {
            let outputs = compare(&self.dense, &done.model, &self.roles.telling, &*self.pruner.engine)?;
            done.summary.measured = Measured { held_out: self.roles.telling.len(), outputs };
        }
        Ok(())
    }

    /// Spend a budget in stages; before each but the first, importance is told anew from what is left. How good that is
    /// nobody is asked.
    fn in_stages(&self, criterion: Criterion, first: &[Option<Ranking>], budget: Budget) -> Result<Done, PruneError> {
        let mut model = self.dense.clone();
        let (mut cut, mut removed) = (Cut::default(), self.groups.nothing());
        let (mut structure, mut recovered) = (None, None);
        let mut short = None;
        for stage in 1..=self.pruner.stages {
            let again;
            let rankings = if stage == 1 {
                first
            } else {
                again = self.again(&model, &cut, &removed, criterion)?;
                &again
            };
            let part = stage as f64 / self.pruner.stages as f64;
            let (graph, rules) = (&self.dense.graph, &self.pruner.rules);
            let chosen = allocate(graph, &self.groups, rankings, budget.part(part), rules, &self.ratios);
            removed = chosen.removed;
            cut = self.groups.cut(&removed);
            // What was repaired for another cut tells what goes next, and is no place to begin from.
            model = self.dense.clone();
            apply(&mut model.graph, &cut)?;
            if stage == self.pruner.stages {
                structure = self.prove(&model, &cut)?;
            }
            if self.pruner.recovers && !self.roles.all.is_empty() {
                // Once it is decided, weights are made from those samples too that decided.
                let is_decided = stage == self.pruner.stages && self.pruner.budget != Budget::Auto;
                let samples = if is_decided { &self.roles.all } else { &self.roles.fitted };
                let (engine, how) = (&*self.pruner.engine, Recovery::default());
                recovered = Some(recover(&self.dense, &mut model, &cut, samples, engine, &how, &self.telling())?);
            }
            if let (Budget::Keep(_, asked), Some(left)) = (budget, chosen.left) {
                short = (stage == self.pruner.stages && left > asked).then_some((asked, left));
            }
        }
        let mut notes = self.roles.notes.clone();
        // What is taken where nobody chose and there are no samples needs no word.
        if self.pruner.criterion.is_none() && criterion == Criterion::L2 && !self.roles.all.is_empty() {
            notes.push("samples say nothing of any group that can go: weights (l2) tell what goes".into());
        }
        notes.extend(short.map(|(asked, left)| {
            format!(
                "{:.0} % were to be left, and {:.0} % are: no group may lose more; --max-ratio and --align say how much",
                100.0 * asked,
                100.0 * left
            )
        }));
        let summary = Summary {
            importance: criterion.to_string(),
            groups: self.pruned(&removed),
            macs: self.groups.macs(&removed),
            structure,
            recovered,
            distilled: None,
            decided_on: self.roles.deciding.len(),
            measured: Measured::default(),
            stopped: Vec::new(),
            notes,
        };
        Ok(Done { model, cut, summary })
    }

    /// Rankings of what is left in `model`, behind the classes that are gone.
    fn again(
        &self,
        model: &Model,
        cut: &Cut,
        removed: &[bool],
        criterion: Criterion,
    ) -> Result<Vec<Option<Ranking>>, PruneError> {
        let choices = Choices {
            grouped: self.pruner.grouped,
            factor: self.pruner.factor,
            protected: self.pruner.protected(&model.graph)?,
        };
        let left = Groups::of(&model.graph, Colouring::of(&model.graph, &choices));
        let ranked = self.rankings(model, &left, criterion)?;
        // Which class of the whole model a class of what is left is.
        let mut whole: FxHashMap<Class, Class> = FxHashMap::default();
        for (value, axes) in left.colouring.tensors() {
            for (axis, classes) in axes.iter().enumerate() {
                let (Axis::Of(classes), Some(before)) = (classes, self.groups.colouring.classes_of(value, axis)) else {
                    continue;
                };
                let kept = cut.kept(value, axis);
                for (i, &class) in classes.iter().enumerate().filter(|(_, class)| **class != 0) {
                    let at = kept.map_or(Some(i), |kept| kept.get(i).copied());
                    if let Some(&before) = at.and_then(|at| before.get(at)) {
                        whole.insert(class, before);
                    }
                }
            }
        }
        let mut group_of: FxHashMap<Class, usize> = FxHashMap::default();
        for (i, group) in self.groups.groups.iter().enumerate() {
            group_of.extend(group.classes.iter().map(|&class| (class, i)));
        }
        let gone = |i: usize| {
            let classes = self.groups.groups[i].classes.iter().copied();
            classes.filter(|&class| removed[class as usize]).map(|class| (class, 0.0))
        };
        let mut rankings: Vec<Option<Ranking>> = vec![None; self.groups.groups.len()];
        for ranking in ranked.into_iter().flatten() {
            for (class, cost) in ranking.order.iter().zip(&ranking.costs) {
                let Some(&class) = whole.get(class) else { continue };
                let Some(&group) = group_of.get(&class) else { continue };
                let of = rankings[group].get_or_insert_with(|| gone(group).collect());
                of.order.push(class);
                of.costs.push(*cost);
            }
        }
        // A group of which one class is left is no group any more.
        for (i, ranking) in rankings.iter_mut().enumerate() {
            if ranking.is_none() && gone(i).next().is_some() {
                *ranking = Some(gone(i).collect());
            }
        }
        Ok(rankings)
    }

    /// The order in which the classes of each group go.
    fn rankings(
        &self,
        model: &Model,
        groups: &Groups,
        criterion: Criterion,
    ) -> Result<Vec<Option<Ranking>>, PruneError> {
        if !criterion.needs_samples() {
            return Ok(by_weights(&model.graph, groups, criterion));
        }
        let mut ranker = Ranker::default();
        if criterion == Criterion::Activation {
            ranker.columns = 0;
        }
        let (samples, judges) = (&self.roles.fitted, &self.roles.deciding);
        ranker.tries = !judges.is_empty();
        Ok(rank(model, groups, (samples, judges), &*self.pruner.engine, &ranker, &self.telling())?)
    }

    /// Progress in layers.
    fn telling(&self) -> impl Fn(usize, usize) + '_ {
        |done, total| (self.tell)(done as u64, total as u64)
    }

    /// Compare what surgery made with the original in which removed channels are masked.
    fn prove(&self, pruned: &Model, cut: &Cut) -> Result<Option<Verdict>, PruneError> {
        let Some(plan) = &self.pruner.check else { return Ok(None) };
        let mut oracle = self.dense.clone();
        oracle.graph = masked(&self.dense.graph, cut)?;
        let referee = Referee::new(oracle, self.pruner.engine.clone(), plan.clone());
        let verdict = referee.compare(pruned.clone(), Exactness::Rounding);
        match &verdict {
            Verdict::Different(_) => Err(PruneError::Different(differences(&verdict))),
            _ => Ok(Some(verdict)),
        }
    }

    /// What becomes of each group.
    fn pruned(&self, removed: &[bool]) -> Vec<Pruned> {
        let accounts = accounts(&self.dense.graph, &self.groups);
        let one = |(group, account): (&Group, GroupAccount)| Pruned {
            layers: if account.made_by.is_empty() { account.held_by } else { account.made_by },
            before: group.classes.len(),
            after: group.classes.iter().filter(|&&class| !removed[class as usize]).count(),
        };
        self.groups.groups.iter().zip(accounts).map(one).collect()
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::calibrate::{Calibration, Sample, Source};
    use crate::exec::Origin;
    use crate::exec::tract::Tract;
    use crate::ir::{Tensor, ValueId};
    use crate::passes::infer_declared;
    use crate::random::Random;
    use crate::text::parse;

    /// Two groups that can go, with random weights.
    fn dense() -> Model {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,4] x) => (float[n,3] y)
            <float[4,12] a, float[12,10] b, float[10,3] c>
            { p = MatMul(x, a)  q = Relu(p)  r = MatMul(q, b)  s = Relu(r)  y = MatMul(s, c) }"#,
        )
        .unwrap();
        let mut random = Random::new(4, "work");
        let constants: Vec<ValueId> = model.graph.values().filter(|&v| model.graph.constant(v).is_some()).collect();
        for value in constants {
            let dims = model.graph.constant(value).unwrap().dims().to_vec();
            let elements: Vec<f32> = (0..dims.iter().product()).map(|_| random.normal() as f32).collect();
            model.graph.set_constant(value, Tensor::f32s(&dims, &elements).unwrap());
        }
        infer_declared(&mut model.graph);
        model
    }

    /// What becomes of it where samples have the roles that `change` gives them.
    fn spent(pruner: &Pruner, change: &dyn Fn(&mut Roles)) -> Result<Done, PruneError> {
        work(pruner, change).spend(pruner.budget)
    }

    fn work<'a>(pruner: &'a Pruner, change: &dyn Fn(&mut Roles)) -> Work<'a> {
        let dense = dense();
        let groups = Groups::of(&dense.graph, Colouring::of(&dense.graph, &Choices::default()));
        assert_eq!(groups.groups.len(), 2);
        let mut roles = pruner.roles(&dense).unwrap();
        change(&mut roles);
        Work { pruner, dense, groups, ratios: FxHashMap::default(), roles, tell: &|_, _| () }
    }

    fn pruner(budget: Budget) -> Pruner {
        let calibration = Calibration { source: Some(Source::Random(0)), samples: Some(64), ..Calibration::default() };
        Pruner { calibration, ..Pruner::new(budget, Arc::new(Tract)) }
    }

    /// The same samples, the element at each place times what `factor` says.
    fn scaled(samples: &[Sample], factor: &dyn Fn(usize) -> f32) -> Vec<Sample> {
        let one = |sample: &Sample| {
            let tensor = |t: &Tensor| {
                let elements = t.reals().unwrap().into_iter().enumerate().map(|(i, x)| factor(i) * x as f32);
                Tensor::f32s(t.dims(), &elements.collect::<Vec<f32>>()).unwrap()
            };
            let feed = sample.iter().map(|(input, t)| (input.clone(), tensor(t))).collect();
            Sample::new(feed, Origin::MadeUp { index: 0 }).unwrap()
        };
        samples.iter().map(one).collect()
    }

    #[test]
    fn samples_that_tell_change_no_weight() {
        for (budget, steps) in
            [(Budget::Keep(Measure::Macs, 0.4), 1), (Budget::Keep(Measure::Macs, 0.4), 2), (Budget::Ratio(0.5), 1)]
        {
            let pruner = Pruner { stages: steps, ..pruner(budget) };
            let plain = spent(&pruner, &|_| ()).unwrap();
            let weights = |done: &Done| {
                let graph = &done.model.graph;
                graph.values().filter_map(|v| graph.constant(v).cloned()).collect::<Vec<Tensor>>()
            };
            let others = spent(&pruner, &|roles| roles.telling = scaled(&roles.telling, &|_| -3.0)).unwrap();
            assert_eq!(weights(&others), weights(&plain), "{budget}");
            assert_eq!(others.summary.groups, plain.summary.groups);
            assert_ne!(others.summary.measured, plain.summary.measured, "they tell");
        }
    }

    #[test]
    fn samples_that_decide_are_heard() {
        let pruner = pruner(Budget::Keep(Measure::Macs, 0.4));
        let costs = |change: &dyn Fn(&mut Roles)| {
            let work = work(&pruner, change);
            work.rankings(&work.dense, &work.groups, Criterion::Obs).unwrap()
        };
        let one = |roles: &mut Roles| roles.deciding = scaled(&roles.deciding, &|i| if i == 3 { 1.0 } else { 0.0 });
        assert_ne!(costs(&one), costs(&|_| ()));
        assert_eq!(costs(&|roles| roles.telling.clear()), costs(&|_| ()));
        let ratio = Pruner { budget: Budget::Ratio(0.5), ..pruner.clone() };
        assert_eq!(spent(&ratio, &|_| ()).unwrap().summary.decided_on, 0);
    }

    #[test]
    fn a_bound_is_kept_on_samples_that_nothing_was_searched_by() {
        let bounds = Bounds { min_sqnr: Some(20.0), max_drop: None };
        let pruner = Pruner { bounds, ..pruner(Budget::Auto) };
        let plain = spent(&pruner, &|roles| roles.telling.clone_from(&roles.deciding)).unwrap().summary;
        let strange = |roles: &mut Roles| {
            roles.telling = scaled(&roles.deciding, &|i| if i == 3 { 1.0 } else { 0.5 });
        };
        let strict = spent(&pruner, &strange).unwrap().summary;
        assert!(strict.macs > plain.macs, "{} {}", strict.macs, plain.macs);
        assert!(strict.measured.outputs[0].sqnr >= 20.0, "{:?}", strict.measured);
        assert!(strict.notes.iter().any(|note| note.contains("only tell")), "{:?}", strict.notes);
        assert!(plain.notes.is_empty(), "{:?}", plain.notes);
        // Whatever goes, something is lost.
        let bounds = Bounds { min_sqnr: Some(60.0), max_drop: None };
        let hopeless = spent(&Pruner { bounds, ..pruner }, &|_| ());
        assert!(matches!(hopeless, Err(PruneError::Bounds(_))));
    }
}
