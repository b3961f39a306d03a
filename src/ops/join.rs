//! What is known of a value that may come from several places, or from a graph that is not the reader's.
//!
//! A type is a set of facts about one value. Where a value is one of two, the facts that hold of both remain. Where it
//! leaves a body, facts that speak of values inside the body do not: inside, they hold of one iteration or one branch.
//!
//! The dimensions in the element type of a sequence hold of every element. Where elements differ, or only a run tells,
//! the dimension is [`varying`]: whoever takes an element out puts a measurement of its own in its place.

use std::sync::Arc;

use crate::ir::{Atom, Graph, Int, ScopeId, Shape, Type};

/// The size of an axis that elements of a sequence need not share. Never the dimension of a tensor outside one.
pub fn varying() -> Int {
    Int::measured(u32::MAX, u32::MAX)
}

fn is_varying(atom: &Atom) -> bool {
    matches!(atom, Atom::Measured { value: u32::MAX, .. })
}

/// What holds of a value that is of type `a` or of type `b`. Sizes that are not provably the same are what `open`
/// gives for the axis.
pub fn either(a: &Type, b: &Type, open: &dyn Fn(usize) -> Int) -> Type {
    match (a, b) {
        (Type::Tensor { dtype: d, shape: s }, Type::Tensor { dtype: e, shape: t }) => {
            let dtype = if d == e || e.is_none() {
                *d
            } else if d.is_none() {
                *e
            } else {
                None
            };
            let shape = match (s.dims(), t.dims()) {
                (Some(s), Some(t)) if s.len() == t.len() => {
                    let dims = s.iter().zip(t).enumerate();
                    Shape::of(dims.map(|(axis, (s, t))| if s == t { s.clone() } else { open(axis) }))
                }
                _ => Shape::UNKNOWN,
            };
            Type::Tensor { dtype, shape }
        }
        // Values that may stand for each other have one element type.
        (Type::Tensor { dtype, .. }, Type::Unknown) | (Type::Unknown, Type::Tensor { dtype, .. }) => {
            Type::Tensor { dtype: *dtype, shape: Shape::UNKNOWN }
        }
        (Type::Sequence(a), Type::Sequence(b)) => Type::Sequence(Arc::new(either(a, b, &|_| varying()))),
        (Type::Optional(a), Type::Optional(b)) => Type::Optional(Arc::new(either(a, b, &|_| varying()))),
        (Type::Carried(a), Type::Carried(b)) if a == b => Type::Carried(a.clone()),
        _ => Type::Unknown,
    }
}

/// `ty` with each dimension that `speaks` is true of replaced by what `open` gives for the axis.
pub fn replaced(ty: &Type, speaks: &dyn Fn(&Int) -> bool, open: &dyn Fn(usize) -> Int) -> Type {
    match ty {
        Type::Tensor { dtype, shape } => {
            let dims = shape.dims().map(|dims| {
                let dims = dims.iter().enumerate();
                dims.map(|(axis, d)| if speaks(d) { open(axis) } else { d.clone() }).collect()
            });
            Type::Tensor { dtype: *dtype, shape: Shape(dims) }
        }
        Type::Sequence(e) => Type::Sequence(Arc::new(replaced(e, speaks, &|_| varying()))),
        Type::Optional(e) => Type::Optional(Arc::new(replaced(e, speaks, &|_| varying()))),
        Type::Unknown | Type::Carried(_) => ty.clone(),
    }
}

/// What a value that leaves its body for `scope` is known as there.
pub fn outward(graph: &Graph, scope: ScopeId, ty: &Type, open: &dyn Fn(usize) -> Int) -> Type {
    replaced(ty, &|d| speaks_of_inside(graph, scope, d), open)
}

/// Whether a size is told by a value that `scope` cannot see.
pub fn speaks_of_inside(graph: &Graph, scope: ScopeId, size: &Int) -> bool {
    size.mentions(&|atom| match atom {
        Atom::Measured { value, .. } | Atom::Element { value, .. } => {
            !graph.value_at(*value).is_some_and(|value| graph.is_visible(value, scope))
        }
        // What it was made of is not told.
        Atom::Opaque(_) => true,
        Atom::Named(_) | Atom::FloorDiv(_) | Atom::Min(_) | Atom::Max(_) => false,
    })
}

/// The type of one element of a sequence, or of what an optional holds, as a value whose axes `open` measures.
pub fn taken_out(element: &Type, open: &dyn Fn(usize) -> Int) -> Type {
    replaced(element, &|d| d.mentions(&is_varying), open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, OpKind};

    fn tensor(dims: &[Int]) -> Type {
        Type::tensor(DType::F32, Shape::of(dims.iter().cloned()))
    }

    #[test]
    fn what_holds_of_both_remains() {
        let open = |axis: usize| Int::measured(7, axis as u32);
        let (b, s) = (Int::named("b"), Int::named("s"));
        let met = either(&tensor(&[b.clone(), s.clone()]), &tensor(&[b.clone(), b.clone()]), &open);
        assert_eq!(met, tensor(&[b.clone(), open(1)]));
        assert_eq!(either(&tensor(&[b]), &tensor(&[]), &open), Type::tensor(DType::F32, Shape::UNKNOWN));
        let (two, three) = (tensor(&[2.into(), s.clone()]), tensor(&[3.into(), s.clone()]));
        let lists = either(&Type::Sequence(two.into()), &Type::Sequence(three.into()), &open);
        let Type::Sequence(element) = lists else { panic!("two sequences meet in a sequence") };
        assert_eq!(taken_out(&element, &open), tensor(&[open(0), s]));
    }

    #[test]
    fn measurements_of_a_body_stay_in_it() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", Type::Unknown);
        let node = g.add_node(ScopeId::MAIN, OpKind::If, &[Some(x)], 1, 0);
        let body = g.add_body(node, "then");
        let inner = g.add_node(body, OpKind::Relu, &[Some(x)], 1, 0);
        let y = g.result(inner, 0).unwrap();
        let open = |_: usize| Int::named("open");
        let size = &x.measured(0) + &y.measured(0);
        let seen = outward(&g, ScopeId::MAIN, &tensor(&[x.measured(0), y.measured(0), size]), &open);
        assert_eq!(seen, tensor(&[x.measured(0), open(0), open(0)]));
    }
}
