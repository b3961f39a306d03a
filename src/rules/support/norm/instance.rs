//! A spelled out normalization as `InstanceNormalization`.

use crate::ir::OpKind::InstanceNormalization;
use crate::ir::{Graph, NodeId, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Expr, Skip, applies};
use crate::rules::support::norm::{Norm, Statistic, along};
use crate::rules::support::numbers::finite;

/// The axis of the channels.
const CHANNELS: usize = 1;

/// What stands for the normalization that `root` ends.
pub fn instance_norm(graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
    let norm = Norm::of(graph, root).ok_or(Skip::NotThis)?;
    let dims = norm.dims(graph);
    applies(norm.statistic == Statistic::Deviation && dims.len() > 2)?;
    applies(norm.axes.iter().copied().eq(CHANNELS + 1..dims.len()))?;
    applies(dims.len() > 3 || norm.scale.is_some() || norm.shift.is_some())?;
    let dtype = graph.value(norm.x).ty.dtype().ok_or(Skip::NotThis)?;
    let channels = dims[CHANNELS].known().and_then(|n| usize::try_from(n).ok()).ok_or(Skip::NotThis)?;
    let parameter = |value: Option<ValueId>, otherwise: f64| {
        let elements = match value {
            Some(value) => graph.constant(value).and_then(|t| along(t, dims, CHANNELS)),
            None if channels <= MOST => Some(vec![otherwise; channels]),
            None => None,
        };
        elements.and_then(|e| finite(dtype, &[channels], &e)).map(Expr::from).ok_or(Skip::NotThis)
    };
    let (scale, shift) = (parameter(norm.scale, 1.0)?, parameter(norm.shift, 0.0)?);
    norm.check(graph, root)?;
    let call = InstanceNormalization.emit([norm.x.into(), scale, shift]).named_like(CallView::new(graph, root));
    Ok(call.with("epsilon", norm.epsilon))
}

/// Ones and zeros are written down for at most this many channels.
const MOST: usize = 1 << 16;
