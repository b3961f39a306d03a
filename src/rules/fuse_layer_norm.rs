//! `(x - mean(x)) / √(mean((x - mean(x))²) + ε) · scale + shift`, with means over the last axes, is
//! `LayerNormalization` (opset 17).
//!
//! The square may be a power or a product, the mean a sum divided by the size, and the root divided by or its reciprocal
//! multiplied with; scale and shift may be missing, or multiplied out: `x · k + (shift - mean(x) · k)` with the scale
//! over the root for `k`, as TensorFlow spells it. With half precision that is cast to single for all this and back,
//! the operator does the same by itself.
//!
//! Declines where something on the way is also read elsewhere, where scale or shift are not of the shape of these axes,
//! where there is no scale and the size is not known, and for double precision, for which the operator's statistics are
//! not precise enough.

use crate::ir::OpKind::{Add, Cast, Div, LayerNormalization, Mul};
use crate::ir::{Graph, NodeId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies};
use crate::rules::fuse_instance_norm;
use crate::rules::support::norm::{Norm, Statistic, outermost, reader_ends};

pub fn rule() -> Rule {
    Rule::new("fuse-layer-norm", Exactness::Rounding, any_of(&[Div, Mul, Add, Cast]), |m| {
        let (graph, root) = (m.graph(), m.root().id());
        // Scaled per channel, it is the other normalization over the last axes.
        applies(!reader_ends(graph, root, fuse_instance_norm::fused))?;
        outermost(graph, root, fused)
    })
    .even_if_shared()
}

/// What stands for the normalization that `root` ends.
pub(super) fn fused(graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
    let norm = Norm::of(graph, root).ok_or(Skip::NotThis)?;
    applies(norm.statistic == Statistic::Deviation && norm.is_trailing(graph))?;
    norm.check(graph, root)?;
    let scale = norm.parameter(graph, &norm.axes, norm.scale, 1.0)?;
    let shift = match norm.shift {
        Some(_) => norm.parameter(graph, &norm.axes, norm.shift, 0.0)?,
        None => Expr::Absent,
    };
    let call = LayerNormalization.emit([norm.x.into(), scale, shift]).named_like(CallView::new(graph, root));
    Ok(call.with("axis", norm.axis_from_back(graph)).with("epsilon", norm.epsilon))
}
