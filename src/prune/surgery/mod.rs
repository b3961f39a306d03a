//! What a [`Cut`] leaves of a model, as a model.
//!
//! Surgery looks first and cuts then. Every call that loses something is checked against what its operator ties
//! together, so that a cut which fits one operand and not another is refused. Then each family says what else of a
//! call speaks of sizes: groups, heads, hidden units, the constants of `Reshape`, `Split` and `Slice`. Last, constants
//! lose their rows, and types are inferred again: a size that is not the one that the cut asks for is refused too.
//!
//! Nodes and values keep their ids. A constant that speaks of sizes becomes one that only this node reads.

mod agree;
mod conv;
mod edit;
mod heads;
mod norm;
mod parts;
mod recurrent;
mod shape;
mod tensor;

use rustc_hash::FxHashSet;

use crate::ir::{Graph, Int, NodeId, OpKind, Origin, ScopeId, Shape, Type, User, ValueId, verify};
use crate::passes::infer_shapes;
use crate::prune::Cut;
use crate::prune::call::Call;
use edit::Edit;

/// Why a cut is not made: where, what speaks against it, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at} cannot be cut: {why}")]
pub struct Refused {
    /// The operator and the node's name, or the input, output or tensor.
    pub at: String,
    /// What speaks against it.
    pub why: String,
    /// What to do.
    pub hint: String,
}

/// What to do about a cut that contradicts itself: nobody but a program makes one.
const PROTECT: &str = "protect this tensor from pruning";

/// Make of `graph` what `cut` leaves. Shapes are those that inference gives: infer before, and ask again here.
///
/// # Errors
/// When the cut touches an input or output, empties an axis, or does not fit a call. `graph` is as it was then.
pub fn apply(graph: &mut Graph, cut: &Cut) -> Result<(), Refused> {
    let cut = checked(graph, cut)?;
    if cut.is_empty() {
        return Ok(());
    }
    let mut edits = Vec::new();
    for node in touched(graph, &cut) {
        let call = Call::new(graph, node, &cut);
        agree::check(&call)?;
        edits.extend(edits_of(&call)?);
    }
    // The bytes of constants are shared, so this costs no weights; and an error leaves the caller's graph alone.
    let mut result = graph.clone();
    for (value, axes) in constants(graph, &cut) {
        let kept: Vec<_> = (0..axes).map(|axis| cut.kept(value, axis)).collect();
        let rest = graph.constant(value).and_then(|tensor| tensor::remaining(tensor, &kept));
        let rest = rest.ok_or_else(|| at_value(graph, value, "its elements take too much room", PROTECT))?;
        result.set_constant(value, rest);
    }
    for edit in edits {
        edit.make(&mut result);
    }
    infer_again(&mut result, &cut);
    compare(graph, &result, &cut)?;
    *graph = result;
    Ok(())
}

/// The cut without entries that keep everything.
fn checked(graph: &Graph, cut: &Cut) -> Result<Cut, Refused> {
    let mut checked = Cut::default();
    for (value, axis, kept) in cut.iter() {
        if !graph.has_value(value) {
            let (why, hint) = ("a tensor that is not there was to be cut".to_string(), PROTECT.to_string());
            return Err(Refused { at: format!("tensor {}", value.index()), why, hint });
        }
        let v = graph.value(value);
        let size = v.ty.shape().dims().and_then(|dims| usize::try_from(dims.get(axis)?.known()?).ok());
        let Some(size) = size else {
            let why = format!("the size of axis {axis} is not known");
            return Err(at_value(graph, value, &why, "fix the sizes of the model's inputs"));
        };
        let sound = kept.windows(2).all(|pair| pair[0] < pair[1]) && kept.last().is_none_or(|&last| last < size);
        if !sound {
            let why = format!("what is to be kept of axis {axis} is no ascending list of its indices");
            return Err(at_value(graph, value, &why, PROTECT));
        }
        if kept.len() == size {
            continue;
        }
        if kept.is_empty() {
            let why = format!("nothing would be left of axis {axis}");
            return Err(at_value(graph, value, &why, "remove less, or protect this tensor"));
        }
        let is_output = v.users().iter().any(|user| matches!(user, User::Output(..)));
        if v.origin() == Origin::Input || is_output {
            let hint = "what callers pass and read does not change: protect this tensor";
            return Err(at_value(graph, value, "its sizes are part of an interface", hint));
        }
        checked.keep(value, axis, kept.clone());
    }
    Ok(checked)
}

fn at_value(graph: &Graph, value: ValueId, why: &str, hint: &str) -> Refused {
    let kind = match graph.value(value).origin() {
        Origin::Input if graph.value(value).scope() == ScopeId::MAIN => "input",
        Origin::Constant => "weight",
        Origin::Input | Origin::Node(..) if graph.is_output(value) => "output",
        Origin::Input | Origin::Node(..) => "tensor",
    };
    Refused { at: format!("{kind} \"{}\"", graph.value_label(value)), why: why.to_string(), hint: hint.to_string() }
}

/// The nodes that read or make something cut, in the order of the model.
fn touched(graph: &Graph, cut: &Cut) -> Vec<NodeId> {
    let mut nodes = FxHashSet::default();
    for (value, _, _) in cut.iter() {
        nodes.extend(graph.producer(value).map(|(node, _)| node));
        nodes.extend(graph.value(value).users().iter().filter_map(|user| match *user {
            User::Node(node, _) => Some(node),
            User::Output(..) => None,
        }));
    }
    graph.nodes().filter(|node| nodes.contains(node)).collect()
}

/// What besides its constants' rows changes of a call.
fn edits_of(call: &Call<'_>) -> Result<Vec<Edit>, Refused> {
    match call.view.node().op {
        OpKind::Conv | OpKind::ConvTranspose | OpKind::ConvInteger | OpKind::QLinearConv | OpKind::DeformConv => {
            conv::edits(call)
        }
        OpKind::GroupNormalization => norm::groups(call),
        OpKind::RMSNormalization => norm::root_mean_square(call),
        OpKind::LSTM | OpKind::GRU | OpKind::RNN => Ok(recurrent::edits(call)),
        OpKind::Attention => Ok(heads::attention(call)),
        OpKind::RotaryEmbedding => Ok(heads::rotary(call)),
        OpKind::Reshape => shape::reshape(call),
        OpKind::Expand => shape::expand(call),
        OpKind::ConstantOfShape => shape::constant_of_shape(call),
        OpKind::Resize => shape::resize(call),
        OpKind::Squeeze => shape::squeeze(call),
        OpKind::Split => parts::split(call),
        OpKind::Slice => parts::slice(call),
        OpKind::Gather => parts::gather(call),
        _ => Ok(Vec::new()),
    }
}

/// The constants that lose something, with their ranks.
fn constants(graph: &Graph, cut: &Cut) -> Vec<(ValueId, usize)> {
    let mut found: Vec<(ValueId, usize)> =
        cut.iter().filter_map(|(value, _, _)| Some((value, graph.constant(value)?.rank()))).collect();
    found.dedup();
    found
}

/// Give every value the type that it has after the cut.
fn infer_again(graph: &mut Graph, cut: &Cut) {
    for (value, axis, kept) in cut.iter() {
        if graph.constant(value).is_some() {
            continue;
        }
        let v = graph.value_mut(value);
        if let Type::Tensor { shape: Shape(Some(dims)), .. } = &mut v.ty {
            let size = |(at, dim): (usize, &Int)| if at == axis { Int::from(kept.len()) } else { dim.clone() };
            *dims = dims.iter().enumerate().map(size).collect();
        }
    }
    // What shape arithmetic made of the old sizes.
    let values: Vec<ValueId> = graph.values().collect();
    for value in values {
        graph.value_mut(value).content = None;
    }
    infer_shapes(graph);
}

/// Check that `result` is well formed and its sizes are those of `graph` after the cut.
fn compare(graph: &Graph, result: &Graph, cut: &Cut) -> Result<(), Refused> {
    if let Some(defect) = verify(result).into_iter().next() {
        return Err(Refused { at: defect.at, why: defect.what, hint: PROTECT.to_string() });
    }
    for value in graph.values().filter(|&value| result.has_value(value)) {
        let (before, after) = (graph.value(value).ty.shape().dims(), result.value(value).ty.shape().dims());
        let (Some(before), Some(after)) = (before, after) else { continue };
        let wanted = |axis: usize| cut.kept(value, axis).map_or_else(|| before[axis].clone(), |k| Int::from(k.len()));
        let fits = |axis: usize| {
            let wanted = wanted(axis);
            wanted == after[axis] || wanted.known().is_none() || after[axis].known().is_none()
        };
        if before.len() != after.len() || !(0..before.len()).all(fits) {
            let node = result.producer(value).map(|(node, _)| Call::new(result, node, cut).to_string());
            let wanted = Shape::of((0..before.len()).map(wanted));
            let (wanted, got) = (spelled(&wanted), spelled(result.value(value).ty.shape()));
            let why = format!("it would make a tensor of {got}, not {wanted}");
            let at = node.unwrap_or_else(|| format!("tensor \"{}\"", graph.value_label(value)));
            return Err(Refused { at, why, hint: PROTECT.to_string() });
        }
    }
    Ok(())
}

fn spelled(shape: &Shape) -> String {
    let dims = shape.dims().unwrap_or_default();
    format!("[{}]", dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
