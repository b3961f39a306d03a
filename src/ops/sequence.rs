//! Sequences of tensors, and values that may be absent.

use crate::ir::{DType, Graph, Int, Key, NodeId, OpKind, Shape, Type, ValueId};
use crate::ops::join::{either, taken_out, varying};
use crate::ops::shape::dtype_of;
use crate::ops::{CallView, Infer, OpDef, Outcome, normalize_axis};

/// `SplitToSequence`: parts of size one keep their axis.
pub const KEEPDIMS: Key<bool> = Key::new("keepdims", true);
/// `SplitToSequence`, `ConcatFromSequence`: the axis.
pub const AXIS: Key<i64> = Key::new("axis", 0);
/// `ConcatFromSequence`: the axis is a new one, which counts the elements.
pub const NEW_AXIS: Key<bool> = Key::new("new_axis", false);

/// `SequenceEmpty`.
pub static SEQUENCE_EMPTY: OpDef = OpDef { infer: Some(empty), ..OpDef::PURE };
/// `SequenceConstruct`.
pub static SEQUENCE_CONSTRUCT: OpDef = OpDef { infer: Some(construct), ..OpDef::PURE };
/// `SequenceInsert`.
pub static SEQUENCE_INSERT: OpDef = OpDef { infer: Some(insert), ..OpDef::PURE };
/// `SequenceErase`.
pub static SEQUENCE_ERASE: OpDef = OpDef { infer: Some(like_first), ..OpDef::PURE };
/// `SequenceLength`.
pub static SEQUENCE_LENGTH: OpDef = OpDef { infer: Some(length), ..OpDef::PURE };
/// `SequenceAt`.
pub static SEQUENCE_AT: OpDef = OpDef { infer: Some(at), ..OpDef::PURE };
/// `SplitToSequence`.
pub static SPLIT_TO_SEQUENCE: OpDef = OpDef { infer: Some(split), ..OpDef::PURE };
/// `ConcatFromSequence`.
pub static CONCAT_FROM_SEQUENCE: OpDef = OpDef { infer: Some(concat), ..OpDef::PURE };
/// `Optional`.
pub static OPTIONAL: OpDef = OpDef { infer: Some(optional), ..OpDef::PURE };
/// `OptionalGetElement`.
pub static OPTIONAL_GET_ELEMENT: OpDef = OpDef { infer: Some(get_element), ..OpDef::PURE };
/// `OptionalHasElement`.
pub static OPTIONAL_HAS_ELEMENT: OpDef = OpDef { infer: Some(has_element), ..OpDef::PURE };

/// A sequence of this element type. ONNX's sequences hold tensors; a file that says otherwise is told nothing, which
/// also keeps types from nesting without end.
fn sequence(element: Type) -> Type {
    Type::Sequence(match element {
        Type::Tensor { .. } => element.into(),
        _ => Type::Unknown.into(),
    })
}

fn element<'g>(call: &CallView<'g>, slot: usize) -> Option<&'g Type> {
    match call.ty(slot)? {
        Type::Sequence(element) => Some(element),
        _ => None,
    }
}

/// The call that makes operand `slot`, when it is one of `op`.
fn made_by(call: &CallView<'_>, slot: usize, op: OpKind) -> Option<NodeId> {
    let (node, _) = call.graph().producer(call.operand(slot)?)?;
    (call.graph().node(node).op == op).then_some(node)
}

/// The elements of a sequence that one call puts together.
fn listed(graph: &Graph, construct: NodeId) -> Option<Vec<ValueId>> {
    graph.operands(construct).collect()
}

fn like_first(call: &mut Infer<'_>) -> Outcome {
    let ty = call.ty(0)?.clone();
    call.set_type(0, ty);
    Some(())
}

fn empty(call: &mut Infer<'_>) -> Outcome {
    const DTYPE: Key<i64> = Key::new("dtype", DType::F32 as i64);
    let dtype = dtype_of(DTYPE.of(call.node()));
    call.set_type(0, sequence(Type::Tensor { dtype, shape: Shape::UNKNOWN }));
    Some(())
}

fn construct(call: &mut Infer<'_>) -> Outcome {
    let open = |_: usize| varying();
    let mut types = (0..call.operand_count()).map(|slot| call.ty(slot).cloned().unwrap_or_default());
    let first = types.next()?;
    let element = types.fold(first, |all, ty| either(&all, &ty, &open));
    call.set_type(0, sequence(element));
    Some(())
}

fn insert(call: &mut Infer<'_>) -> Outcome {
    let new = call.ty(1)?.clone();
    let element = match made_by(call, 0, OpKind::SequenceEmpty) {
        Some(_) => new,
        None => either(element(call, 0)?, &new, &|_| varying()),
    };
    call.set_type(0, sequence(element));
    Some(())
}

fn length(call: &mut Infer<'_>) -> Outcome {
    call.set(0, DType::I64, []);
    let count = match made_by(call, 0, OpKind::SequenceEmpty) {
        Some(_) => 0,
        None => listed(call.graph(), made_by(call, 0, OpKind::SequenceConstruct)?)?.len(),
    };
    call.set_content(0, vec![Int::from(count)]);
    Some(())
}

fn at(call: &mut Infer<'_>) -> Outcome {
    if let Some(construct) = made_by(call, 0, OpKind::SequenceConstruct)
        && let Some(elements) = listed(call.graph(), construct)
        && let Some(position) = call.int(1).and_then(|p| p.known())
    {
        let element = elements[normalize_axis(position, elements.len())?];
        let ty = call.graph().value(element).ty.clone();
        call.set_type(0, ty);
        return Some(());
    }
    let ty = taken_out(element(call, 0)?, &|axis| call.fresh(0, axis));
    call.set_type(0, ty);
    Some(())
}

fn split(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_type(0, sequence(Type::Tensor { dtype, shape: Shape::UNKNOWN }));
    let mut dims = call.dims(0)?.to_vec();
    let axis = normalize_axis(AXIS.of(call.node()), dims.len())?;
    if !call.has(1) {
        if KEEPDIMS.of(call.node()) {
            dims[axis] = Int::from(1);
        } else {
            dims.remove(axis);
        }
    } else {
        dims[axis] = part_size(call, &dims[axis]).unwrap_or_else(varying);
    }
    call.set_type(0, sequence(Type::Tensor { dtype, shape: Shape::of(dims) }));
    Some(())
}

/// The size that all parts share.
fn part_size(call: &CallView<'_>, dim: &Int) -> Option<Int> {
    let sizes = call.elements(1)?;
    let first = sizes.first()?;
    if call.rank(1)? == 0 {
        // Parts of one size, the last of which is what remains.
        return dim.exact_div(first).map(|_| first.clone());
    }
    sizes.iter().all(|s| s == first).then(|| first.clone())
}

fn concat(call: &mut Infer<'_>) -> Outcome {
    let Type::Tensor { dtype, shape } = element(call, 0)? else { return None };
    let dtype = *dtype;
    let dims = shape.dims().map(<[Int]>::to_vec);
    call.set_dtype(0, dtype);
    let mut dims = dims?;
    let axis = if NEW_AXIS.of(call.node()) {
        let axis = normalize_axis(AXIS.of(call.node()), dims.len() + 1)?;
        dims.insert(axis, varying());
        axis
    } else {
        normalize_axis(AXIS.of(call.node()), dims.len())?
    };
    dims[axis] = call.fresh(0, axis);
    let ty = Type::Tensor { dtype, shape: Shape::of(dims) };
    let ty = taken_out(&ty, &|axis| call.fresh(0, axis));
    call.set_type(0, ty);
    Some(())
}

fn optional(call: &mut Infer<'_>) -> Outcome {
    // Without an operand the attribute `type` tells, which is carried unread.
    let held = match call.ty(0)? {
        held @ (Type::Tensor { .. } | Type::Sequence(_)) => held.clone(),
        Type::Unknown | Type::Optional(_) | Type::Carried(_) => Type::Unknown,
    };
    call.set_type(0, Type::Optional(held.into()));
    Some(())
}

fn get_element(call: &mut Infer<'_>) -> Outcome {
    let ty = match call.ty(0)? {
        Type::Optional(held) => taken_out(held, &|axis| call.fresh(0, axis)),
        // What is no optional is always there.
        ty => ty.clone(),
    };
    call.set_type(0, ty);
    call.set_content(0, call.ints(0));
    Some(())
}

fn has_element(call: &mut Infer<'_>) -> Outcome {
    call.set(0, DType::Bool, []);
    let there = match call.ty(0) {
        None => 0,
        Some(Type::Tensor { .. } | Type::Sequence(_)) => 1,
        Some(Type::Optional(_)) => match made_by(call, 0, OpKind::Optional) {
            Some(made) => i64::from(call.graph().operand(made, 0).is_some()),
            None => return None,
        },
        Some(Type::Unknown | Type::Carried(_)) => return None,
    };
    call.set_content(0, vec![Int::from(there)]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ScopeId;
    use crate::ops::infer_node;

    /// A graph with tensors of these dimensions as inputs.
    fn tensors(dims: &[&[&str]]) -> (Graph, Vec<Option<ValueId>>) {
        let mut graph = Graph::default();
        let int = |d: &&str| d.parse::<i64>().map_or_else(|_| Int::named(*d), Int::from);
        let inputs = dims.iter().map(|dims| {
            let ty = Type::tensor(DType::F32, Shape::of(dims.iter().map(int)));
            Some(graph.add_input(ScopeId::MAIN, "", ty))
        });
        let inputs = inputs.collect();
        (graph, inputs)
    }

    fn call(graph: &mut Graph, op: OpKind, operands: &[Option<ValueId>], attrs: &[(&'static str, i64)]) -> ValueId {
        let node = graph.add_node(ScopeId::MAIN, op, operands, 1, 0);
        attrs.iter().for_each(|&(name, value)| graph.set_attr(node, name, value.into()));
        infer_node(graph, node);
        graph.result(node, 0).unwrap()
    }

    fn dims(graph: &Graph, value: ValueId) -> String {
        let shape = graph.value(value).ty.shape();
        let show = |d: &Int| if d.known().is_some() || d.name().is_some() { d.to_string() } else { "?".into() };
        shape.dims().map_or("..".into(), |d| d.iter().map(show).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn elements_share_what_they_share() {
        let (mut g, x) = tensors(&[&["b", "3"], &["b", "4"]]);
        let list = call(&mut g, OpKind::SequenceConstruct, &x, &[]);
        let where_ = g.add_input(ScopeId::MAIN, "i", Type::tensor(DType::I64, Shape::known(&[])));
        let one = call(&mut g, OpKind::SequenceAt, &[Some(list), Some(where_)], &[]);
        let other = call(&mut g, OpKind::SequenceAt, &[Some(list), Some(where_)], &[]);
        assert_eq!((dims(&g, one), dims(&g, other)), ("b,?".into(), "b,?".into()));
        assert!(!g.value(one).ty.shape().surely_equals(g.value(other).ty.shape()));
        let last = g.add_constant(ScopeId::MAIN, "", crate::ir::Tensor::scalar(-1));
        let last = call(&mut g, OpKind::SequenceAt, &[Some(list), Some(last)], &[]);
        assert_eq!(dims(&g, last), "b,4");
        let joined = call(&mut g, OpKind::ConcatFromSequence, &[Some(list)], &[("axis", -1)]);
        assert_eq!(dims(&g, joined), "b,?");
        let stacked = call(&mut g, OpKind::ConcatFromSequence, &[Some(list)], &[("axis", 0), ("new_axis", 1)]);
        assert_eq!(dims(&g, stacked), "?,b,?");
        let count = call(&mut g, OpKind::SequenceLength, &[Some(list)], &[]);
        assert_eq!(crate::ops::call::content(&g, count), Some(vec![Int::from(2)]));
    }

    #[test]
    fn sequences_are_split_off() {
        let (mut g, x) = tensors(&[&["b", "6"]]);
        let at = |g: &mut Graph, list: ValueId| {
            let zero = g.add_constant(ScopeId::MAIN, "", crate::ir::Tensor::scalar(0));
            let taken = call(g, OpKind::SequenceAt, &[Some(list), Some(zero)], &[]);
            dims(g, taken)
        };
        for (keep, expected) in [(0, "b"), (1, "b,1")] {
            let list = call(&mut g, OpKind::SplitToSequence, &x, &[("axis", 1), ("keepdims", keep)]);
            assert_eq!(at(&mut g, list), expected);
        }
        for (size, expected) in [(2, "b,2"), (4, "b,?")] {
            let size = g.add_constant(ScopeId::MAIN, "", crate::ir::Tensor::scalar(size));
            let list = call(&mut g, OpKind::SplitToSequence, &[x[0], Some(size)], &[("axis", 1)]);
            assert_eq!(at(&mut g, list), expected);
        }
    }

    #[test]
    fn insertion_widens() {
        let (mut g, x) = tensors(&[&["b", "3"], &["b", "4"]]);
        let none = call(&mut g, OpKind::SequenceEmpty, &[], &[]);
        let one = call(&mut g, OpKind::SequenceInsert, &[Some(none), x[0]], &[]);
        let two = call(&mut g, OpKind::SequenceInsert, &[Some(one), x[1]], &[]);
        let joined = call(&mut g, OpKind::ConcatFromSequence, &[Some(one)], &[("axis", 0)]);
        assert_eq!(dims(&g, joined), "?,3");
        let joined = call(&mut g, OpKind::ConcatFromSequence, &[Some(two)], &[("axis", 1)]);
        assert_eq!(dims(&g, joined), "b,?");
    }

    #[test]
    fn types_do_not_nest_without_end() {
        let (mut g, x) = tensors(&[&["b"]]);
        let mut value = x[0].unwrap();
        for _ in 0..10_000 {
            value = call(&mut g, OpKind::SequenceConstruct, &[Some(value)], &[]);
            value = call(&mut g, OpKind::Optional, &[Some(value)], &[]);
        }
    }

    #[test]
    fn optionals_hold() {
        let (mut g, x) = tensors(&[&["b", "3"]]);
        let held = call(&mut g, OpKind::Optional, &x, &[]);
        let there = call(&mut g, OpKind::OptionalHasElement, &[Some(held)], &[]);
        assert_eq!(crate::ops::call::content(&g, there), Some(vec![Int::from(1)]));
        let got = call(&mut g, OpKind::OptionalGetElement, &[Some(held)], &[]);
        assert_eq!(dims(&g, got), "b,3");
        let absent = call(&mut g, OpKind::OptionalHasElement, &[], &[]);
        assert_eq!(crate::ops::call::content(&g, absent), Some(vec![Int::from(0)]));
    }
}
