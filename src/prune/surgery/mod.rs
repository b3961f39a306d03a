//! What a [`Cut`] leaves of a model, as a model.
//!
//! Surgery looks first and cuts then. Every call that loses something is checked against what its operator ties
//! together, so that a cut which fits one operand and not another is refused. Then each family says what else of a
//! call speaks of sizes: groups, heads, hidden units, the constants of `Reshape`, `Split` and `Slice`. Last, constants
//! lose their rows, and types are inferred again: a size that is not the one that the cut asks for is refused too.
//!
//! Nodes and values keep their ids. A constant that speaks of sizes becomes one that only this node reads.

mod agree;
mod contrib;
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
        OpKind::GroupNormalization => Ok(norm::groups(call)),
        OpKind::RMSNormalization => norm::root_mean_square(call, 1, 1e-5),
        OpKind::ReduceMean => Ok(norm::mean(call)),
        OpKind::LSTM | OpKind::GRU | OpKind::RNN => Ok(recurrent::edits(call)),
        OpKind::Attention => Ok(heads::attention(call)),
        OpKind::RotaryEmbedding => Ok(heads::rotary(call)),
        OpKind::Reshape => shape::reshape(call),
        OpKind::Expand => shape::expand(call),
        OpKind::ConstantOfShape => shape::constant_of_shape(call),
        OpKind::Resize => shape::resize(call),
        OpKind::Squeeze => Ok(shape::squeeze(call)),
        OpKind::Split => parts::split(call),
        OpKind::Slice => parts::slice(call),
        OpKind::Gather => parts::gather(call),
        OpKind::Custom => contrib::edits(call),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{parse, print};

    fn value(graph: &Graph, name: &str) -> ValueId {
        graph.values().find(|&v| *graph.value(v).name == *name).unwrap()
    }

    fn cut(graph: &Graph, entries: &[(&str, usize, &[usize])]) -> Cut {
        let mut cut = Cut::default();
        entries.iter().for_each(|&(name, axis, kept)| cut.keep(value(graph, name), axis, kept));
        cut
    }

    #[test]
    fn a_list_of_sizes_that_others_read_stays_theirs() {
        let mut model = parse(
            "g (float[N,3,4] x) => (float[N,2,4] y, float[N,2,4] z)
             <float[5,3,1] w, float[2,2,1] u, float[2,3,1] v, float[5,3,1] w2, int64[2] sizes = {2, 3}> {
               p = Conv(x, w)  r, s = Split<axis = 1>(p, sizes)  t = Conv(r, u)  o = Conv(s, v)  y = Add(t, o)
               p2 = Conv(x, w2)  r2, s2 = Split<axis = 1>(p2, sizes)  z = Slice(r2, zero, two, one)
             }"
            .replace("int64[2] sizes", "int64[1] zero = {0}, int64[1] two = {2}, int64[1] one = {1}, int64[2] sizes")
            .as_str(),
        )
        .unwrap();
        infer_shapes(&mut model.graph);
        let graph = &mut model.graph;
        let cut = cut(graph, &[("w", 0, &[0, 1, 3, 4]), ("p", 1, &[0, 1, 3, 4]), ("s", 1, &[1, 2]), ("v", 1, &[1, 2])]);
        let nodes: Vec<NodeId> = graph.nodes().collect();
        apply(graph, &cut).unwrap();
        assert_eq!(graph.nodes().collect::<Vec<_>>(), nodes);
        let sizes = graph.constant(value(graph, "sizes")).and_then(|sizes| sizes.integers());
        assert_eq!(sizes, Some(vec![2, 3]), "the other Split reads it");
        let text = print(&model);
        assert!(text.contains("{2, 2}") && text.contains("{2, 3}"), "{text}");
    }

    #[test]
    fn what_is_refused_says_where_and_changes_nothing() {
        let mut model = parse(
            "g (float[N,3,4] x) => (float[N,2,4] y) <float[4,3,1] w, float[2,4,1] v> { p = Conv(x, w)  y = Conv(p, v) }",
        )
        .unwrap();
        infer_shapes(&mut model.graph);
        let before = print(&model);
        let all =
            |p: &'static [usize], w: &'static [usize], v: &'static [usize]| [("p", 1, p), ("w", 0, w), ("v", 1, v)];
        for (entries, why) in [
            (&all(&[0, 2], &[0, 2], &[0, 2])[..2], "Conv \"y\" cannot be cut: axis 1 of operand 1"),
            (&all(&[0, 2], &[0, 3], &[0, 2]), "Conv \"p\" cannot be cut: axis 1 of result 0"),
            (&all(&[2, 0], &[2, 0], &[2, 0]), "weight \"w\" cannot be cut: what is to be kept of axis 0 is no"),
            (&all(&[0, 4], &[0, 4], &[0, 4]), "weight \"w\" cannot be cut: what is to be kept of axis 0 is no"),
            (&all(&[], &[], &[]), "weight \"w\" cannot be cut: nothing would be left of axis 0"),
            (&[("p", 0, &[0])], "tensor \"p\" cannot be cut: the size of axis 0 is not known"),
            (&[("p", 3, &[0])], "tensor \"p\" cannot be cut: the size of axis 3 is not known"),
        ] {
            let cut = cut(&model.graph, entries);
            let refused = apply(&mut model.graph, &cut).unwrap_err();
            assert!(refused.to_string().starts_with(why), "{refused}, not {why}");
            assert!(!refused.hint.is_empty());
            assert_eq!(print(&model), before);
        }
        let mut gone = cut(&model.graph, &[]);
        gone.keep(value(&model.graph, "v"), 1, vec![0, 1, 2, 3]);
        assert_eq!(apply(&mut model.graph, &gone), Ok(()), "a whole axis is no cut");
        assert_eq!(print(&model), before);
        let y = model.graph.scope(ScopeId::MAIN).outputs()[0].value();
        let node = model.graph.producer(y).unwrap().0;
        let p = value(&model.graph, "p");
        model.graph.add_output(ScopeId::MAIN, "p", p, Type::Unknown);
        let cut = cut(&model.graph, &all(&[0], &[0], &[0]));
        let refused = apply(&mut model.graph, &cut).unwrap_err();
        assert!(refused.to_string().starts_with("output \"p\""), "{refused}");
        assert!(model.graph.has_node(node));
    }
}
