//! What became of a model, for reports.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use crate::assign::search::{Picks, Search};
use crate::assign::units::{Costs, FINE};
use crate::assign::{Assigner, Cost};
use crate::knapsack::Front;
use crate::quality;
use crate::quantize::Step;
use crate::selecting::exactly;
use crate::sensitivity::{Effect, Measured, Precision};

/// What became of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assigned {
    /// The node's name, or its first result's.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// What it computes in.
    pub precision: Precision,
    /// What it was measured to lose by that.
    pub loss: f64,
    /// Why it is not narrower, or why it is what it is.
    pub why: String,
    /// What each precision does.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub effects: BTreeMap<Precision, Effect>,
}

/// One precision for all layers that can have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Uniform {
    /// The precision.
    pub precision: Precision,
    /// Layers that have it; others stay float32.
    pub layers: usize,
    /// What it costs.
    pub costs: Costed,
    /// What outputs lose, as measured.
    pub loss: f64,
    /// The share of samples with another class, in percent: the largest that is likely on other samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<f64>,
    /// Signal over noise of the worst output in dB: the least that is likely on other samples.
    pub sqnr: Option<f64>,
    /// Whether it keeps the bounds, by the same rule as the assignment.
    pub meets: bool,
}

/// What an assignment costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Costed {
    /// Bytes of constants.
    pub bytes: u64,
    /// Multiply-accumulates, each times the bits of both factors.
    pub bitops: u64,
    /// Mean bits of an element of a weight.
    pub bits: f64,
    /// Nanoseconds of a run, as far as they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nanoseconds: Option<f64>,
}

impl Costed {
    /// What counts of it, in its unit: of bytes and time together, shares of those of `float`.
    pub(super) fn amount(&self, cost: Cost, float: &Costed) -> f64 {
        match cost {
            Cost::Bytes => self.bytes as f64,
            Cost::Bitops => self.bitops as f64,
            Cost::Bits => self.bits,
            Cost::Latency => self.nanoseconds.unwrap_or(self.bitops as f64),
            Cost::Balance => self.counted(cost, float),
        }
    }

    /// What counts of it, as a share of what float32 takes where that is known.
    pub(super) fn counted(&self, cost: Cost, float: &Costed) -> f64 {
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { part };
        let of = |of: &dyn Fn(&Costed) -> f64| share(of(self), of(float));
        let time = || match (self.nanoseconds, float.nanoseconds) {
            (Some(now), Some(float)) => share(now, float),
            _ => of(&|costed| costed.bitops as f64),
        };
        match cost {
            Cost::Bytes => of(&|costed| costed.bytes as f64),
            Cost::Bitops => of(&|costed| costed.bitops as f64),
            Cost::Bits => of(&|costed| costed.bits),
            Cost::Latency => time(),
            Cost::Balance => of(&|costed| costed.bytes as f64) + time(),
        }
    }
}

/// A point of the front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// What is counted: bytes, bit operations, mean bits of a weight, nanoseconds, or shares of float32's bytes and time
    /// together.
    pub cost: f64,
    /// What it costs in every way, as the sum over layers and what lies between these.
    pub costs: Costed,
    /// What outputs would lose, as the sum of layers' losses.
    pub predicted: f64,
    /// What they lose, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    /// By exact name of layer: what it computes in. Those that are not named stay float32.
    pub layers: BTreeMap<String, Precision>,
}

/// What became of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// What a loss is: `kl`, `nmse` or both.
    pub measure: &'static str,
    /// What was made least, or had a budget.
    pub cost: Cost,
    /// Every layer, in the order of the model.
    pub layers: Vec<Assigned>,
    /// What the model costs in float32.
    pub float: Costed,
    /// What it costs now.
    pub costs: Costed,
    /// What outputs were to lose, as the sum of layers' losses: of samples near another class, where there are classes.
    pub predicted: f64,
    /// What they lose, as measured on samples held out.
    pub loss: f64,
    /// Signal over noise of the worst output in dB: the least that is likely on other samples.
    pub sqnr: Option<f64>,
    /// The share of samples with another class in percent: the largest that is likely on other samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<f64>,
    /// How far outputs are from those of the float model, as counted on samples that both were run on.
    #[serde(flatten)]
    pub measured: quality::Measured,
    /// What one precision for all would be.
    pub uniform: Vec<Uniform>,
    /// What corrections brought.
    pub corrections: Vec<Step>,
    /// Samples were made up: what was measured is not real.
    pub made_up: bool,
    /// Runs on one sample that it all took, of whole models or as much.
    pub forwards: f64,
    /// What they went into, in order.
    pub efforts: Vec<Effort>,
    /// Whole models that were run on samples held out, or on some of these.
    pub verdicts: usize,
    /// Seconds of one pass over the samples that statistics are gathered of, and of everything.
    pub pass_seconds: f64,
    /// Seconds of everything.
    pub seconds: f64,
    /// Points of the front, the cheapest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub front: Vec<Point>,
    /// What there is to say of the samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a part of the work took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effort {
    /// The part.
    pub part: &'static str,
    /// Runs on one sample, of whole models or as much.
    pub forwards: f64,
    /// Seconds.
    pub seconds: f64,
}

/// Keeps account of what parts of the work took.
pub(super) struct Ledger {
    start: Instant,
    since: Instant,
    pub efforts: Vec<Effort>,
}

impl Ledger {
    /// From now on.
    pub(super) fn new() -> Ledger {
        Ledger { start: Instant::now(), since: Instant::now(), efforts: Vec::new() }
    }

    /// All since the last part was this.
    pub(super) fn add(&mut self, part: &'static str, forwards: f64) {
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        match self.efforts.iter_mut().find(|effort| effort.part == part) {
            Some(effort) => {
                effort.forwards += forwards;
                effort.seconds += seconds;
            }
            None => self.efforts.push(Effort { part, forwards, seconds }),
        }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Runs of all parts.
    pub(super) fn forwards(&self) -> f64 {
        self.efforts.iter().map(|effort| effort.forwards).sum()
    }
}

/// Points of the front that are listed at the most, evenly from all.
const LISTED: usize = 200;

/// Which of so many points are listed: the first, the last, and those that are spread evenly between.
fn thinned(all: usize) -> impl Iterator<Item = usize> {
    let listed = all.min(LISTED);
    (0..listed).map(move |i| i * (all - 1) / (listed - 1).max(1))
}

impl Assigner {
    /// What no other of these undercuts in cost and predicted loss: the points of `fronts`, and `others`; thinned
    /// evenly. Of what is found by sums over layers alone, what lies between layers counts now.
    pub(super) fn points(&self, search: &Search<'_>, fronts: [&Front; 2], others: &[Picks]) -> Vec<Point> {
        let graph = &search.measured.ground.model.graph;
        let whole = costed(search.measured, search.costs, &vec![Precision::Fp32; search.measured.layers.len()]);
        let of_front =
            |front: &&Front| thinned(front.points().len()).map(|index| front.picks(index)).collect::<Vec<_>>();
        let mut known: Vec<Picks> = fronts.iter().flat_map(of_front).chain(others.iter().cloned()).collect();
        known.sort_unstable();
        known.dedup();
        let priced = known.into_iter().map(|picks| {
            let costs = costed(search.measured, search.costs, &search.precisions(&picks));
            (costs.amount(search.cost, &whole), search.predicted(&picks), costs, picks)
        });
        let mut priced: Vec<(f64, f64, Costed, Picks)> = priced.collect();
        priced.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut least = f64::INFINITY;
        priced.retain(|&(_, predicted, ..)| {
            let is_less = predicted < least;
            least = least.min(predicted);
            is_less
        });
        let point = |index: usize| {
            let (cost, predicted, costs, picks) = &priced[index];
            let precisions = search.precisions(picks);
            let named = search.measured.layers.iter().zip(precisions).filter(|(_, p)| *p != Precision::Fp32);
            Point {
                cost: *cost,
                costs: *costs,
                predicted: *predicted,
                measured: search.judged.get(picks).map(|verdict| verdict.loss),
                layers: named.map(|(layer, p)| (exactly(graph, layer.node), p)).collect(),
            }
        };
        thinned(priced.len()).map(point).collect()
    }

    /// What became of each layer, and why.
    pub(super) fn assigned(&self, measured: &Measured, precisions: &[Precision]) -> Vec<Assigned> {
        let of = |((layer, effects), &precision): ((_, &BTreeMap<Precision, Effect>), &Precision)| {
            let layer: &crate::sensitivity::layer::Layer = layer;
            let narrower = Precision::ALL.into_iter().filter(|p| *p > precision).rev().find_map(|p| {
                let is_candidate = self.sensitivity.candidates.contains(&p);
                let refused = measured.ground.refuses(layer, p).filter(|_| is_candidate);
                let refused = refused.map(|why| format!("no {p}: {why}"));
                let loses = || Some(format!("{p} would lose {:.1e} here", effects.get(&p)?.loss));
                refused.or_else(loses)
            });
            let why = match (self.given.is_empty(), narrower) {
                (false, _) => "as it was asked for".to_string(),
                (true, Some(why)) => why,
                (true, None) => "as narrow as it gets".to_string(),
            };
            let loss = effects.get(&precision).map_or(0.0, |effect| effect.loss);
            Assigned {
                node: layer.name.clone(),
                op: layer.op.name().to_string(),
                precision,
                loss,
                why,
                effects: effects.clone(),
            }
        };
        measured.layers.iter().zip(&measured.effects).zip(precisions).map(of).collect()
    }
}

/// What an assignment costs in every way.
pub(super) fn costed(measured: &Measured, costs: &Costs<'_>, precisions: &[Precision]) -> Costed {
    let of = |cost: Cost| costs.all(precisions, cost);
    let float = vec![Precision::Fp32; measured.layers.len()];
    let elements = (costs.all(&float, Cost::Bits) / 32).max(1);
    Costed {
        bytes: of(Cost::Bytes),
        bitops: of(Cost::Bitops),
        bits: of(Cost::Bits) as f64 / elements as f64,
        nanoseconds: costs.latency.is_some().then(|| of(Cost::Latency) as f64 / FINE),
    }
}
