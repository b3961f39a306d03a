//! A spelled out normalization as `LayerNormalization`.

use crate::ir::OpKind::LayerNormalization;
use crate::ir::{Graph, NodeId};
use crate::ops::CallView;
use crate::rewrite::{Expr, Skip, applies};
use crate::rules::support::norm::{Norm, Statistic};

/// What stands for the normalization that `root` ends.
pub fn layer_norm(graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
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
