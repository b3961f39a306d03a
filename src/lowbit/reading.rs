//! What a runtime rounds beside weights of few bits: the numbers that these are multiplied with.
//!
//! onnxruntime's `MatMulNBits` makes integers of 8 bits around zero of what it reads, with a scale for as many columns as
//! share one of the weight's, where its `accuracy_level` is 4: that is how it is fast. It makes one of a
//! `DequantizeLinear` and the product behind it, too, which does so where the session says nothing else
//! (`session.qdq_matmulnbits_accuracy_level`), with a scale for 32 columns where all weights of an output share one. In
//! what is measured for a target that may be onnxruntime that counts, so that bounds are kept there; runtimes that round
//! nothing lose less.
//!
//! Source: onnxruntime 1.31, contrib operators' `MatMulNBits` (`accuracy_level` 4) and the session's options; measured.

use crate::ir::{DType, Graph, NodeId, OpKind, Tensor, ValueId};
use crate::lowbit::sites::{Reader, Site};
use crate::ops::infer_node;
use crate::ops::matmul::{ALPHA, TRANS_A};
use crate::target::Form;

/// Columns that share a scale where all weights of an output do.
const BLOCK: usize = 32;

/// The largest of the integers.
const TOP: f64 = 127.0;

/// What stands for zero where it would divide.
const TINY: f64 = 1e-30;

/// Products with 4 bits of fewer columns are not faster for it where the runtime leaves it to the file.
const FEW: usize = 256;

/// Whether a call of com.microsoft that multiplies with the weight is to round what it reads.
pub(super) fn is_asked(site: &Site) -> bool {
    site.row.rounds && (site.integers.bits() >= 8 || site.columns >= FEW)
}

/// How many columns of what `reader` multiplies with the weight share a scale, where a runtime of the target rounds them.
pub(super) fn block(graph: &Graph, site: &Site, reader: &Reader) -> Option<usize> {
    let node = graph.node(reader.node);
    let is_plain = match node.op {
        OpKind::MatMul => true,
        OpKind::Gemm => !TRANS_A.of(node) && ALPHA.of(node) == 1.0,
        _ => false,
    };
    // A weight behind a `DequantizeLinear` that lies output by output is not taken into the product.
    let is_taken = match reader.form {
        Form::Contrib => is_asked(site),
        Form::Dequantized => site.row.rounds && !site.is_by_output,
    };
    let is_taken = is_taken && reader.slot == 1;
    let is_one = reader.form == Form::Dequantized && site.group >= site.columns;
    let block = if is_one { BLOCK } else { site.group.min(site.columns).max(1) };
    (is_plain && is_taken).then_some(match site.columns.is_multiple_of(block) {
        true => block,
        // The last would have fewer; with one for all there is no less noise.
        false => site.columns,
    })
}

/// Have `node` read its first operand, of `columns` columns, as integers give it back of which `block` share a scale.
/// Of what is no float32 nothing changes.
pub(super) fn round(graph: &mut Graph, node: NodeId, columns: usize, block: usize) {
    let Some(read) = graph.operand(node, 0).filter(|&read| graph.value(read).ty.dtype() == Some(DType::F32)) else {
        return;
    };
    let (scope, order) = (graph.node(node).scope(), graph.node(node).order());
    let size = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let call = |graph: &mut Graph, op: OpKind, operands: &[ValueId]| -> ValueId {
        let operands: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
        let made = graph.add_node(scope, op, &operands, 1, order);
        infer_node(graph, made);
        graph.result(made, 0).expect("a node that was made with a result has one")
    };
    let number = |graph: &mut Graph, number: f64| {
        let tensor = Tensor::rounded(DType::F32, &[], &[number]).expect("float32 is a type that numbers round to");
        graph.add_constant(scope, "", tensor)
    };
    let is_parted = block < columns;
    let blocks = match is_parted {
        true => {
            let dims = Tensor::vector(&[-1, size(columns / block), size(block)]);
            let dims = graph.add_constant(scope, "", dims);
            call(graph, OpKind::Reshape, &[read, dims])
        }
        false => read,
    };
    let last = graph.add_constant(scope, "", Tensor::vector(&[-1]));
    let (top, tiny) = (number(graph, 1.0 / TOP), number(graph, TINY));
    let sizes = call(graph, OpKind::Abs, &[blocks]);
    let largest = call(graph, OpKind::ReduceMax, &[sizes, last]);
    let scale = call(graph, OpKind::Mul, &[largest, top]);
    let scale = call(graph, OpKind::Max, &[scale, tiny]);
    let steps = call(graph, OpKind::Div, &[blocks, scale]);
    let whole = call(graph, OpKind::Round, &[steps]);
    let mut given_back = call(graph, OpKind::Mul, &[whole, scale]);
    if is_parted {
        let dims = call(graph, OpKind::Shape, &[read]);
        given_back = call(graph, OpKind::Reshape, &[given_back, dims]);
    }
    let ty = graph.value(read).ty.clone();
    graph.value_mut(given_back).ty = ty;
    graph.set_operand(node, 0, Some(given_back));
}

#[cfg(test)]
#[cfg(feature = "tract")]
mod tests {
    use super::*;
    use crate::exec::Executor;
    use crate::exec::tract::Tract;
    use crate::text::parse;

    /// What the first output of the model is for `x`.
    fn run(model: &crate::model::Model, x: Tensor) -> Vec<f64> {
        let feed = [("x".to_string(), x)];
        Tract.load(model).unwrap().run(&feed).unwrap()[0].reals().unwrap()
    }

    #[test]
    fn each_block_is_rounded_by_its_largest() {
        let text = "<ir_version: 9, opset_import: [\"\": 21]>
            g (float[n,4] x) => (float[n,4] y) <float[4,4] w = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}> {
                y = MatMul(x, w) }";
        let x = || Tensor::f32s(&[1, 4], &[127.0, 1.4, 1.27, -0.016]).unwrap();
        for (block, expected) in [(2, [127.0, 1.0, 1.27, -0.02]), (4, [127.0, 1.0, 1.0, 0.0])] {
            let mut model = parse(text).unwrap();
            let node = model.graph.nodes().next().unwrap();
            round(&mut model.graph, node, 4, block);
            let got = run(&model, x());
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{block}: {got:?}");
            let zeros = run(&model, Tensor::f32s(&[1, 4], &[0.0; 4]).unwrap());
            assert_eq!(zeros, [0.0; 4]);
        }
    }
}
