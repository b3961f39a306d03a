//! Of a sum around a block, which operand went around.

use rustc_hash::FxHashMap;

use crate::ir::{Graph, NodeId, OpKind, ValueId};
use crate::ops::CallView;

/// How far a common ancestor is looked for.
const FAR: usize = 256;

/// The operand of the sum that went around a block, and the convolution at the end of the block (TRT-P4).
///
/// Where both operands come from convolutions, the block is the longer way to what both come from. `None` for a sum
/// with a constant or an input of the model, and where the block ends in something else than a convolution.
pub(super) fn skip(call: &CallView<'_>) -> Option<(usize, NodeId)> {
    let graph = call.graph();
    let (a, b) = (call.operand(0)?, call.operand(1)?);
    let is_computed = |v: ValueId| graph.producer(v).is_some();
    if a == b || !is_computed(a) || !is_computed(b) {
        return None;
    }
    match (backbone(graph, a), backbone(graph, b)) {
        (None, None) => None,
        // A block that ends in something else goes around nothing: it begins with the convolution.
        (Some(conv), None) => (!ancestors(graph, b).contains_key(&conv)).then_some((1, conv)),
        (None, Some(conv)) => (!ancestors(graph, a).contains_key(&conv)).then_some((0, conv)),
        (Some(first), Some(second)) => {
            let (up_a, up_b) = (ancestors(graph, a), ancestors(graph, b));
            let common = up_a.iter().filter_map(|(node, far)| Some((far + up_b.get(node)?, *node, *far, up_b[node])));
            let (_, _, from_a, from_b) = common.min_by_key(|&(sum, node, ..)| (sum, node))?;
            Some(if from_a > from_b { (1, first) } else { (0, second) })
        }
    }
}

/// The convolution that `value` comes from, through what fuses with it.
fn backbone(graph: &Graph, value: ValueId) -> Option<NodeId> {
    let mut value = value;
    for _ in 0..8 {
        let (node, _) = graph.producer(value)?;
        match graph.node(node).op {
            OpKind::Conv | OpKind::ConvTranspose => return Some(node),
            OpKind::Relu | OpKind::Clip | OpKind::LeakyRelu | OpKind::BatchNormalization => {}
            OpKind::Add | OpKind::Mul if graph.operand(node, 1).is_some_and(|v| graph.constant(v).is_some()) => {}
            OpKind::Mul => {
                value = swished(graph, node)?;
                continue;
            }
            _ => return None,
        }
        // What someone else reads too is not fused away.
        if graph.value(graph.operand(node, 0)?).users().len() != 1 {
            return None;
        }
        value = graph.operand(node, 0)?;
    }
    None
}

/// `x`, where the product is `x · sigmoid(x)` and nobody else reads it.
fn swished(graph: &Graph, product: NodeId) -> Option<ValueId> {
    (0..2).find_map(|slot| {
        let (gate, _) = graph.producer(graph.operand(product, slot)?)?;
        let x = graph.operand(product, 1 - slot)?;
        let is_it = graph.node(gate).op == OpKind::Sigmoid && graph.operand(gate, 0) == Some(x);
        (is_it && graph.value(x).users().len() == 2).then_some(x)
    })
}

/// The nodes that `value` depends on, nearest first, with the number of steps to them.
fn ancestors(graph: &Graph, value: ValueId) -> FxHashMap<NodeId, usize> {
    let mut found = FxHashMap::default();
    let mut queue = std::collections::VecDeque::new();
    let makers = |v: ValueId| graph.producer(v).map(|(node, _)| node);
    queue.extend(makers(value).map(|node| (node, 0)));
    while let Some((node, far)) = queue.pop_front() {
        if found.len() >= FAR || found.contains_key(&node) {
            continue;
        }
        found.insert(node, far);
        queue.extend(graph.operands(node).flatten().filter_map(makers).map(|node| (node, far + 1)));
    }
    found
}
