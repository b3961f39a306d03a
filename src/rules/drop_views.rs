//! A chain of `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze` that ends in the shape it began with is nothing.
//!
//! A single one that does not change the shape is such a chain, too, and a `Transpose` belongs to it that moves only
//! axes of size 1. Shapes must be provably the same; an `Unsqueeze` undone by a `Squeeze` of the same axes (or the
//! reverse) needs no shape.

use crate::ir::OpKind;
use crate::ops::CallView;
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies};
use crate::rules::support::views::{VIEWS, is_view, view_of};

/// How far up a chain is followed.
const LONGEST: usize = 16;

pub fn rule() -> Rule {
    Rule::new("drop-views", Exactness::Bitwise, any_of(VIEWS), |m| {
        let (graph, root) = (m.graph(), m.root());
        let mut at = root.operand(0).ok_or(Skip::NotThis)?;
        if root.node().op == OpKind::Unsqueeze && root.known_ints(1).is_some_and(|axes| axes.is_empty()) {
            return Ok(at);
        }
        if let Some(inner) = view_of(graph, at)
            && undoes(&root, &inner)
            && let Some(x) = inner.operand(0)
        {
            return Ok(x);
        }
        applies(is_view(&root))?;
        for _ in 0..LONGEST {
            if graph.value(at).ty.shape().surely_equals(m.root_shape()) {
                return Ok(at);
            }
            at = view_of(graph, at).and_then(|call| call.operand(0)).ok_or(Skip::NotThis)?;
        }
        Err(Skip::NotThis)
    })
    .even_if_shared()
}

/// `Squeeze` and `Unsqueeze`, one of the result of the other, of the same axes of the value between them or around
/// them.
fn undoes(outer: &CallView<'_>, inner: &CallView<'_>) -> bool {
    let opposite = matches!(
        (outer.node().op, inner.node().op),
        (OpKind::Squeeze, OpKind::Unsqueeze) | (OpKind::Unsqueeze, OpKind::Squeeze)
    );
    let axes = |call: &CallView<'_>| {
        let mut axes = call.known_ints(1)?;
        axes.sort_unstable();
        (!axes.is_empty()).then_some(axes)
    };
    opposite && axes(outer).is_some_and(|a| axes(inner) == Some(a))
}
