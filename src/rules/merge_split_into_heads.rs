//! Parts that were stacked along an axis of their own, moved before the others by a `Transpose` and split there, are
//! parts of the axis behind: `[b, s, 3, h, d] → [3, b, h, s, d] → 3 · [1, b, h, s, d]` is
//! `[b, s, 3·h, d] → [b, 3·h, s, d] → 3 · [b, h, s, d]`, and nothing is left to squeeze.
//!
//! So queries, keys and values of one product are parted. Declines where a part is read by others than reshapes, or a
//! result on the way is read elsewhere.

use crate::ir::OpKind::{Reshape, Split, Transpose, Unsqueeze};
use crate::ir::{Attr, Int, Tensor};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, Skip, any_of, applies, call};
use crate::rules::support::axes::{permutation, spelled};
use crate::rules::support::parts;
use crate::rules::support::views::{VIEWS, is_view, only_viewed, target};

pub fn rule() -> Rule {
    let (view, transpose, split) = (call("view"), call("transpose"), call("split"));
    let pattern = Split.any().on(Transpose.any().on(any_of(VIEWS).bind(view)).bind(transpose)).bind(split);
    let name = "merge-split-into-heads";
    Rule::new(name, Exactness::Bitwise, pattern, move |m| -> Result<Replacement, Skip> {
        let (graph, view, transpose, split) = (m.graph(), m.call(view), m.call(transpose), m.call(split));
        applies(is_view(&view))?;
        let perm = permutation(&transpose).ok_or(Skip::NotThis)?;
        let along = parts::axis(&split).ok_or(Skip::NotThis)?;
        let stack = *perm.get(along).ok_or(Skip::NotThis)?;
        let dims = transpose.dims(0).ok_or(Skip::NotThis)?;
        applies(perm.len() == dims.len() && stack + 1 < dims.len())?;
        let (count, heads) = (dims[stack].known().ok_or(Skip::NotThis)?, dims[stack + 1].known().ok_or(Skip::NotThis)?);
        let results = graph.results(split.id());
        applies(usize::try_from(count) == Ok(results.len()) && count > 1)?;
        let single = |slot: usize| split.result_dims(slot).and_then(|d| d.get(along)) == Some(&Int::from(1));
        applies((0..results.len()).all(single))?;
        if !results.iter().flatten().all(|&part| only_viewed(graph, part)) {
            return Err(Skip::Unsuitable("a part is also read by others than reshapes"));
        }
        // The stacked axis and the one behind it as one, in the order of the others.
        let mut joined = dims.to_vec();
        joined[stack + 1] = dims[stack].checked_mul(&dims[stack + 1]).ok_or(Skip::NotThis)?;
        joined.remove(stack);
        let perm: Vec<usize> =
            perm.into_iter().filter(|&axis| axis != stack).map(|axis| axis - usize::from(axis > stack)).collect();
        let place = perm.iter().position(|&axis| axis == stack).ok_or(Skip::NotThis)?;
        let shape = target(view.dims(0), &joined).ok_or(Skip::NotThis)?;
        let parted = Reshape.emit([view.operand(0).into(), shape.into()]).named_like(view);
        let turned = Transpose.emit([parted]).named_like(transpose).with("perm", spelled(&perm));
        let sizes = Tensor::vector(&vec![heads; results.len()]);
        let axis = |axis: usize| i64::try_from(axis).unwrap_or(i64::MAX);
        let split = Split.emit([turned, sizes.into()]).named_like(split).with("axis", Attr::Int(axis(place)));
        let restored = |part: Expr| Unsqueeze.emit([part, Tensor::vector(&[axis(along)]).into()]);
        let read = |slot: usize| results[slot].is_some_and(|v| !graph.value(v).users().is_empty());
        let parts = split.results(results.len()).into_iter().enumerate();
        Ok(parts.filter(|(slot, _)| read(*slot)).map(|(slot, part)| (slot, restored(part))).collect())
    })
}
