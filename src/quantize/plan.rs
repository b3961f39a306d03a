//! What gets integers, before it is known which real numbers they stand for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::calibrate::{Gathered, observed};
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

    /// The same plan, where tensors that reach about as far below zero as above, by what was `gathered` of them, have the
    /// symmetric integers that the target takes less for.
    #[must_use]
    pub fn evened(mut self, graph: &Graph, gathered: &Gathered) -> Plan {
        let names: BTreeMap<ValueId, String> = observed(graph).into_iter().collect();
        let mut grids: BTreeMap<Group, Option<Grid>> = BTreeMap::new();
        for site in &self.sites {
            let seen = names.get(&site.value).and_then(|name| gathered.tensors.get(name));
            let even = site.even.filter(|_| seen.is_some_and(|seen| is_even(seen.min, seen.max)));
            let of_group = grids.entry(site.group).or_insert(even);
            // One scale has one zero point.
            *of_group = of_group.filter(|grid| Some(*grid) == even);
        }
        for site in &mut self.sites {
            if let Some(&Some(grid)) = grids.get(&site.group) {
                site.grid = grid;
            }
        }
        self
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

/// A range is even where its shorter side has this share of the longer one: symmetric integers are then at most a
/// ninth coarser.
const EVEN: f32 = 0.8;

fn is_even(low: f32, high: f32) -> bool {
    let (below, above) = ((-low).max(0.0), high.max(0.0));
    below.min(above) >= EVEN * below.max(above) && below > 0.0
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
    /// Whether its pair stands near who reads it, and is counted there.
    pub near: bool,
    /// Symmetric integers that the target takes less for.
    pub even: Option<Grid>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Statistics;
    use crate::passes::infer_declared;
    use crate::text::parse;

    /// The types of `a`, `b` and `c`, the last two of one group, when they reach so far.
    fn evened(ends: [(f32, f32); 3]) -> Vec<Grid> {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[4] x) => (float[4] c)
            { a = Relu(x) b = Neg(a) c = Neg(b) }"#;
        let mut graph = parse(text).unwrap().graph;
        infer_declared(&mut graph);
        let site = |(value, group): (ValueId, Group)| Site {
            value,
            readers: Readers::All,
            grid: Grid::U8,
            group,
            rule: String::new(),
            fixed: None,
            near: false,
            even: Some(Grid::I8),
        };
        let made = graph.nodes().filter_map(|node| graph.result(node, 0));
        let sites: Vec<Site> = made.zip([0, 1, 1]).map(site).collect();
        let mut gathered = Gathered::default();
        for (site, (min, max)) in sites.iter().zip(ends) {
            let statistics = Statistics { min, max, ..Statistics::default() };
            gathered.tensors.insert(graph.value_label(site.value), statistics);
        }
        let plan = Plan { sites, ..Plan::default() }.evened(&graph, &gathered);
        plan.sites.iter().map(|site| site.grid).collect()
    }

    #[test]
    fn even_ranges_are_symmetric_and_groups_stay_alike() {
        let (even, uneven) = ((-0.85, 1.0), (-1.0, 0.7));
        assert_eq!(evened([even, (-1.0, 0.8), even]), [Grid::I8; 3]);
        assert_eq!(evened([uneven, even, even]), [Grid::U8, Grid::I8, Grid::I8]);
        assert_eq!(evened([even, even, uneven]), [Grid::I8, Grid::U8, Grid::U8]);
        assert_eq!(evened([(0.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]), [Grid::U8; 3]);
        assert_eq!(evened([(f32::NAN, 1.0), (f32::NEG_INFINITY, f32::INFINITY), even])[0], Grid::U8);
    }
}
