//! Matrix products with what runtimes compute within them: a swap of the last two axes of a factor, and a scale.

use crate::ir::OpKind::Transpose;
use crate::ir::{Graph, NodeId, ValueId};
use crate::ops::CallView;
use crate::rules::support::attention::scaled;
use crate::rules::support::axes::permutation;
use crate::rules::support::readers::only_read_by;

/// How many transposes and scales in a row are looked through.
const LONGEST: usize = 4;

/// A factor of a product, and what is to be done to it on the way.
pub struct Factor {
    /// The factor as it is before.
    pub value: ValueId,
    /// Whether its last two axes are swapped.
    pub transposed: bool,
    /// What it is multiplied by.
    pub scale: f64,
}

impl Factor {
    /// What `value`, a factor of `product`, is made of, as far as nobody else reads it.
    pub fn of(graph: &Graph, value: ValueId, product: NodeId) -> Factor {
        let mut factor = Factor { value, transposed: false, scale: 1.0 };
        let mut reader = product;
        for _ in 0..LONGEST {
            let Some((node, 0)) = graph.producer(factor.value) else { break };
            let call = CallView::new(graph, node);
            if !only_read_by(graph, factor.value, reader) {
                break;
            }
            if let Some((x, k)) = scaled(&call) {
                factor.scale *= k;
                factor.value = x;
            } else if let Some(x) = swapped(&call) {
                factor.transposed = !factor.transposed;
                factor.value = x;
            } else {
                break;
            }
            reader = node;
        }
        factor
    }
}

/// What `call` swaps the last two axes of.
fn swapped(call: &CallView<'_>) -> Option<ValueId> {
    let perm = permutation(call).filter(|p| call.node().op == Transpose && p.len() >= 2)?;
    let last = perm.len() - 1;
    let leading = perm.iter().take(last - 1).enumerate().all(|(i, axis)| i == *axis);
    (leading && perm[last] == last - 1).then(|| call.operand(0)).flatten()
}
