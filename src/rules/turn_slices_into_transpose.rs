//! Slices that take every n-th element along some axes, from each of the first places, and stand one after another along
//! another axis, are a `Transpose` between two reshapes.
//!
//! So four slices that make one patch of 2 × 2 elements a vector are three operators. Declines where a slice is also read
//! elsewhere.

use crate::ir::OpKind::{Concat, Reshape, Slice, Transpose};
use crate::ir::{Int, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Match, Rule, Skip, applies};
use crate::rules::support::axes::spelled;
use crate::rules::support::parts::{axis, operands};
use crate::rules::support::readers::only_read_by;
use crate::rules::support::slices::cuts;
use crate::rules::support::views::target;

pub fn rule() -> Rule {
    Rule::new("turn-slices-into-transpose", Exactness::Bitwise, Concat.any(), |m| {
        let (graph, root) = (m.graph(), m.root());
        let joined = operands(&root).filter(|joined| (3..=MOST).contains(&joined.len())).ok_or(Skip::NotThis)?;
        let along = axis(&root).ok_or(Skip::NotThis)?;
        let slices: Vec<Strided> = joined.iter().map(|&v| strided(m, v)).collect::<Option<_>>().ok_or(Skip::NotThis)?;
        let first = &slices[0];
        let alike = |s: &Strided| s.x == first.x && s.axes == first.axes;
        applies(slices.iter().all(alike) && first.axes.iter().all(|&(axis, _)| axis != along))?;
        let order = order(&slices).ok_or(Skip::NotThis)?;
        if !joined.iter().all(|&value| only_read_by(graph, value, root.id())) {
            return Err(Skip::InnerResultShared);
        }
        let dims = graph.value(first.x).ty.shape().dims().ok_or(Skip::NotThis)?;
        // Each of the axes as one of steps and one of places within a step.
        let mut parted: Vec<Int> = Vec::new();
        let mut main = Vec::with_capacity(dims.len());
        let mut within = vec![0; first.axes.len()];
        for (at, dim) in dims.iter().enumerate() {
            main.push(parted.len());
            match first.axes.iter().position(|&(axis, _)| axis == at) {
                None => parted.push(dim.clone()),
                Some(which) => {
                    let step = first.axes[which].1;
                    let size = dim.known().filter(|size| size % step == 0).ok_or(Skip::NotThis)?;
                    within[which] = parted.len() + 1;
                    parted.extend([Int::from(size / step), Int::from(step)]);
                }
            }
        }
        let mut perm = main;
        perm.splice(along..along, order.iter().map(|&which| within[which]));
        let turned: Vec<Int> = perm.iter().map(|&axis| parted[axis].clone()).collect();
        let result = m.root_shape().dims().ok_or(Skip::NotThis)?;
        let shapes = [target(Some(dims), &parted), target(Some(&turned), result)];
        let [Some(parting), Some(joining)] = shapes else { return Err(Skip::NotThis) };
        let parts = Reshape.emit([first.x.into(), parting.into()]);
        let turned = Transpose.emit([parts]).with("perm", spelled(&perm));
        Ok(Reshape.emit([turned, joining.into()]).named_like(root))
    })
}

/// How many slices are looked at.
const MOST: usize = 64;

/// A slice with steps.
struct Strided {
    x: ValueId,
    /// Axes and their steps, as the slice names them.
    axes: Vec<(usize, i64)>,
    /// Where it starts along each of the axes.
    starts: Vec<i64>,
}

fn strided(m: &Match<'_>, value: ValueId) -> Option<Strided> {
    let (node, _) = m.graph().producer(value)?;
    let call = CallView::new(m.graph(), node);
    let same_body = call.node().scope() == m.root().node().scope();
    let mut cuts = if call.node().op == Slice && same_body { cuts(&call)? } else { return None };
    cuts.sort_unstable_by_key(|cut| cut.axis);
    let mut slice = Strided { x: call.operand(0)?, axes: Vec::new(), starts: Vec::new() };
    for cut in cuts {
        let axis = usize::try_from(cut.axis).ok()?;
        let size = call.dims(0)?.get(axis)?.known()?;
        let (start, count) = cut.within(size);
        if cut.step < 2 || size % cut.step != 0 || count != size / cut.step || start >= cut.step {
            return None;
        }
        slice.axes.push((axis, cut.step));
        slice.starts.push(start);
    }
    let apart = slice.axes.windows(2).all(|pair| pair[0].0 < pair[1].0);
    (apart && !slice.axes.is_empty()).then_some(slice)
}

/// The axes in the order in which the slices count along them, slowest first, when they take every place once.
fn order(slices: &[Strided]) -> Option<Vec<usize>> {
    let steps: Vec<i64> = slices[0].axes.iter().map(|&(_, step)| step).collect();
    let mut order: Vec<usize> = Vec::new();
    let mut stride = 1usize;
    // The fastest of those that are left is the one that is 1 after `stride` slices.
    while order.len() < steps.len() {
        let next = slices.get(stride)?;
        let which = (0..steps.len()).find(|&which| !order.contains(&which) && next.starts[which] == 1)?;
        order.push(which);
        stride = stride.checked_mul(usize::try_from(steps[which]).ok()?)?;
    }
    let counted = |index: usize, slice: &Strided| {
        let mut rest = i64::try_from(index).unwrap_or(i64::MAX);
        order.iter().all(|&which| {
            let digit = rest % steps[which];
            rest /= steps[which];
            slice.starts[which] == digit
        })
    };
    let all = stride == slices.len() && slices.iter().enumerate().all(|(index, slice)| counted(index, slice));
    order.reverse();
    all.then_some(order)
}
