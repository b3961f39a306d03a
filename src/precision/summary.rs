//! What became of a model that got halves, for reports.

use serde::Serialize;

use crate::precision::Half;
use crate::quality::Measured;

/// Nodes of one operator that stay float32 for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Their operator.
    pub op: String,
    /// The reason.
    pub why: String,
    /// Their names, in order.
    pub nodes: Vec<String>,
}

impl Kept {
    /// The first node, with the reason.
    pub(super) fn said(&self) -> String {
        format!("{} \"{}\": {}", self.op, self.nodes.first().map_or("", |n| n), self.why)
    }
}

/// What became of a model that got halves.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// What took the place of float32.
    pub half: Half,
    /// Calls that have halves; weights that are stored so.
    pub halves: usize,
    /// Calls of float tensors that stay float32.
    pub floats: usize,
    /// `Cast`s that came in.
    pub casts: usize,
    /// What had to stay float32, and why.
    pub kept: Vec<Kept>,
    /// Samples were made up: what tensors hold in use is not known, and neither is what was measured.
    pub made_up: bool,
    /// How far outputs are from those of the float model, on samples that both were run on.
    #[serde(flatten)]
    pub measured: Measured,
    /// What there is to say of the samples and of what was not compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Summary {
    /// Nothing became a half.
    pub(crate) fn nothing(half: Half) -> Summary {
        let (kept, measured, notes) = (Vec::new(), Measured::default(), Vec::new());
        Summary { half, halves: 0, floats: 0, casts: 0, kept, made_up: false, measured, notes }
    }
}
