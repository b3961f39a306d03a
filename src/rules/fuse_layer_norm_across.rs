//! A normalization as for `fuse-layer-norm` over one axis that is not the last, with a constant scale and shift along
//! it, is `LayerNormalization` (opset 17) between two `Transpose`s.
//!
//! So networks normalize images that have their channels first. Declines where something on the way is also read
//! elsewhere, where the size of the axis is not known, and for double precision.

use crate::ir::OpKind::{Add, Div, LayerNormalization, Mul, Transpose};
use crate::ir::{Graph, NodeId, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies};
use crate::rules::support::axes::spelled;
use crate::rules::support::norm::{Norm, Statistic, along, outermost};
use crate::rules::support::numbers::finite;

pub fn rule() -> Rule {
    Rule::new("fuse-layer-norm-across", Exactness::Rounding, any_of(&[Div, Mul, Add]), |m| {
        outermost(m.graph(), m.root().id(), fused)
    })
    .even_if_shared()
}

/// What stands for the normalization that `root` ends.
fn fused(graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
    let norm = Norm::of(graph, root).ok_or(Skip::NotThis)?;
    let dims = norm.dims(graph);
    let &[axis] = &norm.axes[..] else { return Err(Skip::NotThis) };
    // Without a scale and a shift there are fewer nodes to save than transposes cost.
    applies(norm.statistic == Statistic::Deviation && axis + 1 < dims.len())?;
    let scale = norm.scale.ok_or(Skip::NotThis)?;
    let dtype = graph.value(norm.x).ty.dtype().ok_or(Skip::NotThis)?;
    let parameter = |value: ValueId| {
        let elements = graph.constant(value).and_then(|t| along(t, dims, axis)).ok_or(Skip::NotThis)?;
        finite(dtype, &[elements.len()], &elements).map(Expr::from).ok_or(Skip::NotThis)
    };
    let (scale, shift) = (parameter(scale)?, norm.shift.map(parameter).transpose()?.unwrap_or(Expr::Absent));
    norm.check(graph, root)?;
    let there: Vec<usize> = (0..dims.len()).filter(|&a| a != axis).chain([axis]).collect();
    let mut back: Vec<usize> = (0..dims.len() - 1).collect();
    back.insert(axis, dims.len() - 1);
    let turned = |x: Expr, perm: &[usize]| Transpose.emit([x]).with("perm", spelled(perm));
    let call = LayerNormalization.emit([turned(norm.x.into(), &there), scale, shift]);
    let call = call.named_like(CallView::new(graph, root)).with("axis", -1).with("epsilon", norm.epsilon);
    Ok(turned(call, &back))
}
