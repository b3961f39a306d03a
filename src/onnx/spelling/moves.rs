//! Attributes that became operands: the graph has the operand, a constant; older files have the attribute.

use std::borrow::Cow;

use super::{Operand, Verbatim, Words};
use crate::ir::{Attr, DType, Graph, NodeId, OpKind, Tensor};
use crate::ops::CallView;

/// One attribute and the operand that it became.
struct Move {
    op: OpKind,
    attr: &'static str,
    slot: usize,
    form: Form,
    /// The first opset with the operand.
    since: u32,
}

/// How the same content is said both ways.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A list of integers, an int64 vector.
    Ints,
    /// An integer, an int64 vector of one element.
    IntVector,
    /// An integer, an int64 scalar.
    Int,
    /// A float, a float32 scalar.
    Float,
    /// A float, a scalar of the type of the first operand.
    FloatLike,
}

const fn to(op: OpKind, attr: &'static str, slot: usize, form: Form, since: u32) -> Move {
    Move { op, attr, slot, form, since }
}

static MOVES: &[Move] = &[
    to(OpKind::Reshape, "shape", 1, Form::Ints, 5),
    to(OpKind::Slice, "starts", 1, Form::Ints, 10),
    to(OpKind::Slice, "ends", 2, Form::Ints, 10),
    to(OpKind::Slice, "axes", 3, Form::Ints, 10),
    to(OpKind::TopK, "k", 1, Form::IntVector, 10),
    to(OpKind::Clip, "min", 1, Form::FloatLike, 11),
    to(OpKind::Clip, "max", 2, Form::FloatLike, 11),
    to(OpKind::Pad, "pads", 1, Form::Ints, 11),
    to(OpKind::Pad, "value", 2, Form::FloatLike, 11),
    to(OpKind::Dropout, "ratio", 1, Form::Float, 12),
    to(OpKind::Squeeze, "axes", 1, Form::Ints, 13),
    to(OpKind::Unsqueeze, "axes", 1, Form::Ints, 13),
    to(OpKind::Split, "split", 1, Form::Ints, 13),
    to(OpKind::ReduceSum, "axes", 1, Form::Ints, 13),
    to(OpKind::ReduceL1, "axes", 1, Form::Ints, 18),
    to(OpKind::ReduceL2, "axes", 1, Form::Ints, 18),
    to(OpKind::ReduceLogSum, "axes", 1, Form::Ints, 18),
    to(OpKind::ReduceLogSumExp, "axes", 1, Form::Ints, 18),
    to(OpKind::ReduceMax, "axes", 1, Form::Ints, 18),
    to(OpKind::ReduceMean, "axes", 1, Form::Ints, 18),
    to(OpKind::ReduceMin, "axes", 1, Form::Ints, 18),
    to(OpKind::ReduceProd, "axes", 1, Form::Ints, 18),
    to(OpKind::ReduceSumSquare, "axes", 1, Form::Ints, 18),
    to(OpKind::DFT, "axis", 2, Form::Int, 20),
];

fn moves(op: OpKind, opset: u32) -> impl Iterator<Item = &'static Move> {
    MOVES.iter().filter(move |m| m.op == op && opset < m.since)
}

/// The operands that the node's attributes become. Changes nothing yet.
pub(super) fn plan(graph: &Graph, id: NodeId, opset: u32) -> Result<Vec<(&'static str, usize, Tensor)>, Verbatim> {
    let call = CallView::new(graph, id);
    let mut planned = Vec::new();
    for m in moves(call.node().op, opset) {
        // The oldest Pad has another name for the same list.
        let name = if m.attr == "pads" && call.node().attr("pads").is_none() { "paddings" } else { m.attr };
        let Some(attr) = call.node().attr(name) else { continue };
        let tensor = tensor(m.form, attr, call.dtype(0)).ok_or(Verbatim)?;
        planned.push((name, m.slot, tensor));
    }
    Ok(planned)
}

/// Put the planned operands in the place of the attributes.
pub(super) fn apply(graph: &mut Graph, id: NodeId, planned: Vec<(&'static str, usize, Tensor)>) {
    let (op, scope) = (graph.node(id).op, graph.node(id).scope());
    for (name, slot, tensor) in planned {
        graph.remove_attr(id, name);
        // What these say is what their absence says.
        let silent = match op {
            OpKind::Pad => name == "value" && tensor.item() == Some(0.0),
            OpKind::Squeeze | OpKind::Slice => name == "axes" && tensor.len() == 0,
            op if is_reduction(op) => tensor.len() == 0,
            _ => false,
        };
        if !silent {
            let value = graph.add_constant(scope, "", tensor);
            graph.set_operand(id, slot, Some(value));
        }
    }
}

fn is_reduction(op: OpKind) -> bool {
    op.name().starts_with("Reduce")
}

/// Put attributes in the place of operands.
pub(super) fn spell(call: &CallView<'_>, words: &mut Words<'_>, opset: u32) -> Result<(), String> {
    for m in moves(call.node().op, opset) {
        let Some(operand) = words.operands.get_mut(m.slot) else { continue };
        let attr = match operand {
            Operand::Absent => continue,
            Operand::New(tensor) => attribute(m.form, tensor),
            Operand::Value(value) => call.graph().constant(*value).and_then(|t| attribute(m.form, t)),
        };
        let Some(attr) = attr else {
            return Err(format!("{} must be a constant before opset {}", m.attr, m.since));
        };
        *operand = Operand::Absent;
        words.attrs.push((Cow::Borrowed(m.attr), Cow::Owned(attr)));
    }
    while let Some(Operand::Absent) = words.operands.last() {
        words.operands.pop();
    }
    Ok(())
}

fn tensor(form: Form, attr: &Attr, like: Option<DType>) -> Option<Tensor> {
    match (form, attr) {
        (Form::Ints, Attr::Ints(ints)) => Some(Tensor::vector(ints)),
        (Form::IntVector, Attr::Int(i)) => Some(Tensor::vector(&[*i])),
        (Form::Int, Attr::Int(i)) => Some(Tensor::scalar(*i)),
        (Form::Float, Attr::Float(f)) => Tensor::f32s(&[], &[*f]).ok(),
        (Form::FloatLike, Attr::Float(f)) => Tensor::rounded(like?, &[], &[f64::from(*f)]).ok(),
        _ => None,
    }
}

/// The attribute that says what the tensor does; `None` when none says exactly that.
fn attribute(form: Form, tensor: &Tensor) -> Option<Attr> {
    let float = |f: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "checked on the next line")]
        let single = f as f32;
        (f64::from(single) == f || f.is_nan()).then_some(single)
    };
    match form {
        Form::Ints => tensor.integers().map(Attr::Ints),
        Form::IntVector | Form::Int => tensor.integer().map(Attr::Int),
        Form::Float | Form::FloatLike => float(tensor.item()?).map(Attr::Float),
    }
}
