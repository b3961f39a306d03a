//! What has integers and what not, as data for a report.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::calibrate::observed;
use crate::ir::{Graph, ValueId};
use crate::quantize::{Group, Plan, Readers, Scaling};
use crate::target::Policy;
use crate::target::policy::WeightForm;

/// What has integers and what not, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Placement {
    /// The policy that was followed.
    pub policy: String,
    /// Tensors that a run computes, as integers.
    pub tensors: Vec<Placed>,
    /// Weights and other constants, as integers.
    pub weights: Vec<PlacedWeight>,
    /// Operators that compute in integers, and those that are taken into them.
    pub integer: Vec<String>,
    /// Operators that had integers before and were left intact.
    pub already: usize,
    /// Operators that compute in real numbers.
    pub float: Vec<Left>,
}

/// A tensor that a run computes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Placed {
    /// The tensor.
    pub tensor: String,
    /// The type of its integers.
    pub dtype: &'static str,
    /// Those of one number have the same scale and zero point.
    pub group: Group,
    /// Real units of one step.
    pub scale: f32,
    /// The integer that stands for zero.
    pub zero_point: i64,
    /// Where these come from.
    pub source: Source,
    /// Who reads it as integers; empty for everyone.
    pub readers: Vec<String>,
    /// The rule of the target that wants it.
    pub rule: String,
}

/// Where scale and zero point of a tensor come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// What the tensor held on samples.
    Statistics,
    /// What it and others held.
    SharedStatistics,
    /// The target insists on them.
    Fixed,
}

/// A weight, or another constant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlacedWeight {
    /// The constant.
    pub tensor: String,
    /// Who reads it.
    pub node: String,
    /// As which operand.
    pub slot: usize,
    /// The type of its integers.
    pub dtype: &'static str,
    /// Slices along this axis have a scale each; none is one scale for all.
    pub axis: Option<usize>,
    /// Whether integers are stored, or real numbers that a `QuantizeLinear` rounds.
    pub stored: bool,
    /// The rule of the target that wants it.
    pub rule: String,
}

/// An operator that computes in real numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The node.
    pub node: String,
    /// The operator.
    pub op: String,
    /// The rule of the target that says so; empty where it has none.
    pub rule: String,
    /// Why.
    pub why: String,
}

impl Placement {
    /// What `plan` makes of `graph`, in words, before it is written.
    pub fn of(graph: &Graph, policy: &Policy, plan: &Plan, scales: &BTreeMap<Group, Scaling>) -> Placement {
        let names: FxHashMap<ValueId, String> = observed(graph).into_iter().collect();
        let name = |value: ValueId| names.get(&value).cloned().unwrap_or_else(|| graph.value_label(value));
        let mut members: BTreeMap<Group, usize> = BTreeMap::new();
        for site in &plan.sites {
            *members.entry(site.group).or_default() += 1;
        }
        let tensors = plan.sites.iter().filter_map(|site| {
            let scaling = site.fixed.or_else(|| scales.get(&site.group).copied())?;
            Some(Placed {
                tensor: name(site.value),
                dtype: site.grid.dtype.name(),
                group: site.group,
                scale: scaling.scale,
                zero_point: scaling.zero_point,
                source: match site.fixed {
                    Some(_) => Source::Fixed,
                    None if members[&site.group] > 1 => Source::SharedStatistics,
                    None => Source::Statistics,
                },
                readers: match &site.readers {
                    Readers::All => Vec::new(),
                    Readers::Some(readers) => readers.iter().map(|&(node, _)| graph.label(node)).collect(),
                },
                rule: site.rule.clone(),
            })
        });
        let constant = |node, slot| graph.operand(node, slot).map(|v| graph.value_label(v)).unwrap_or_default();
        let weights = plan.weights.iter().map(|site| PlacedWeight {
            tensor: constant(site.node, site.slot),
            node: graph.label(site.node),
            slot: site.slot,
            dtype: site.grid.dtype.name(),
            axis: site.axis,
            stored: plan.form == WeightForm::Integers,
            rule: site.rule.clone(),
        });
        let constants = plan.constants.iter().map(|site| PlacedWeight {
            tensor: constant(site.node, site.slot),
            node: graph.label(site.node),
            slot: site.slot,
            dtype: site.grid.dtype.name(),
            axis: None,
            stored: true,
            rule: site.rule.clone(),
        });
        let float = plan.kept.iter().map(|kept| Left {
            node: graph.label(kept.node),
            op: graph.node(kept.node).op_name().to_string(),
            rule: kept.rule.clone(),
            why: kept.why.clone(),
        });
        Placement {
            policy: policy.name.clone(),
            tensors: tensors.collect(),
            weights: weights.chain(constants).collect(),
            integer: plan.integer.iter().map(|&node| graph.label(node)).collect(),
            already: plan.already,
            float: float.collect(),
        }
    }
}
