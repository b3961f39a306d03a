//! Runs a graph node by node: exact kernels, a single call in tract where they have none, `If` and `Loop` here.
//!
//! For what tract cannot run as a whole.

use std::collections::HashMap;

use onnx_slim::exec::tract::Tract;
use onnx_slim::exec::{exact, fold_with_engine};
use onnx_slim::ir::{Attr, Graph, NodeId, OpKind, ScopeId, Tensor, ValueId};
use onnx_slim::model::Model;
use onnx_slim::ops::CallView;

type Known = HashMap<ValueId, Tensor>;

/// No fixture comes near.
const LIMIT: usize = 64 << 20;

/// The outputs of a model; an error names the operator that cannot be run.
pub fn run(model: &Model, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, String> {
    let graph = &model.graph;
    let mut known = Known::new();
    for &input in graph.scope(ScopeId::MAIN).inputs() {
        let value = graph.value(input);
        let given = inputs.iter().find(|(name, _)| **name == *value.name).map(|(_, tensor)| tensor);
        known.insert(input, given.or(value.default()).expect("every input is given").clone());
    }
    scope(graph, ScopeId::MAIN, &mut known)
}

fn get(graph: &Graph, known: &Known, value: ValueId) -> Tensor {
    graph.constant(value).or_else(|| known.get(&value)).expect("operands come before users").clone()
}

/// The outputs of one graph whose inputs are known.
fn scope(graph: &Graph, at: ScopeId, known: &mut Known) -> Result<Vec<Tensor>, String> {
    for node in graph.schedule(at) {
        let results = match graph.node(node).op {
            OpKind::If => {
                let condition = graph.operand(node, 0).expect("If has a condition");
                let taken = get(graph, known, condition).integer() != Some(0);
                scope(graph, body(graph, node, if taken { "then_branch" } else { "else_branch" }), known)?
            }
            OpKind::Loop => repeat(graph, node, known)?,
            _ => call(graph, node, known)?,
        };
        for (value, tensor) in graph.results(node).iter().zip(results) {
            known.extend(value.map(|value| (value, tensor)));
        }
    }
    Ok(graph.scope(at).outputs().iter().map(|output| get(graph, known, output.value())).collect())
}

fn body(graph: &Graph, node: NodeId, name: &str) -> ScopeId {
    match graph.node(node).attr(name) {
        Some(Attr::Graph(body)) => *body,
        _ => panic!("no body {name}"),
    }
}

fn call(graph: &Graph, node: NodeId, known: &Known) -> Result<Vec<Tensor>, String> {
    let operands: Vec<Option<Tensor>> = graph.operands(node).map(|v| v.map(|v| get(graph, known, v))).collect();
    let call = CallView::new(graph, node);
    match exact::evaluate(&call, &operands, LIMIT) {
        Ok(folded) => Ok(folded.results),
        Err(exact::Unable::NoKernel) => {
            fold_with_engine(&Tract, &call, &operands, LIMIT).map_err(|cannot| cannot.to_string())
        }
        Err(why) => Err(format!("{}: {why}", graph.label(node))),
    }
}

/// A `Loop`: what it carries, then what each round gives, one after another along a new first axis.
fn repeat(graph: &Graph, node: NodeId, known: &mut Known) -> Result<Vec<Tensor>, String> {
    let operand = |known: &Known, slot| graph.operand(node, slot).map(|v| get(graph, known, v));
    let rounds = operand(known, 0).and_then(|t| t.integer()).unwrap_or(i64::MAX);
    let mut goes_on = operand(known, 1).is_none_or(|t| t.integer() != Some(0));
    let mut carried: Vec<Tensor> = (2..graph.operand_count(node)).filter_map(|slot| operand(known, slot)).collect();
    let body = body(graph, node, "body");
    let mut collected: Vec<Vec<Tensor>> = vec![Vec::new(); graph.results(node).len().saturating_sub(carried.len())];
    let mut round = 0;
    while goes_on && round < rounds {
        let truth = Tensor::raw(onnx_slim::ir::DType::Bool, &[], vec![1].into()).expect("one byte");
        let arguments = [Tensor::scalar(round), truth].into_iter().chain(carried.iter().cloned());
        known.extend(graph.scope(body).inputs().iter().copied().zip(arguments));
        let mut outputs = scope(graph, body, known)?.into_iter();
        goes_on = outputs.next().and_then(|t| t.integer()) != Some(0);
        carried = outputs.by_ref().take(carried.len()).collect();
        collected.iter_mut().zip(outputs).for_each(|(all, one)| all.push(one));
        round += 1;
    }
    let joined = collected.iter().map(|all| stacked(all).ok_or_else(|| "nothing was collected".to_string()));
    carried.into_iter().map(Ok).chain(joined).collect()
}

fn stacked(all: &[Tensor]) -> Option<Tensor> {
    let first = all.first()?;
    let dims: Vec<usize> = std::iter::once(all.len()).chain(first.dims().iter().copied()).collect();
    let bytes: Vec<u8> = all.iter().filter_map(Tensor::bytes).flatten().collect();
    Tensor::raw(first.dtype(), &dims, bytes.into()).ok()
}
