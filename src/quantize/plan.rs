//! What gets integers, before it is known which real numbers they stand for.

use std::sync::Arc;

use crate::ir::{Graph, NodeId, Tensor, ValueId};
use crate::quantize::{Grid, Integers, Scaling, integers, weight_scales, with_scales};
use crate::target::policy::{BiasForm, WeightForm};

/// What of a graph gets integers.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Tensors that a run computes.
    pub sites: Vec<Site>,
    /// Weights.
    pub weights: Vec<WeightSite>,
    /// Other constant operands.
    pub constants: Vec<ConstantSite>,
    /// As what weights are written.
    pub form: WeightForm,
    /// Whether a run may repeat the integer of a weight whose elements are all equal.
    pub repeated: bool,
    /// Operators that stay as they are, with the reason.
    pub kept: Vec<Kept>,
    /// Operators that compute in integers, and those that are taken into them.
    pub integer: Vec<NodeId>,
    /// Operators that are taken into others, each with that other.
    pub taken_in: Vec<(NodeId, NodeId)>,
    /// How many operators had integers before.
    pub already: usize,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            sites: Vec::new(),
            weights: Vec::new(),
            constants: Vec::new(),
            form: WeightForm::Integers,
            repeated: false,
            kept: Vec::new(),
            integer: Vec::new(),
            taken_in: Vec::new(),
            already: 0,
        }
    }
}

impl Plan {
    /// Whether nothing gets integers.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty() && self.weights.is_empty()
    }

    /// The same plan, for a graph whose weights stay as they are: what their integers are worth is looked for once.
    #[must_use]
    pub fn searched(mut self, graph: &Graph) -> Plan {
        for site in &mut self.weights {
            let weight = graph.operand(site.node, site.slot).and_then(|value| graph.constant(value));
            site.scales = weight.and_then(|weight| weight_scales(weight, site.axis, site.grid)).map(Arc::from);
        }
        self
    }
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
    /// What the target insists on, whatever the tensor holds.
    pub fixed: Option<Scaling>,
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
    /// As what the bias that is added to its products is written.
    pub bias: BiasForm,
    /// What its integers are worth, where that was looked for and weights stay as they are.
    pub scales: Option<Arc<[f32]>>,
    /// The rule of the target that wants it.
    pub rule: String,
}

impl WeightSite {
    /// `weight`, which is this site's, as integers; as [`integers`].
    pub fn integers(&self, weight: &Tensor) -> Option<Integers> {
        match &self.scales {
            Some(scales) => with_scales(weight, self.axis, self.grid, scales.to_vec()),
            None => integers(weight, self.axis, self.grid),
        }
    }
}

/// A constant operand that is no weight, as integers: one scale for all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConstantSite {
    /// Who reads it.
    pub node: NodeId,
    /// As which operand.
    pub slot: usize,
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
    /// The rule of the target that says so; empty where it has none.
    pub rule: String,
    /// Why.
    pub why: String,
}
