//! `NonMaxSuppression` whose limits are vectors of one element, as tract wants them; ONNX has scalars, too.

use super::parts::Parts;
use crate::ir::OpKind::Reshape;
use crate::ir::{Graph, NodeId, Tensor};

/// Where the count of boxes and the two thresholds stand.
const LIMITS: std::ops::RangeInclusive<usize> = 2..=4;

/// Give every scalar limit an axis.
pub(super) fn widen_limits(graph: &mut Graph, node: NodeId) {
    for slot in LIMITS {
        let Some(limit) = graph.operand(node, slot) else { continue };
        if graph.value(limit).ty.shape().rank() == Some(1) {
            continue;
        }
        let mut parts = Parts::of(graph, node);
        let one = parts.constant(Tensor::vector(&[1]));
        if let Some(wide) = parts.call(Reshape, &[limit, one], &[]) {
            graph.set_operand(node, slot, Some(wide));
        }
    }
}
