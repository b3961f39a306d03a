//! Values all of whose elements are provably one number, whatever their shape.

use crate::ir::{Attr, Graph, OpKind, Tensor, ValueId};
use crate::ops::CallView;

/// How far up a chain is followed.
const LONGEST: usize = 16;

/// The element that `value` repeats, as a tensor of rank 0; `None` where it may have different elements, or where it is
/// not known.
pub fn element(graph: &Graph, value: ValueId) -> Option<Tensor> {
    let mut at = value;
    for _ in 0..LONGEST {
        if let Some(t) = graph.constant(at) {
            let element = t.uniform()?;
            return Tensor::raw(t.dtype(), &[], element.to_vec().into()).ok();
        }
        let (node, _) = graph.producer(at)?;
        let call = CallView::new(graph, node);
        match call.node().op {
            OpKind::ConstantOfShape => {
                return match call.node().attr("value") {
                    None => Tensor::f32s(&[], &[0.0]).ok(),
                    Some(Attr::Tensor(t)) => t.reshaped(&[]).ok(),
                    Some(_) => None,
                };
            }
            // These only pick, repeat and rearrange elements.
            OpKind::Expand
            | OpKind::Flatten
            | OpKind::Gather
            | OpKind::Identity
            | OpKind::Reshape
            | OpKind::Slice
            | OpKind::Split
            | OpKind::Squeeze
            | OpKind::Tile
            | OpKind::Transpose
            | OpKind::Unsqueeze => at = call.operand(0)?,
            _ => return None,
        }
    }
    None
}
