//! From a model and a budget to a smaller model, and what that costs.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::calibrate::{Calibration, CalibrationError, Probe, Sample};
use crate::exec::{Cannot, Executor, Plan, Verdict};
use crate::ir::{Graph, NodeId, ValueId};
use crate::model::Model;
use crate::proof::{Referee, differences, summary};
use crate::prune::account::{StopAccount, stops};
use crate::prune::budget::{Budget, Measure, Rules, allocate};
use crate::prune::colour::{Axis, Choices, Class, Colouring, Factor, Grouped};
use crate::prune::cut::Cut;
use crate::prune::groups::Groups;
use crate::prune::importance::{Criterion, Ranker, Ranking, by_weights, rank};
use crate::prune::mask::masked;
use crate::prune::recover::{How, Recovered, Recovery, recover};
use crate::prune::surgery::{Refused, apply};
use crate::prune::untie::untie;
use crate::quality::{Bounds, Measured, OutOfBounds, compare};
use crate::rewrite::Exactness;
use crate::selecting::{NoMatch, matching};

/// Says how a model loses structure; [`Pruner::run`] does it.
#[derive(Clone)]
pub struct Pruner {
    /// How much goes.
    pub budget: Budget,
    /// What tells what goes first; `None` takes the best that there is without samples or with them.
    pub criterion: Option<Criterion>,
    /// What holds for every group.
    pub rules: Rules,
    /// How convolutions in groups lose channels.
    pub grouped: Grouped,
    /// What attention loses: heads or parts of each.
    pub factor: Factor,
    /// The share of the channels that layers with these names lose, by pattern; the last that matches counts.
    pub ratios: Vec<(String, f64)>,
    /// Nodes whose results keep all of their channels, by pattern.
    pub protect: Vec<String>,
    /// Whether what is left is repaired, where there are samples.
    pub recovers: bool,
    /// In how many stages the budget is spent.
    pub stages: usize,
    /// Samples.
    pub calibration: Calibration,
    /// What runs models.
    pub engine: Arc<dyn Executor>,
    /// How the structure is compared with the masked original; `None` does not.
    pub check: Option<Plan>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

/// Why a model is not pruned.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// A pattern matches nothing.
    #[error(transparent)]
    NoMatch(#[from] NoMatch),
    /// A cut cannot be made.
    #[error("{0}; {hint}", hint = .0.hint)]
    Refused(#[from] Refused),
    /// Samples cannot be read.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// A model does not run.
    #[error("the pruned model does not run: {0}")]
    Run(#[from] Cannot),
    /// Nothing can go.
    #[error("no channel of the model can be removed: {}", because(.0, *.1))]
    Nothing(Vec<StopAccount>, usize),
    /// The criterion needs samples.
    #[error("importance {0} is told by samples: --calib PLACE")]
    NoSamples(Criterion),
    /// The criterion says nothing of the model.
    #[error("importance {0} says nothing of this model: no group has a weight that it reads")]
    NoScores(Criterion),
    /// What is left computes something else than the original without the removed channels.
    #[error("a defect of onnx-slim: the pruned model is not the masked original: {}", .0.join("; "))]
    Different(Vec<String>),
    /// Quality is not what was asked for.
    #[error(transparent)]
    Bounds(#[from] OutOfBounds),
}

/// Why nothing can go: operators that nothing is known of, and how many classes no other is like.
fn because(stops: &[StopAccount], alone: usize) -> String {
    let ops: Vec<&str> = stops.iter().map(|stop| &*stop.op).collect();
    let mut reasons = Vec::new();
    if !ops.is_empty() {
        reasons.push(format!("nothing is known of the channels of {}", ops.join(", ")));
    }
    if alone > 0 {
        reasons.push(format!(
            "what can only be removed together is all that there is of its kind ({alone} times; a shuffle of channels \
             between convolutions in groups ties them so, and so do sums over parts of others)"
        ));
    }
    if reasons.is_empty() {
        reasons.push(
            "the inputs, the outputs and what is normalized, sorted or reduced over its channels fix all of them"
                .into(),
        );
    }
    reasons.join("; ")
}

/// What became of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pruned {
    /// The layers that make its channels, by node.
    pub layers: Vec<String>,
    /// How many classes it had.
    pub before: usize,
    /// And how many are left.
    pub after: usize,
}

/// What became of a model that was pruned.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// What told which classes go first.
    pub importance: String,
    /// What became of each group.
    pub groups: Vec<Pruned>,
    /// Multiply-accumulates that are left, as a share.
    pub macs: f64,
    /// How the structure compares with the original in which removed channels are masked by zeros.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub structure: Option<Verdict>,
    /// What was done to give accuracy back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Recovered>,
    /// How far outputs are from the original's, on samples that both were run on.
    #[serde(flatten)]
    pub measured: Measured,
    /// Operators about whose channels nothing is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<StopAccount>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Pruner {
    /// A pruner without samples that leaves nothing out.
    pub fn new(budget: Budget, engine: Arc<dyn Executor>) -> Pruner {
        Pruner {
            budget,
            criterion: None,
            rules: Rules::default(),
            grouped: Grouped::default(),
            factor: Factor::default(),
            ratios: Vec::new(),
            protect: Vec::new(),
            recovers: true,
            stages: 1,
            calibration: Calibration::default(),
            engine,
            check: Some(Plan::default()),
            bounds: Bounds::default(),
        }
    }

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

    /// Results of the nodes that are protected.
    fn protected(&self, graph: &Graph) -> Result<FxHashSet<ValueId>, NoMatch> {
        let mut protected = FxHashSet::default();
        for pattern in &self.protect {
            for node in matching(graph, pattern)? {
                protected.extend(graph.results(node).iter().flatten().copied());
            }
        }
        Ok(protected)
    }

    /// The ratio of each group that one of the patterns names a layer of.
    fn ratios(&self, graph: &Graph, groups: &Groups) -> Result<FxHashMap<usize, f64>, NoMatch> {
        let mut ratios = FxHashMap::default();
        for (pattern, ratio) in &self.ratios {
            let nodes: FxHashSet<NodeId> = matching(graph, pattern)?.into_iter().collect();
            for (i, group) in groups.groups.iter().enumerate() {
                let is_made = nodes.iter().any(|&node| {
                    graph.results(node).iter().flatten().any(|&value| {
                        groups.colouring.axes(value).iter().any(|axis| match axis {
                            Axis::Of(classes) => classes.contains(&group.classes[0]),
                            Axis::Fixed => false,
                        })
                    })
                });
                if is_made {
                    ratios.insert(i, *ratio);
                }
            }
        }
        Ok(ratios)
    }

    /// Samples, where there are any.
    fn probe(&self, model: &Model) -> Result<Probe, CalibrationError> {
        let mut probe = self.calibration.probe(model, &*self.engine, &|_| MOST_SAMPLES)?;
        if probe.tried.is_empty() {
            probe.tried.clone_from(&probe.held_out);
        }
        Ok(probe)
    }
}

/// Samples that importance and recovery are told by at the most.
const MOST_SAMPLES: usize = 1024;

/// The least share of the work that a search tries to leave.
const LEAST_SHARE: f64 = 0.05;

/// Steps of a search: the share that it finds is within a hundredth of the largest that is possible.
const HALVINGS: usize = 6;

/// A pruner at work on one model.
struct Work<'a> {
    pruner: &'a Pruner,
    dense: Model,
    groups: Groups,
    ratios: FxHashMap<usize, f64>,
    probe: Probe,
    tell: &'a dyn Fn(u64, u64),
}

/// A pruned model and what became of it.
struct Done {
    model: Model,
    summary: Summary,
}

impl Work<'_> {
    /// Spend a budget.
    fn spend(&self, budget: Budget) -> Result<Done, PruneError> {
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
                let samples = (&self.probe.tried[..], self.judges());
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
        let judges = if self.judges().is_empty() { &self.probe.tried } else { self.judges() };
        Ok(rank(model, groups, (&self.probe.tried, judges), &*self.pruner.engine, &ranker, &self.telling())?)
    }

    /// Samples that say whether a repair is one: those held out, but not where these are samples that it is made from.
    fn judges(&self) -> &[Sample] {
        if self.probe.notes.is_empty() { &self.probe.held_out } else { &[] }
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
        let accounts = crate::prune::account::accounts(&self.dense.graph, &self.groups);
        let one = |(group, account): (&crate::prune::Group, crate::prune::GroupAccount)| Pruned {
            layers: if account.made_by.is_empty() { account.held_by } else { account.made_by },
            before: group.classes.len(),
            after: group.classes.iter().filter(|&&class| !removed[class as usize]).count(),
        };
        self.groups.groups.iter().zip(accounts).map(one).collect()
    }
}

impl Summary {
    /// What was done, in lines.
    pub fn lines(&self) -> Vec<String> {
        let changed: Vec<&Pruned> = self.groups.iter().filter(|group| group.after < group.before).collect();
        let (before, after) = changed.iter().fold((0, 0), |n, group| (n.0 + group.before, n.1 + group.after));
        let mut lines = vec![format!(
            "{} of {} groups pruned by {}: {before} classes to {after}, {:.0} % of the multiply-accumulates left",
            changed.len(),
            self.groups.len(),
            self.importance,
            100.0 * self.macs
        )];
        if let Some(recovered) = &self.recovered {
            let better = recovered.layers.iter().filter(|layer| layer.how != How::Nothing).count();
            lines.push(format!(
                "{better} of {} layers repaired from {} samples",
                recovered.layers.len(),
                recovered.samples
            ));
        }
        if let Some(verdict) = &self.structure {
            lines.push(format!("structure against the masked original: {}", summary(verdict)));
        }
        lines
    }
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::calibrate::Source;
    use crate::exec::tract::Tract;
    use crate::ir::Tensor;
    use crate::passes::infer_declared;
    use crate::random::Random;
    use crate::text::parse;

    /// Two layers between which there are 16 channels, that are mixtures of four.
    fn model() -> Model {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n,8] x) => (float[n,4] y) <float[8,16] a, float[16] b, float[16,4] c>
            { [wide] p = Gemm(x, a, b)  q = Relu(p)  [last] y = MatMul(q, c) }"#,
        )
        .unwrap();
        let mut random = Random::new(7, "pruner");
        let mut normal = |n: usize| (0..n).map(|_| random.normal() as f32).collect::<Vec<f32>>();
        let (kinds, last) = (normal(8 * 4), normal(16 * 4));
        let wide: Vec<f32> = (0..8 * 16).map(|i| kinds[i / 16 * 4 + i % 4] * (1.0 + (i % 16 / 4) as f32)).collect();
        for (dims, elements) in [(vec![8, 16], wide), (vec![16, 4], last), (vec![16], vec![0.1; 16])] {
            let g = &mut model.graph;
            let value = g.values().find(|&v| g.constant(v).is_some_and(|t| t.dims() == dims)).unwrap();
            g.set_constant(value, Tensor::f32s(&dims, &elements).unwrap());
        }
        infer_declared(&mut model.graph);
        model
    }

    fn pruner(budget: Budget) -> Pruner {
        let calibration = Calibration { source: Some(Source::Random(0)), samples: Some(64), ..Calibration::default() };
        Pruner { calibration, ..Pruner::new(budget, Arc::new(Tract)) }
    }

    fn run(pruner: &Pruner) -> Result<(Model, Summary), PruneError> {
        let mut model = model();
        let summary = pruner.run(&mut model, &|_, _| ())?;
        Ok((model, summary))
    }

    #[test]
    fn channels_that_others_can_stand_for_cost_little() {
        for stages in [1, 3] {
            let (model, summary) = run(&Pruner { stages, ..pruner(Budget::Ratio(0.75)) }).unwrap();
            assert_eq!((summary.groups[0].before, summary.groups[0].after), (16, 4));
            assert!(summary.measured.outputs[0].sqnr > 40.0, "{stages}: {:?}", summary.measured);
            assert!(matches!(summary.structure, Some(Verdict::Same(_))));
            assert!(model.graph.values().any(|v| model.graph.constant(v).is_some_and(|t| t.dims() == [8, 4])));
        }
        let bare = run(&Pruner { recovers: false, ..pruner(Budget::Ratio(0.75)) }).unwrap().1;
        assert!(bare.measured.outputs[0].sqnr < 20.0, "{:?}", bare.measured);
    }

    #[test]
    fn a_bound_says_how_much_goes() {
        let bounds = Bounds { min_sqnr: Some(40.0), max_drop: None };
        let rules = Rules { max_ratio: 0.95, ..Rules::default() };
        let found = run(&Pruner { bounds, rules, ..pruner(Budget::Auto) }).unwrap().1;
        // Four kinds of channels are needed, and no more.
        assert_eq!(found.groups[0].after, 4, "{:?}", found.measured);
        let strict = Bounds { min_sqnr: Some(500.0), max_drop: None };
        let refused = run(&Pruner { bounds: strict, ..pruner(Budget::Auto) });
        assert!(matches!(refused, Err(PruneError::Bounds(OutOfBounds::Noisy { .. }))));
    }

    #[test]
    fn weights_tell_where_samples_say_nothing() {
        let grouped = || {
            let mut model = parse(
                r#"<ir_version: 8, opset_import: ["" : 17]>
                g (float[n,4,6,6] x) => (float[n,4,6,6] y) <float[8,4,1,1] a, float[4,4,3,3] b>
                { t = Conv(x, a)  y = Conv <group = 2, pads = [1, 1, 1, 1]> (t, b) }"#,
            )
            .unwrap();
            infer_declared(&mut model.graph);
            model
        };
        let asked = Pruner { criterion: Some(Criterion::Obs), ..pruner(Budget::Ratio(0.5)) };
        let refused = asked.run(&mut grouped(), &|_, _| ());
        assert!(matches!(refused, Err(PruneError::NoScores(Criterion::Obs))));
        let summary = pruner(Budget::Ratio(0.5)).run(&mut grouped(), &|_, _| ()).unwrap();
        // The same channels of both groups go together.
        assert_eq!((&*summary.importance, summary.groups[0].before, summary.groups[0].after), ("l2", 4, 2));
        assert!(summary.notes.iter().any(|note| note.contains("weights (l2)")), "{:?}", summary.notes);
    }

    #[test]
    fn layers_are_spoken_of_by_name() {
        let with = |change: &dyn Fn(&mut Pruner)| {
            let mut pruner = Pruner { recovers: false, ..pruner(Budget::Ratio(0.5)) };
            change(&mut pruner);
            run(&pruner).map(|(_, summary)| summary.groups.first().map(|group| group.after))
        };
        assert_eq!(with(&|_| ()).unwrap(), Some(8));
        assert_eq!(with(&|p| p.ratios = vec![("wide".into(), 0.25)]).unwrap(), Some(12));
        assert_eq!(with(&|p| p.rules.align = 16).unwrap(), Some(16));
        assert!(matches!(with(&|p| p.protect = vec!["wide".into()]), Err(PruneError::Nothing(..))));
        let unknown = with(&|p| p.protect = vec!["wife".into()]).unwrap_err().to_string();
        assert!(unknown.contains("wide"), "{unknown}");
        let untold = Pruner { calibration: Calibration::default(), ..pruner(Budget::Ratio(0.5)) };
        let untold = run(&Pruner { criterion: Some(Criterion::Obs), ..untold });
        assert!(matches!(untold, Err(PruneError::NoSamples(Criterion::Obs))));
        let no_scales = run(&Pruner { criterion: Some(Criterion::BatchNorm), ..pruner(Budget::Ratio(0.5)) });
        assert!(matches!(no_scales, Err(PruneError::NoScores(Criterion::BatchNorm))));
    }
}
