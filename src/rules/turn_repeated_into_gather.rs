//! Each element along an axis repeated so many times in a row, by `Unsqueeze`, `Expand` and `Reshape`, is one `Gather`:
//! `[b, 2, s, d] → [b, 2, 1, s, d] → [b, 2, 3, s, d] → [b, 6, s, d]` picks the elements 0, 0, 0, 1, 1, 1 of axis 1.
//!
//! So heads of keys and values that several heads of queries share are repeated. The axis and the number of repetitions
//! must be known. Declines where the expanded value is also read elsewhere.

use crate::ir::OpKind::{Expand, Gather};
use crate::ir::{Attr, Int, Tensor};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};
use crate::rules::support::views::{VIEWS, is_view, view_of};

/// How many indices are written down.
const MOST: i64 = 1024;

pub fn rule() -> Rule {
    let (joins, expand) = (call("joins"), call("expand"));
    let pattern = any_of(VIEWS).on(Expand.any().bind(expand)).bind(joins);
    Rule::new("turn-repeated-into-gather", Exactness::Bitwise, pattern, move |m| {
        let (graph, joins, expand) = (m.graph(), m.call(joins), m.call(expand));
        applies(is_view(&joins))?;
        let parts = expand.operand(0).and_then(|v| view_of(graph, v)).ok_or(Skip::NotThis)?;
        let (Some(once), Some(apart)) = (parts.dims(0), expand.dims(0)) else { return Err(Skip::NotThis) };
        let (Some(expanded), Some(joined)) = (expand.result_dims(0), joins.result_dims(0)) else {
            return Err(Skip::NotThis);
        };
        applies(apart.len() == once.len() + 1 && expanded.len() == apart.len() && joined.len() == once.len())?;
        // The one axis along which it is expanded.
        let axis = (0..apart.len()).find(|&axis| apart[axis] != expanded[axis]).ok_or(Skip::NotThis)?;
        applies(axis > 0 && apart[axis] == Int::from(1))?;
        let same = |a: &[Int], b: &[Int]| a == b;
        applies(same(&apart[..axis], &once[..axis]) && same(&apart[axis + 1..], &once[axis..]))?;
        applies(same(&expanded[axis + 1..], &apart[axis + 1..]))?;
        let (Some(count), Some(times)) = (once[axis - 1].known(), expanded[axis].known()) else {
            return Err(Skip::NotThis);
        };
        let all = count.checked_mul(times).filter(|&all| count > 0 && times > 1 && all <= MOST).ok_or(Skip::NotThis)?;
        applies(same(&joined[..axis - 1], &once[..axis - 1]) && joined[axis - 1] == Int::from(all))?;
        applies(same(&joined[axis..], &once[axis..]))?;
        let indices: Vec<i64> = (0..all).map(|i| i / times).collect();
        let axis = Attr::Int(i64::try_from(axis - 1).map_err(|_| Skip::NotThis)?);
        let gather = Gather.emit([parts.operand(0).into(), Tensor::vector(&indices).into()]);
        Ok(gather.named_like(joins).with("axis", axis))
    })
}
