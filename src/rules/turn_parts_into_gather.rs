//! A `Concat` of all parts of a `Split` in another order is a `Gather` of the elements in that order, which copies them
//! once.
//!
//! So a roll along an axis is one operator. Declines where a part is also read elsewhere, and for channels in an order
//! that is not its own inverse: OpenVINO 2026.4 takes such a `Gather` into the layers behind it the wrong way around. For
//! axes of up to 4,096 elements.

use crate::ir::OpKind::{Concat, Gather, Split};
use crate::ir::{Attr, Tensor};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Rule, Skip, applies};
use crate::rules::support::parts::{axis, operands, same_axis};
use crate::rules::support::readers::only_read_by;

/// How many places are written down.
const MOST: i64 = 4096;

pub fn rule() -> Rule {
    Rule::new("turn-parts-into-gather", Exactness::Bitwise, Concat.any(), |m| {
        let (graph, root) = (m.graph(), m.root());
        let first = root.operand(0).ok_or(Skip::NotThis)?;
        let (node, _) = graph.producer(first).ok_or(Skip::NotThis)?;
        let split = CallView::new(graph, node);
        applies(split.node().op == Split && same_axis(&root, &split))?;
        let joined = operands(&root).ok_or(Skip::NotThis)?;
        let along = axis(&split).ok_or(Skip::NotThis)?;
        let parts: Vec<_> = graph.results(node).iter().copied().collect::<Option<_>>().ok_or(Skip::NotThis)?;
        applies(parts.len() == joined.len() && parts != joined)?;
        let mut starts = Vec::with_capacity(parts.len());
        let mut end = 0i64;
        for slot in 0..parts.len() {
            let size = split.result_dims(slot).and_then(|d| d.get(along)?.known()).ok_or(Skip::NotThis)?;
            starts.push(end);
            end = end.checked_add(size).filter(|&end| end <= MOST).ok_or(Skip::NotThis)?;
        }
        starts.push(end);
        let mut places = Vec::new();
        let mut seen = vec![false; parts.len()];
        for value in &joined {
            let slot = parts.iter().position(|part| part == value).ok_or(Skip::NotThis)?;
            applies(!std::mem::replace(&mut seen[slot], true))?;
            places.extend(starts[slot]..starts[slot + 1]);
        }
        let of = |place: i64| usize::try_from(place).ok().and_then(|place| places.get(place).copied());
        if along == 1 && places.iter().zip(0..).any(|(&place, at)| of(place) != Some(at)) {
            return Err(Skip::Unsuitable("a runtime takes such an order of channels the wrong way around"));
        }
        if !parts.iter().all(|&part| only_read_by(graph, part, root.id())) {
            return Err(Skip::InnerResultShared);
        }
        let x = split.operand(0).ok_or(Skip::NotThis)?;
        let along = i64::try_from(along).map_err(|_| Skip::NotThis)?;
        Ok(Gather.emit([x.into(), Tensor::vector(&places).into()]).named_like(root).with("axis", Attr::Int(along)))
    })
}
