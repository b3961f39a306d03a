//! `x / √(mean(x²) + ε) · scale`, with the mean over the last axes, is `RMSNormalization` (opset 23).
//!
//! The square may be a power or a product, the mean a sum divided by the size, and the root divided by or its reciprocal
//! multiplied with; the scale may be missing. With half precision that is cast to single for all this and back, the
//! operator does the same by itself.
//!
//! Declines where something on the way is also read elsewhere, where the scale is not of the shape of these axes, where
//! there is none and the size is not known, and for double precision, for which the operator's mean is not precise
//! enough.

use crate::ir::OpKind::{Cast, Div, Mul, RMSNormalization};
use crate::ir::{Graph, NodeId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies};
use crate::rules::support::norm::{Norm, Statistic, outermost};

pub fn rule() -> Rule {
    Rule::new("fuse-rms-norm", Exactness::Rounding, any_of(&[Div, Mul, Cast]), |m| {
        outermost(m.graph(), m.root().id(), fused)
    })
    .even_if_shared()
}

/// What stands for the normalization that `root` ends.
fn fused(graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
    let norm = Norm::of(graph, root).ok_or(Skip::NotThis)?;
    applies(norm.statistic == Statistic::RootMeanSquare && norm.shift.is_none() && norm.is_trailing(graph))?;
    norm.check(graph, root)?;
    let scale = norm.parameter(graph, &norm.axes, norm.scale, 1.0)?;
    let call = RMSNormalization.emit([norm.x.into(), scale]).named_like(CallView::new(graph, root));
    Ok(call.with("axis", norm.axis_from_back(graph)).with("epsilon", norm.epsilon))
}
