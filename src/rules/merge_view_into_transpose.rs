//! A `Transpose` and a reshape that only moves axes of size 1, in either order, are one `Transpose` where they leave as
//! many axes as there were: `[b, c, 1, w] → [b, 1, w, c] → [b, w, c, 1]`.

use crate::ir::Int;
use crate::ir::OpKind::Transpose;
use crate::ops::CallView;
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call};
use crate::rules::support::axes::{permutation, spelled};
use crate::rules::support::views::{VIEWS, is_view};

pub fn rule() -> Rule {
    let (inner, outer) = (call("inner"), call("outer"));
    let pattern = any_of(VIEWS).on(any_of(VIEWS).bind(inner)).bind(outer);
    Rule::new("merge-view-into-transpose", Exactness::Bitwise, pattern, move |m| {
        let (inner, outer) = (m.call(inner), m.call(outer));
        applies(is_view(&inner) != is_view(&outer))?;
        let from = inner.dims(0).ok_or(Skip::NotThis)?;
        let to = m.root_shape().dims().ok_or(Skip::NotThis)?;
        applies(from.len() == to.len())?;
        let is_wide = |dim: &Int| dim.known() != Some(1);
        // Where the axes larger than 1 stand, one after another.
        let wide: Vec<usize> = (0..from.len()).filter(|&axis| is_wide(&from[axis])).collect();
        let between = through(&inner, from, wide).ok_or(Skip::NotThis)?;
        let last = through(&outer, from, between).ok_or(Skip::NotThis)?;
        let (mut wide, mut narrow) = (last.into_iter(), (0..from.len()).filter(|&axis| !is_wide(&from[axis])));
        let perm: Option<Vec<usize>> =
            to.iter().map(|dim| if is_wide(dim) { wide.next() } else { narrow.next() }).collect();
        let perm = perm.filter(|perm| !perm.is_sorted()).ok_or(Skip::NotThis)?;
        Ok(Transpose.emit([inner.operand(0).into()]).named_like(outer).with("perm", spelled(&perm)))
    })
}

/// The axes of `from` that stand at those of the call's result that are larger than 1, given those at its operand's.
fn through(call: &CallView<'_>, from: &[Int], wide: Vec<usize>) -> Option<Vec<usize>> {
    let dims = call.dims(0)?;
    let next = match call.node().op {
        Transpose => {
            let mut places = vec![None; dims.len()];
            let mut wide = wide.into_iter();
            for (place, dim) in places.iter_mut().zip(dims) {
                *place = if dim.known() == Some(1) { None } else { Some(wide.next()?) };
            }
            permutation(call)?.into_iter().filter_map(|axis| places[axis]).collect()
        }
        _ => wide,
    };
    let result: Vec<&Int> = call.result_dims(0)?.iter().filter(|dim| dim.known() != Some(1)).collect();
    let same = result.len() == next.len() && result.iter().zip(&next).all(|(dim, &axis)| **dim == from[axis]);
    same.then_some(next)
}
