//! What became of the layers of a model that was repaired.

use serde::Serialize;

/// What became of the layers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Recovered {
    /// Samples that weights were made from.
    pub samples: usize,
    /// Others, that they were measured on.
    pub held_out: usize,
    /// Layers that were looked at, in the order in which they run.
    pub layers: Vec<Repaired>,
    /// Layers that stayed as they are, and why.
    pub skipped: Vec<Skipped>,
}

/// A layer that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repaired {
    /// The layer.
    pub layer: String,
    /// What its result was off on held-out samples, as a part of the energy of what it should be.
    pub before: f64,
    /// What it is off now.
    pub after: f64,
    /// What was done.
    pub how: How,
}

/// What is done to a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Nothing: it is right, or nothing made it better.
    Nothing,
    /// The mean and the deviation of each output are what they were.
    Matched,
    /// The weight is the best that there is.
    LeastSquares,
}

/// A layer that stayed as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The layer.
    pub layer: String,
    /// Why.
    pub why: &'static str,
}
