//! Groups in words: who reads them and why they are coupled.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ir::{Graph, User, ValueId};
use crate::prune::colour::Colouring;
use crate::prune::groups::{Group, Groups};

/// A group as reports show it.
#[derive(Clone, Debug, Serialize)]
pub struct GroupAccount {
    /// How many classes can be removed one by one.
    pub classes: usize,
    /// Layers that make the group's channels, by node.
    pub made_by: Vec<String>,
    /// Layers that sum over them, by node.
    pub summed_by: Vec<String>,
    /// Other calls that hold a constant with slices of each class: normalizations, biases, factors.
    pub held_by: Vec<String>,
    /// Elements of constants that go with one class.
    pub elements: usize,
    /// Why they are one group, where more than one layer makes them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coupled: Option<String>,
}

/// What keeps channels from being removable.
#[derive(Clone, Debug, Serialize)]
pub struct StopAccount {
    /// The operator.
    pub op: String,
    /// How many of its calls.
    pub calls: usize,
    /// One of them.
    pub node: String,
}

/// The groups of a graph, in its order.
pub fn accounts(graph: &Graph, groups: &Groups) -> Vec<GroupAccount> {
    groups.groups.iter().map(|group| account(graph, groups, group)).collect()
}

/// What stopped classes from being free, the most frequent first.
pub fn stops(graph: &Graph, colouring: &Colouring) -> Vec<StopAccount> {
    let mut stops: Vec<StopAccount> = colouring
        .stopped
        .iter()
        .map(|(op, stop)| StopAccount { op: op.clone(), calls: stop.calls, node: graph.label(stop.first) })
        .collect();
    stops.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.op.cmp(&b.op)));
    stops
}

fn account(graph: &Graph, groups: &Groups, group: &Group) -> GroupAccount {
    let (mut made_by, mut summed_by, mut held_by) = (Vec::new(), Vec::new(), Vec::new());
    let mut elements = 0;
    for member in &group.members {
        let Some(tensor) = graph.constant(member.value) else { continue };
        elements += tensor.len() / tensor.dims()[member.axis].max(1) * member.slices;
        for user in readers(graph, member.value) {
            let User::Node(node, slot) = user else { continue };
            let label = graph.label(node);
            let is_summed = groups.sinks().iter().any(|s| (s.node, s.slot, s.axis) == (node, slot, member.axis));
            let list = match () {
                () if is_summed => &mut summed_by,
                () if tensor.rank() >= 2 && groups.sinks().iter().any(|s| (s.node, s.slot) == (node, slot)) => {
                    &mut made_by
                }
                () => &mut held_by,
            };
            if !list.contains(&label) {
                list.push(label);
            }
        }
    }
    let coupled = (made_by.len() > 1).then(|| {
        let mut ops: BTreeMap<&str, usize> = BTreeMap::new();
        for (value, axes) in groups.colouring.tensors() {
            let Some((node, _)) = graph.producer(value) else { continue };
            let holds = axes.iter().any(|axis| match axis {
                crate::prune::colour::Axis::Of(classes) => classes.contains(&group.classes[0]),
                crate::prune::colour::Axis::Fixed => false,
            });
            let op = graph.node(node).op_name();
            let joins = graph.operands(node).flatten().filter(|&v| graph.constant(v).is_none()).count() > 1;
            if holds && joins {
                *ops.entry(op).or_default() += 1;
            }
        }
        let ops: Vec<String> = ops.into_iter().map(|(op, n)| format!("{n} {op}")).collect();
        format!("by {}", if ops.is_empty() { "what they share".into() } else { ops.join(", ") })
    });
    GroupAccount { classes: group.classes.len(), made_by, summed_by, held_by, elements, coupled }
}

/// Who reads a constant, and who reads what it is dequantized to.
fn readers(graph: &Graph, value: ValueId) -> Vec<User> {
    let mut readers = graph.value(value).users().to_vec();
    let dequantized = readers.iter().filter_map(|user| match *user {
        User::Node(node, 0) if graph.node(node).op == crate::ir::OpKind::DequantizeLinear => graph.result(node, 0),
        _ => None,
    });
    let more: Vec<User> = dequantized.flat_map(|v| graph.value(v).users().to_vec()).collect();
    readers.extend(more);
    readers
}
