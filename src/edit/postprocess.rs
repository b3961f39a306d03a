//! What a caller does with an output first becomes part of the model.

use super::EditFault;
use crate::interface::TypeText;
use crate::ir::{Attr, Graph, Int, OpKind, ScopeId, Tensor, Type};
use crate::ops::infer_node;
use crate::passes::infer_declared;

/// What to do with an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postprocess {
    /// The output; none for the only one.
    pub output: Option<String>,
    /// What to do.
    pub what: Step,
}

/// One step behind an output. Classes are along axis 1 of what has four dimensions, else along the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Probabilities of the classes.
    Softmax,
    /// The most likely class: int64, and the axis of the classes goes.
    ArgMax,
    /// The most likely classes: the output has their scores, and a new one, `NAME_indices`, which they are.
    TopK(usize),
    /// `[N, C, H, W]` as `[N, H, W, C]`.
    Nhwc,
}

/// Put what is asked for behind an output.
///
/// # Errors
/// When the output is not there or is not of such a shape.
pub(super) fn postprocess(graph: &mut Graph, asked: &Postprocess) -> Result<(), EditFault> {
    infer_declared(graph);
    let outputs = graph.scope(ScopeId::MAIN).outputs();
    let known = || outputs.iter().map(|o| format!("\"{}\"", o.name)).collect::<Vec<_>>();
    let index = match &asked.output {
        Some(name) => outputs.iter().position(|o| *o.name == **name),
        None if outputs.len() == 1 => Some(0),
        None => return Err(EditFault::WhichOne { what: "--postprocess", known: known() }),
    };
    let Some(index) = index else {
        return Err(EditFault::NoOutput { output: asked.output.clone().unwrap_or_default(), known: known() });
    };
    let (name, old) = (outputs[index].name.to_string(), outputs[index].value());
    let mut ty = outputs[index].declared.clone();
    ty.refine(&graph.value(old).ty);
    let said = TypeText(&ty).to_string();
    let unfit = |why: &str| EditFault::Unfit { what: format!("output \"{name}\""), why: format!("it is {said}{why}") };
    let Type::Tensor { dtype: Some(dtype), shape } = &ty else { return Err(unfit(", no tensor")) };
    let dims = shape.dims().ok_or_else(|| unfit(", of unknown rank"))?.to_vec();
    let is_number = dtype.is_float() || dtype.is_integer();
    let axis = if dims.len() == 4 { 1 } else { dims.len().checked_sub(1).ok_or_else(|| unfit(", a single number"))? };
    let axis_attr = || ("axis", Attr::Int(i64::try_from(axis).unwrap_or(-1)));
    let order = graph.nodes().map(|n| graph.node(n).order()).max().unwrap_or_default();
    let (op, operand, results, attrs) = match asked.what {
        Step::Softmax if !dtype.is_float() => return Err(unfit(", and only floats have a softmax")),
        Step::Softmax => (OpKind::Softmax, None, 1, vec![axis_attr()]),
        Step::ArgMax | Step::TopK(_) if !is_number => return Err(unfit(", and has no largest")),
        Step::ArgMax => (OpKind::ArgMax, None, 1, vec![axis_attr(), ("keepdims", 0.into())]),
        Step::TopK(k) => {
            let most = dims.get(axis).and_then(Int::known);
            if most.is_some_and(|n| usize::try_from(n).is_ok_and(|n| n < k)) {
                return Err(unfit(&format!(", which has no {k} classes")));
            }
            let k = i64::try_from(k).map_err(|_| unfit(", which has not so many classes"))?;
            let k = graph.add_constant(ScopeId::MAIN, "", Tensor::vector(&[k]));
            (OpKind::TopK, Some(k), 2, vec![axis_attr()])
        }
        Step::Nhwc if dims.len() != 4 => return Err(unfit(", which has no four dimensions")),
        Step::Nhwc => (OpKind::Transpose, None, 1, vec![("perm", vec![0, 2, 3, 1].into())]),
    };
    let second = format!("{name}_indices");
    if results == 2 && super::tensors::Tensors::of(graph).get(&second).is_some() {
        return Err(EditFault::Taken { what: "tensor", old: "the new output".into(), new: second });
    }
    let operands: Vec<_> = [Some(old)].into_iter().chain(operand.map(Some)).collect();
    let node = graph.add_node(ScopeId::MAIN, op, &operands, results, order);
    for (name, attr) in attrs {
        graph.set_attr(node, name, attr);
    }
    // The name goes to what is shown under it now; an input keeps its own.
    if graph.producer(old).is_some() && *graph.value(old).name == *name {
        graph.value_mut(old).name = format!("{name}_raw").into();
    }
    if graph.value(old).ty.shape().dims().is_none() {
        graph.value_mut(old).ty = ty.clone();
    }
    infer_node(graph, node);
    let result = graph.result(node, 0).expect("it was made with a result");
    graph.value_mut(result).name = name.as_str().into();
    graph.set_output(ScopeId::MAIN, index, result);
    let ty = graph.value(result).ty.clone();
    let output = graph.output_mut(ScopeId::MAIN, index);
    (output.declared, output.carried) = (ty, Default::default());
    if let Some(indices) = graph.result(node, 1) {
        graph.value_mut(indices).name = second.as_str().into();
        let ty = graph.value(indices).ty.clone();
        graph.add_output(ScopeId::MAIN, &second, indices, ty);
    }
    Ok(())
}
