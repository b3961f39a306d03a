//! How much a model loses with a class: in which order those of a group go, and what each costs.

mod magnitude;
mod samples;
mod trial;

use std::fmt;
use std::str::FromStr;

pub use magnitude::by_weights;
pub use samples::{Ranker, rank};

use crate::prune::colour::Class;

/// What tells important classes from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// The sum of absolute weights.
    L1,
    /// The root of the sum of squared weights.
    L2,
    /// How far a layer's weights for a channel are from those for its others (He et al. 2019, Filter Pruning via
    /// Geometric Median).
    Fpgm,
    /// The absolute scale of a `BatchNormalization` (Liu et al. 2017, Network Slimming).
    BatchNorm,
    /// Nothing: a seeded draw.
    Random(u64),
    /// The variance that a channel brings to what the layers behind it compute, on samples.
    Activation,
    /// The same after the rest has taken over what it can, one class after another (structured Optimal Brain Surgeon,
    /// Kurtić et al. 2023, ZipLM), on samples.
    Obs,
}

impl Criterion {
    /// Whether it takes samples.
    pub fn needs_samples(self) -> bool {
        matches!(self, Criterion::Activation | Criterion::Obs)
    }
}

/// The seed of a draw that is not given one.
const SEED: u64 = 0;

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Criterion::L1 => "l1",
            Criterion::L2 => "l2",
            Criterion::Fpgm => "fpgm",
            Criterion::BatchNorm => "bn",
            Criterion::Random(SEED) => "random",
            Criterion::Random(seed) => return write!(f, "random={seed}"),
            Criterion::Activation => "activation",
            Criterion::Obs => "obs",
        })
    }
}

impl FromStr for Criterion {
    type Err = String;

    fn from_str(text: &str) -> Result<Criterion, String> {
        Ok(match text {
            "l1" => Criterion::L1,
            "l2" => Criterion::L2,
            "fpgm" => Criterion::Fpgm,
            "bn" => Criterion::BatchNorm,
            "random" => Criterion::Random(SEED),
            "activation" => Criterion::Activation,
            "obs" => Criterion::Obs,
            _ => {
                let seed = text.strip_prefix("random=").and_then(|seed| seed.parse().ok());
                let known = "l1, l2, fpgm, bn, random, random=SEED, activation or obs";
                Criterion::Random(seed.ok_or_else(|| format!("{text} is not {known}"))?)
            }
        })
    }
}

/// The classes of a group in the order in which they go.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranking {
    /// The classes, the least important first.
    pub order: Vec<Class>,
    /// What each costs when those before it are gone. Costs of different groups can be compared.
    pub costs: Vec<f64>,
}

impl FromIterator<(Class, f64)> for Ranking {
    fn from_iter<T: IntoIterator<Item = (Class, f64)>>(in_order: T) -> Ranking {
        let (order, costs) = in_order.into_iter().unzip();
        Ranking { order, costs }
    }
}

impl Ranking {
    /// Classes by a score each.
    pub fn by_score(mut scored: Vec<(Class, f64)>) -> Ranking {
        scored.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        scored.into_iter().collect()
    }
}
