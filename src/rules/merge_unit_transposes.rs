//! A `Transpose` that moves only axes of size one, before or after a view, is part of that view.
//!
//! The elements stay in their order, so `Reshape(Transpose(x))` and `Transpose(Reshape(x))` are each one `Reshape`. The
//! rule declines where more than one size of the result depends on the run and is not copied from `x`.

use crate::ir::OpKind::{Reshape, Transpose};
use crate::ir::{Int, Tensor};
use crate::ops::CallView;
use crate::ops::target::target_of;
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};
use crate::rules::drop_views::VIEWS;

pub fn rule() -> Rule {
    let (outer, inner) = (call("outer"), call("inner"));
    let view_last = any_of(VIEWS).on(Transpose.any().bind(inner)).bind(outer);
    let view_first = Transpose.any().on(any_of(VIEWS).bind(inner)).bind(outer);
    Rule::new("merge-unit-transposes", Exactness::Bitwise, view_last.or(view_first), move |m| {
        let (outer, inner) = (m.call(outer), m.call(inner));
        let transpose = if outer.node().op == Transpose { outer } else { inner };
        applies(moves_only_units(&transpose))?;
        let x = inner.operand(0).ok_or(Skip::NotThis)?;
        let to = m.root_shape().dims().ok_or(Skip::NotThis)?;
        let why = "more than one size of the result depends on the run";
        let target = target_of(inner.dims(0), to).ok_or(Skip::Unsuitable(why))?;
        Ok(Reshape.emit([x.into(), Tensor::vector(&target).into()]).named_like(outer))
    })
    .even_if_shared()
}

/// Whether the axes that are not known to have size one keep their order.
fn moves_only_units(transpose: &CallView<'_>) -> bool {
    let Some(dims) = transpose.dims(0) else { return false };
    let order: Vec<usize> = match transpose.node().attr("perm") {
        Some(crate::ir::Attr::Ints(perm)) => {
            let axes: Option<Vec<usize>> = perm.iter().map(|&p| usize::try_from(p).ok()).collect();
            match axes {
                Some(axes) if axes.iter().all(|&a| a < dims.len()) => axes,
                _ => return false,
            }
        }
        Some(_) => return false,
        None => (0..dims.len()).rev().collect(),
    };
    let moved: Vec<usize> = order.into_iter().filter(|&a| dims[a] != Int::from(1)).collect();
    moved.is_sorted()
}
