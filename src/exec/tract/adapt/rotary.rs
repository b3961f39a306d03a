//! `RotaryEmbedding` as the products and sums of halves that it is, which tract knows.

use super::parts::Parts;
use crate::ir::OpKind::{Add, Concat, Mul, Reshape, Split, Sub, Unsqueeze};
use crate::ir::{Attr, Graph, Int, Key, NodeId, Tensor, ValueId};

const HEADS: Key<i64> = Key::new("num_heads", 0);
const TURNED: Key<i64> = Key::new("rotary_embedding_dim", 0);
const INTERLEAVED: Key<i64> = Key::new("interleaved", 0);

/// Part a call with a table for each position whose pairs are the halves, where its sizes are known well enough.
pub(super) fn part(graph: &mut Graph, node: NodeId) {
    let call = graph.node(node);
    let (heads, turned, interleaved) = (HEADS.of(call), TURNED.of(call), INTERLEAVED.of(call));
    let operand = |slot: usize| graph.operand(node, slot);
    let (Some(x), Some(cos), Some(sin), None) = (operand(0), operand(1), operand(2), operand(3)) else { return };
    let dims = graph.value(x).ty.shape().dims().map(<[Int]>::to_vec).unwrap_or_default();
    let packed = dims.len() == 3;
    let Some(last) = dims.last().and_then(Int::known) else { return };
    let size = if packed { last.checked_div(heads) } else { Some(last) };
    let Some(size) = size.filter(|&size| size > 0 && interleaved == 0 && (packed || dims.len() == 4)) else { return };
    let turned = if turned == 0 { size } else { turned };
    if turned % 2 != 0 || turned > size || turned < 2 {
        return;
    }
    let mut parts = Parts::of(graph, node);
    if let Some(new) = spelled(&mut parts, [x, cos, sin], packed.then_some(heads), [turned / 2, size - turned])
        && let Some(result) = graph.result(node, 0)
    {
        graph.replace(result, new);
        graph.remove_node(node);
    }
}

fn spelled(parts: &mut Parts<'_>, operands: [ValueId; 3], heads: Option<i64>, sizes: [i64; 2]) -> Option<ValueId> {
    let [mut x, cos, sin] = operands;
    let [half, rest] = sizes;
    if let Some(heads) = heads {
        let apart = parts.constant(Tensor::vector(&[0, 0, heads, -1]));
        x = parts.call(Reshape, &[x, apart], &[])?;
    }
    let axis = parts.constant(Tensor::vector(&[if heads.is_some() { 2 } else { 1 }]));
    let cos = parts.call(Unsqueeze, &[cos, axis], &[])?;
    let sin = parts.call(Unsqueeze, &[sin, axis], &[])?;
    let widths: Vec<i64> = [half, half, rest].into_iter().filter(|&n| n > 0).collect();
    let sizes = parts.constant(Tensor::vector(&widths));
    let last = [("axis", Attr::Int(3))];
    let pieces = parts.calls(Split, &[x, sizes], &last, widths.len())?;
    let (&first, &second) = (pieces.first()?, pieces.get(1)?);
    let mut product = |a: ValueId, b: ValueId| parts.call(Mul, &[a, b], &[]);
    let [a, b, c, d] = [product(first, cos)?, product(second, sin)?, product(second, cos)?, product(first, sin)?];
    let mut joined = vec![parts.call(Sub, &[a, b], &[])?, parts.call(Add, &[c, d], &[])?];
    joined.extend(pieces.get(2));
    let mut y = parts.call(Concat, &joined, &last)?;
    if heads.is_some() {
        let packed = parts.constant(Tensor::vector(&[0, 0, -1]));
        y = parts.call(Reshape, &[y, packed], &[])?;
    }
    Some(y)
}
