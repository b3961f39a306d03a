//! What gets integers, before it is known which real numbers they stand for.

use crate::ir::{NodeId, ValueId};
use crate::quantize::Grid;

/// What of a graph gets integers.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Tensors that a run computes.
    pub sites: Vec<Site>,
    /// Weights.
    pub weights: Vec<WeightSite>,
    /// Operators that a policy gives integers to and that stay as they are, with the reason.
    pub kept: Vec<Kept>,
}

/// Tensors of one number have one scale and one zero point.
pub type Group = usize;

/// A tensor that a run computes, as integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The tensor.
    pub value: ValueId,
    /// Who reads it as integers.
    pub readers: Readers,
    /// The integers.
    pub grid: Grid,
    /// Which others have the same scale and zero point.
    pub group: Group,
    /// The rule of the target that wants it.
    pub rule: String,
}

/// Who reads a tensor as integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everyone, and the model's outputs.
    All,
    /// These operands; others read it as it was.
    Some(Vec<(NodeId, usize)>),
}

/// A weight as integers, as one node reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSite {
    /// Who reads it.
    pub node: NodeId,
    /// As which operand.
    pub slot: usize,
    /// Slices along this axis have a scale each; none is one scale for all.
    pub axis: Option<usize>,
    /// The integers.
    pub grid: Grid,
    /// The rule of the target that wants it.
    pub rule: String,
}

/// A node that stays in real numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The node.
    pub node: NodeId,
    /// Why.
    pub why: String,
}
