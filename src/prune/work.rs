//! From a model and a budget to a smaller model: what goes, stage by stage, and what is done for what is left.

use rustc_hash::FxHashMap;

use crate::calibrate::Probe;
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
use crate::prune::summary::{Pruned, Summary};
use crate::prune::surgery::apply;
use crate::prune::untie::untie;
use crate::quality::{Measured, compare};
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
        let probe = self.probe(model)?;
        let work = Work { pruner: self, dense: model.clone(), groups, ratios, probe, tell };
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

/// A pruner at work on one model.
pub(super) struct Work<'a> {
    pub(super) pruner: &'a Pruner,
    pub(super) dense: Model,
    pub(super) groups: Groups,
    pub(super) ratios: FxHashMap<usize, f64>,
    pub(super) probe: Probe,
    pub(super) tell: &'a dyn Fn(u64, u64),
}

/// A pruned model and what became of it.
pub(super) struct Done {
    pub(super) model: Model,
    pub(super) summary: Summary,
}

impl Work<'_> {
    /// Spend a budget.
    pub(super) fn spend(&self, budget: Budget) -> Result<Done, PruneError> {
        let criterion = match (self.pruner.criterion, self.probe.tried.is_empty()) {
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
            Budget::Auto => self.search(criterion, &first),
            budget => self.in_stages(criterion, &first, budget),
        }
    }

    /// As much as bounds allow, by halving the interval of shares of the work that may be enough.
    fn search(&self, criterion: Criterion, first: &[Option<Ranking>]) -> Result<Done, PruneError> {
        let (mut enough, mut found, mut last) = (1.0, None, None);
        let mut little = LEAST_SHARE;
        for _ in 0..HALVINGS {
            let share = 0.5 * (enough + little);
            let done = self.in_stages(criterion, first, Budget::Keep(Measure::Macs, share))?;
            match self.pruner.bounds.check(&done.summary.measured.outputs) {
                Ok(()) => (enough, found) = (share, Some(done)),
                Err(error) => (little, last) = (share, Some(error)),
            }
        }
        match (found, last) {
            (Some(done), _) => Ok(done),
            (None, Some(error)) => Err(PruneError::Bounds(error)),
            (None, None) => Err(PruneError::Nothing(Vec::new(), 0)),
        }
    }

    /// Spend a budget in stages; before each but the first, importance is told anew from what is left.
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
            if self.pruner.recovers && !self.probe.tried.is_empty() {
                let samples = &self.probe.tried;
                let (engine, how) = (&*self.pruner.engine, Recovery::default());
                recovered = Some(recover(&self.dense, &mut model, &cut, samples, engine, &how, &self.telling())?);
            }
            if let (Budget::Keep(_, asked), Some(left)) = (budget, chosen.left) {
                short = (stage == self.pruner.stages && left > asked).then_some((asked, left));
            }
        }
        let outputs = match self.probe.held_out.is_empty() {
            true => Vec::new(),
            false => compare(&self.dense, &model, &self.probe.held_out, &*self.pruner.engine)?,
        };
        let mut notes = self.probe.notes.clone();
        // What is taken where nobody chose and there are no samples needs no word.
        if self.pruner.criterion.is_none() && criterion == Criterion::L2 && !self.probe.tried.is_empty() {
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
            measured: Measured { held_out: self.probe.held_out.len(), outputs },
            stopped: Vec::new(),
            notes,
        };
        Ok(Done { model, summary })
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
        ranker.tries = !matches!(self.pruner.budget, Budget::Ratio(_));
        let (samples, judges) = (&self.probe.tried, &self.probe.held_out);
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
