//! `(x - mean(x)) / √(mean((x - mean(x))²) + ε) · scale + shift`, with means over all axes behind the channels and a
//! constant scale and shift per channel, is `InstanceNormalization`.
//!
//! Spelled as for `fuse-layer-norm`; scale and shift may be missing. Over the last axis of three alone it takes a scale
//! or shift per channel to tell it from a layer's normalization.
//!
//! Declines where something on the way is also read elsewhere, where the number of channels is not known, and for double
//! precision, for which runtimes' statistics are not precise enough.

use crate::ir::OpKind::{Add, Div, InstanceNormalization, Mul};
use crate::ir::{Graph, NodeId, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies};
use crate::rules::fuse_layer_norm;
use crate::rules::support::norm::{Norm, Statistic, along, outermost, reader_ends};
use crate::rules::support::numbers::finite;

/// The axis of the channels.
const CHANNELS: usize = 1;

pub fn rule() -> Rule {
    Rule::new("fuse-instance-norm", Exactness::Rounding, any_of(&[Div, Mul, Add]), |m| {
        let (graph, root) = (m.graph(), m.root().id());
        applies(!reader_ends(graph, root, fuse_layer_norm::fused))?;
        outermost(graph, root, fused)
    })
    .even_if_shared()
}

/// What stands for the normalization that `root` ends.
pub(super) fn fused(graph: &Graph, root: NodeId) -> Result<Expr, Skip> {
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
