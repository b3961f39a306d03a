//! From a model and a budget to a smaller model, and what that costs.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::calibrate::{Calibration, CalibrationError, Probe};
use crate::exec::{Cannot, Executor, Plan, Verdict};
use crate::ir::{Graph, NodeId, ValueId};
use crate::model::Model;
use crate::proof::{Referee, differences, summary};
use crate::prune::account::{StopAccount, stops};
use crate::prune::budget::{Budget, Rules, allocate};
use crate::prune::colour::{Axis, Choices, Colouring, Factor, Grouped};
use crate::prune::cut::Cut;
use crate::prune::groups::Groups;
use crate::prune::importance::{Criterion, Ranking, by_weights};
use crate::prune::mask::masked;
use crate::prune::rank::{By, Ranker, rank};
use crate::prune::recover::{How, Recovered, Recovery, recover};
use crate::prune::surgery::{Refused, apply};
use crate::prune::untie::untie;
use crate::quantize::{Bounds, Quality, QuantizeError, compare};
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
    #[error("no channel of the model can be removed{}; `inspect --groups` shows what keeps them", because(.0))]
    Nothing(Vec<StopAccount>),
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
    Bounds(#[from] QuantizeError),
}

fn because(stops: &[StopAccount]) -> String {
    let ops: Vec<&str> = stops.iter().map(|stop| &*stop.op).collect();
    if ops.is_empty() { String::new() } else { format!(": nothing is known of the channels of {}", ops.join(", ")) }
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
    /// Samples that original and result were both run on.
    pub held_out: usize,
    /// How far outputs are from the original's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Quality>,
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
            return Err(PruneError::Nothing(stopped));
        }
        let ratios = self.ratios(&model.graph, &groups)?;
        let probe = self.probe(model)?;
        let mut work = Work { pruner: self, dense: model.clone(), groups, ratios, probe, tell };
        let mut done = work.spend(self.budget)?;
        done.summary.stopped = stopped;
        self.bounds.check(&done.summary.outputs).map_err(PruneError::Bounds)?;
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
    fn spend(&mut self, budget: Budget) -> Result<Done, PruneError> {
        let criterion = match (self.pruner.criterion, self.probe.tried.is_empty()) {
            (Some(criterion), true) if criterion.needs_samples() => return Err(PruneError::NoSamples(criterion)),
            (Some(criterion), _) => criterion,
            (None, true) => Criterion::L2,
            (None, false) => Criterion::Obs,
        };
        let rankings = self.rankings(criterion)?;
        if rankings.iter().all(Option::is_none) {
            return Err(PruneError::NoScores(criterion));
        }
        let removed = self.choose(&rankings, budget);
        let cut = self.groups.cut(&removed);
        let mut model = self.dense.clone();
        apply(&mut model.graph, &cut)?;
        let structure = self.prove(&model, &cut)?;
        let tried = &self.probe.tried;
        let recovered = match self.pruner.recovers && !tried.is_empty() {
            true => {
                let samples = (&tried[..], &[][..]);
                let (engine, how) = (&*self.pruner.engine, Recovery::default());
                Some(recover(&self.dense, &mut model, &cut, samples, engine, &how, &self.telling())?)
            }
            false => None,
        };
        let outputs = match self.probe.held_out.is_empty() {
            true => Vec::new(),
            false => compare(&self.dense, &model, &self.probe.held_out, &*self.pruner.engine)?,
        };
        let summary = Summary {
            importance: criterion.to_string(),
            groups: self.pruned(&removed),
            macs: self.groups.macs(&removed),
            structure,
            recovered,
            held_out: self.probe.held_out.len(),
            outputs,
            stopped: Vec::new(),
            notes: self.probe.notes.clone(),
        };
        Ok(Done { model, summary })
    }

    /// The order in which the classes of each group go.
    fn rankings(&self, criterion: Criterion) -> Result<Vec<Option<Ranking>>, PruneError> {
        if !criterion.needs_samples() {
            return Ok(by_weights(&self.dense.graph, &self.groups, criterion));
        }
        let mut ranker = Ranker::default();
        if criterion == Criterion::Activation {
            ranker.columns = 0;
        }
        let (samples, engine) = (&self.probe.tried, &*self.pruner.engine);
        let ranked = rank(&self.dense, &self.groups, samples, engine, &ranker, &self.telling())?;
        Ok(ranked.into_iter().map(|ranking| (ranking.by != By::Nothing).then(|| ranking.into())).collect())
    }

    /// Progress in layers.
    fn telling(&self) -> impl Fn(usize, usize) + '_ {
        |done, total| (self.tell)(done as u64, total as u64)
    }

    fn choose(&self, rankings: &[Option<Ranking>], budget: Budget) -> Vec<bool> {
        allocate(&self.dense.graph, &self.groups, rankings, budget, &self.pruner.rules, &self.ratios).removed
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
