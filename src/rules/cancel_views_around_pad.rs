//! A reshape that only moves axes of size 1 goes with the one that undoes it, where a `Pad` of other axes stands between
//! the two: `[b, 1, 1, w] → [b, 1, w] → padded → [b, 1, 1, w′]` pads `[b, 1, 1, w]`.
//!
//! What the first gives may also be read elsewhere where nothing but the `Pad` is left.

use crate::ir::OpKind::{Pad, Reshape};
use crate::ir::{Int, Tensor};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call};
use crate::rules::support::readers::only_read_by;
use crate::rules::support::views::{VIEWS, is_view, target};

pub fn rule() -> Rule {
    let (inner, pad, outer) = (call("inner"), call("pad"), call("outer"));
    let pattern = any_of(VIEWS).on(Pad.any().on(any_of(VIEWS).bind(inner)).bind(pad)).bind(outer);
    let rule = Rule::new("cancel-views-around-pad", Exactness::Bitwise, pattern, move |m| {
        let (graph, inner, pad, outer) = (m.graph(), m.call(inner), m.call(pad), m.call(outer));
        applies(is_view(&inner) && is_view(&outer))?;
        let (from, viewed) = (inner.dims(0).ok_or(Skip::NotThis)?, pad.dims(0).ok_or(Skip::NotThis)?);
        let places = places(from, viewed).ok_or(Skip::NotThis)?;
        let (padded, to) = (pad.result_dims(0).ok_or(Skip::NotThis)?, m.root_shape().dims().ok_or(Skip::NotThis)?);
        let added = added(&pad, viewed.len()).ok_or(Skip::NotThis)?;
        let mut pads = vec![0i64; 2 * from.len()];
        let mut dims = from.to_vec();
        for (axis, &(before, after)) in added.iter().enumerate().filter(|(_, pads)| **pads != (0, 0)) {
            let place = places[axis].ok_or(Skip::NotThis)?;
            (pads[place], pads[from.len() + place]) = (before, after);
            dims[place] = padded.get(axis).ok_or(Skip::NotThis)?.clone();
        }
        let value: Vec<Expr> = pad.operand(2).into_iter().map(Expr::from).collect();
        let operands = [inner.operand(0).into(), Tensor::vector(&pads).into()].into_iter().chain(value);
        let new = Pad.emit(operands).like(pad);
        let read = |value, reader: &CallView<'_>| graph.result(value, 0).is_some_and(|v| only_read_by(graph, v, reader.id()));
        let alone = read(pad.id(), &outer);
        if dims == to {
            return if alone { Ok(new) } else { Err(Skip::InnerResultShared) };
        }
        if !alone || !read(inner.id(), &pad) {
            return Err(Skip::InnerResultShared);
        }
        let target = target(Some(&dims), to).ok_or(Skip::NotThis)?;
        Ok(Reshape.emit([new, target.into()]).named_like(outer))
    });
    rule.even_if_shared()
}

/// The axis of `from` that each axis of `to` is, where the two differ in axes of size 1 only: those have none.
fn places(from: &[Int], to: &[Int]) -> Option<Vec<Option<usize>>> {
    let mut wide = (0..from.len()).filter(|&axis| from[axis].known() != Some(1));
    let mut places = Vec::with_capacity(to.len());
    for dim in to {
        places.push(match dim.known() {
            Some(1) => None,
            _ => Some(wide.next().filter(|&axis| from[axis] == *dim)?),
        });
    }
    wide.next().is_none().then_some(places)
}

/// What a `Pad` adds before and after each of `rank` axes.
fn added(pad: &CallView<'_>, rank: usize) -> Option<Vec<(i64, i64)>> {
    let added = crate::ops::slice::added(pad)?;
    let added: Option<Vec<(i64, i64)>> = added.iter().map(|(a, b)| Some((a.known()?, b.known()?))).collect();
    added.filter(|added| added.len() == rank)
}
