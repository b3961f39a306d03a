//! Runs a graph call by call.

use std::collections::HashMap;

use onnx_slim::exec::exact::{Unable, evaluate};
use onnx_slim::exec::{fold_with_engine, tract::Tract};
use onnx_slim::ir::{DType, Graph, NodeId, OpKind, ScopeId, Tensor, Type, ValueId};
use onnx_slim::ops::CallView;

/// Inputs by name.
pub type Feed = HashMap<String, Tensor>;

/// Bytes that a result may take.
const LIMIT: usize = 1 << 20;

/// What a run came to.
pub struct Ran {
    /// The outputs, in order.
    pub outputs: Vec<Tensor>,
    /// The largest magnitude of all values on the way.
    pub largest: f64,
}

/// The outputs of `graph` on `feed`.
pub fn run(graph: &Graph, feed: &Feed) -> Result<Ran, String> {
    let mut known: HashMap<ValueId, Tensor> = HashMap::new();
    let main = graph.scope(ScopeId::MAIN);
    for &input in main.inputs() {
        let name = &*graph.value(input).name;
        known.insert(input, feed.get(name).ok_or_else(|| format!("there is no input {name}"))?.clone());
    }
    for node in graph.schedule(ScopeId::MAIN) {
        let results = call(graph, node, &|v| tensor(graph, &known, v))?;
        for (slot, tensor) in results.into_iter().enumerate() {
            let Some(value) = graph.result(node, slot) else { continue };
            check_type(graph, node, value, &tensor)?;
            known.insert(value, tensor);
        }
    }
    let outputs = main.outputs().iter();
    let outputs = outputs.map(|o| tensor(graph, &known, o.value()).ok_or_else(|| format!("{} is not there", o.name)));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let largest = known.values().map(largest).fold(0.0, f64::max);
    Ok(Ran { outputs, largest })
}

/// The largest magnitude of a float's elements; infinite when one is not finite.
pub fn largest(tensor: &Tensor) -> f64 {
    let reals = if tensor.dtype() == DType::Bool { None } else { tensor.reals() };
    reals.into_iter().flatten().map(|x| if x.is_finite() { x.abs() } else { f64::INFINITY }).fold(0.0, f64::max)
}

fn tensor(graph: &Graph, known: &HashMap<ValueId, Tensor>, value: ValueId) -> Option<Tensor> {
    known.get(&value).or_else(|| graph.constant(value)).cloned()
}

/// The results of one call.
pub fn call(graph: &Graph, node: NodeId, known: &dyn Fn(ValueId) -> Option<Tensor>) -> Result<Vec<Tensor>, String> {
    let operands: Vec<Option<Tensor>> = graph.operands(node).map(|o| o.and_then(known)).collect();
    let label = || format!("{} \"{}\"", graph.node(node).op_name(), graph.label(node));
    if graph.operands(node).zip(&operands).any(|(value, tensor)| value.is_some() && tensor.is_none()) {
        return Err(format!("{}: an operand is not known", label()));
    }
    // The kernels have no Dropout, as rules take it out before anything is folded.
    if let (OpKind::Dropout, Some(Some(x))) = (graph.node(node).op, operands.first()) {
        let mask = Tensor::splat(DType::Bool, x.dims(), &[1]).map_err(|e| e.to_string())?;
        return Ok([x.clone(), mask][..graph.results(node).len()].to_vec());
    }
    let view = CallView::new(graph, node);
    match evaluate(&view, &operands, LIMIT) {
        Ok(folded) => Ok(folded.results),
        Err(Unable::NoKernel) => {
            fold_with_engine(&Tract, &view, &operands, LIMIT).map_err(|e| format!("{}: {e}", label()))
        }
        Err(unable) => Err(format!("{}: {unable}", label())),
    }
}

/// What inference says of a value has to be so.
pub fn check_type(graph: &Graph, node: NodeId, value: ValueId, tensor: &Tensor) -> Result<(), String> {
    let wrong = || {
        Err(format!(
            "{} \"{}\" is {tensor}, not {:?}",
            graph.node(node).op_name(),
            graph.label(node),
            graph.value(value).ty
        ))
    };
    let Type::Tensor { dtype, shape } = &graph.value(value).ty else { return Ok(()) };
    if dtype.is_some_and(|d| d != tensor.dtype()) {
        return wrong();
    }
    if let Some(dims) = shape.dims() {
        let fits =
            |(dim, &size): (&onnx_slim::ir::Int, &usize)| dim.known().is_none_or(|d| usize::try_from(d) == Ok(size));
        if dims.len() != tensor.rank() || !dims.iter().zip(tensor.dims()).all(fits) {
            return wrong();
        }
    }
    if let (Some(content), Some(elements)) = (&graph.value(value).content, tensor.integers()) {
        let fits = content.len() == elements.len()
            && content.iter().zip(&elements).all(|(c, e)| c.known().is_none_or(|c| c == *e));
        if !fits {
            return Err(format!("\"{}\" holds {elements:?}, not {content:?}", graph.label(node)));
        }
    }
    Ok(())
}
