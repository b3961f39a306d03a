//! Control flow with a known outcome is the nodes that run.
//!
//! * `If` with a constant condition is the branch taken.
//! * `Loop` that runs exactly once is its body; one that never runs is its initial values.
//! * `Scan` over sequences of length one is its body.

use crate::ir::{Attr, Graph, NodeId, OpKind, ScopeId, Tensor, ValueId};
use crate::ops::{CallView, infer_node};
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::Step;

/// See the module.
pub struct InlineControl;

impl Pass for InlineControl {
    fn name(&self) -> &'static str {
        "inline-control"
    }

    fn doc(&self) -> &'static str {
        include_str!("inline_control.rs")
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        // Nodes that a body brings along come after in the list of the next round.
        let nodes: Vec<NodeId> = graph.nodes().collect();
        for node in nodes {
            if !graph.has_node(node) {
                continue;
            }
            let plan = match graph.node(node).op {
                OpKind::If => plan_if(graph, node),
                OpKind::Loop => plan_loop(graph, node),
                OpKind::Scan => plan_scan(graph, node),
                _ => continue,
            };
            let Some(plan) = plan.filter(|plan| gives_every_result(graph, plan)) else { continue };
            if !cx.fuel.spend(plan.name, || graph.label(node)) {
                break;
            }
            let name = plan.name;
            carry_out(graph, node, plan);
            step.fired(name);
        }
        Ok(step)
    }
}

/// What takes the place of a control-flow node.
struct Plan {
    name: &'static str,
    /// The body to run, if any.
    body: Option<ScopeId>,
    /// What the body's inputs become.
    arguments: Vec<Argument>,
    /// What each result of the node becomes.
    results: Vec<Outcome>,
}

enum Argument {
    Value(ValueId),
    Constant(Tensor),
    /// The only slice of a value along an axis.
    Squeezed(ValueId, i64),
}

enum Outcome {
    Value(ValueId),
    /// Output `index` of the body.
    Body(usize),
    /// Output `index` of the body with an axis of size one put in.
    Unsqueezed(usize, i64),
}

/// Whether the body has an output for everything that it should give. A body that lacks one could not be taken out.
fn gives_every_result(graph: &Graph, plan: &Plan) -> bool {
    let outputs = plan.body.map_or(0, |body| graph.scope(body).outputs().len());
    plan.results.iter().all(|outcome| match outcome {
        Outcome::Value(_) => true,
        Outcome::Body(i) | Outcome::Unsqueezed(i, _) => *i < outputs,
    })
}

fn body_of(graph: &Graph, node: NodeId, attr: &str) -> Option<ScopeId> {
    match graph.node(node).attr(attr)? {
        Attr::Graph(scope) => Some(*scope),
        _ => None,
    }
}

fn plan_if(graph: &Graph, node: NodeId) -> Option<Plan> {
    let condition = graph.constant(graph.operand(node, 0)?)?.integer()?;
    let body = body_of(graph, node, if condition != 0 { "then_branch" } else { "else_branch" })?;
    let results = (0..graph.results(node).len()).map(Outcome::Body).collect();
    Some(Plan { name: "inline-if", body: Some(body), arguments: Vec::new(), results })
}

fn plan_loop(graph: &Graph, node: NodeId) -> Option<Plan> {
    let call = CallView::new(graph, node);
    let body = body_of(graph, node, "body")?;
    let trips = match call.operand(0) {
        Some(v) => Some(graph.constant(v)?.integer()?),
        None => None,
    };
    let runs_first = match call.operand(1) {
        Some(v) => graph.constant(v)?.integer()? != 0,
        None => true,
    };
    let carried = call.operand_count().saturating_sub(2);
    let initial: Vec<ValueId> = (2..call.operand_count()).map(|slot| call.operand(slot)).collect::<Option<_>>()?;
    let results = graph.results(node).len();
    if trips.is_some_and(|n| n <= 0) || !runs_first {
        // Outputs collected over no iteration are empty, of a shape that is not known here.
        let results = if results == carried { initial } else { return None };
        let results = results.into_iter().map(Outcome::Value).collect();
        return Some(Plan { name: "inline-loop", body: None, arguments: Vec::new(), results });
    }
    if trips != Some(1) {
        return None;
    }
    let mut arguments = vec![Argument::Constant(Tensor::scalar(0)), Argument::Constant(truth())];
    arguments.extend(initial.into_iter().map(Argument::Value));
    if graph.scope(body).inputs().len() != arguments.len() {
        return None;
    }
    // The body's first output is the next condition.
    let results =
        (0..results).map(|i| if i < carried { Outcome::Body(i + 1) } else { Outcome::Unsqueezed(i + 1, 0) }).collect();
    Some(Plan { name: "inline-loop", body: Some(body), arguments, results })
}

fn truth() -> Tensor {
    Tensor::raw(crate::ir::DType::Bool, &[], vec![1].into()).expect("one byte is one bool")
}

fn plan_scan(graph: &Graph, node: NodeId) -> Option<Plan> {
    let call = CallView::new(graph, node);
    let body = body_of(graph, node, "body")?;
    let scanned = usize::try_from(match call.node().attr("num_scan_inputs")? {
        Attr::Int(n) => *n,
        _ => return None,
    })
    .ok()?;
    let states = call.operand_count().checked_sub(scanned)?;
    let axis = |attr: &str, i: usize| match call.node().attr(attr) {
        Some(Attr::Ints(axes)) => axes.get(i).copied(),
        Some(_) => None,
        None => Some(0),
    };
    let mut arguments = Vec::new();
    for slot in 0..call.operand_count() {
        let value = call.operand(slot)?;
        if slot < states {
            arguments.push(Argument::Value(value));
            continue;
        }
        let at = axis("scan_input_axes", slot - states)?;
        let size = &call.dims(slot)?[crate::ops::normalize_axis(at, call.rank(slot)?)?];
        if size.known() != Some(1) {
            return None;
        }
        arguments.push(Argument::Squeezed(value, at));
    }
    let results = (0..graph.results(node).len())
        .map(|i| match i.checked_sub(states) {
            None => Some(Outcome::Body(i)),
            Some(k) => Some(Outcome::Unsqueezed(i, axis("scan_output_axes", k)?)),
        })
        .collect::<Option<_>>()?;
    (graph.scope(body).inputs().len() == arguments.len()).then_some(Plan {
        name: "inline-scan",
        body: Some(body),
        arguments,
        results,
    })
}

fn carry_out(graph: &mut Graph, node: NodeId, plan: Plan) {
    let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
    let axis_call = |graph: &mut Graph, op, value, axis| {
        let axes = graph.add_constant(scope, "", Tensor::vector(&[axis]));
        let made = graph.add_node(scope, op, &[Some(value), Some(axes)], 1, order);
        infer_node(graph, made);
        graph.result(made, 0)
    };
    let outputs = match plan.body {
        None => Vec::new(),
        Some(body) => {
            let arguments: Vec<ValueId> = plan
                .arguments
                .into_iter()
                .filter_map(|argument| match argument {
                    Argument::Value(value) => Some(value),
                    Argument::Constant(tensor) => Some(graph.add_constant(scope, "", tensor)),
                    Argument::Squeezed(value, axis) => axis_call(graph, OpKind::Squeeze, value, axis),
                })
                .collect();
            graph.inline_body(body, &arguments)
        }
    };
    for (slot, outcome) in plan.results.into_iter().enumerate() {
        let Some(old) = graph.result(node, slot) else { continue };
        let new = match outcome {
            Outcome::Value(value) => Some(value),
            Outcome::Body(i) => outputs.get(i).copied(),
            Outcome::Unsqueezed(i, axis) => {
                outputs.get(i).and_then(|&value| axis_call(graph, OpKind::Unsqueeze, value, axis))
            }
        };
        if let Some(new) = new {
            graph.replace(old, new);
        }
    }
    graph.prune_dead(node, |_| {});
}
