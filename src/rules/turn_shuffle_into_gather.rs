//! A `Transpose` of the parts of one axis, between a reshape that parts it and one that joins it again, is a `Gather` of
//! its elements in that order.
//!
//! So a channel shuffle is one operator. For axes of up to 4,096 elements, before others of at least 8: where single
//! elements are moved, a `Transpose` moves them faster.

use crate::ir::OpKind::{Gather, Reshape, Transpose};
use crate::ir::{Attr, Int, Tensor};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};
use crate::rules::support::axes::permutation;
use crate::rules::support::layout::transposed;
use crate::rules::support::views::{VIEWS, is_view};

/// How many places are written down.
const MOST: i64 = 4096;

/// Elements that are moved together, at least.
const LEAST: i64 = 8;

pub fn rule() -> Rule {
    let (parts, transpose, joins) = (call("parts"), call("transpose"), call("joins"));
    let pattern = any_of(VIEWS).on(Transpose.any().on(Reshape.any().bind(parts)).bind(transpose)).bind(joins);
    Rule::new("turn-shuffle-into-gather", Exactness::Bitwise, pattern, move |m| {
        let (parts, transpose, joins) = (m.call(parts), m.call(transpose), m.call(joins));
        applies(is_view(&joins) && !is_view(&transpose))?;
        let (from, parted) = (parts.dims(0).ok_or(Skip::NotThis)?, transpose.dims(0).ok_or(Skip::NotThis)?);
        applies(m.root_shape().dims() == Some(from) && parted.len() > from.len())?;
        // One axis became several, and the others are as they were.
        let count = parted.len() - from.len() + 1;
        let axis = (0..from.len())
            .find(|&axis| from[..axis] == parted[..axis] && from[axis + 1..] == parted[axis + count..])
            .ok_or(Skip::NotThis)?;
        let size = from[axis].known().filter(|&size| size <= MOST).ok_or(Skip::NotThis)?;
        let behind = &from[axis + 1..];
        let together = behind.iter().filter_map(Int::known).fold(1i64, i64::saturating_mul);
        applies(behind.iter().any(|d| d.known().is_none()) || together >= LEAST)?;
        let perm = permutation(&transpose).ok_or(Skip::NotThis)?;
        let among = axis..axis + count;
        applies(perm.iter().enumerate().all(|(place, &axis)| place == axis || among.contains(&place) && among.contains(&axis)))?;
        let dims: Vec<usize> =
            parted[among.clone()].iter().map(|d| usize::try_from(d.known()?).ok()).collect::<Option<_>>().ok_or(Skip::NotThis)?;
        let inner: Vec<usize> = perm[among].iter().map(|&from| from - axis).collect();
        let places: Vec<i64> = (0..size).collect();
        let places = Tensor::vector(&places).reshaped(&dims).ok().and_then(|places| transposed(&places, &inner));
        let places = places.and_then(|places| places.reshaped(&[places.len()]).ok()).ok_or(Skip::NotThis)?;
        let axis = i64::try_from(axis).map_err(|_| Skip::NotThis)?;
        Ok(Gather.emit([parts.operand(0).into(), places.into()]).named_like(joins).with("axis", Attr::Int(axis)))
    })
}
