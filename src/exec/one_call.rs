//! One call in an engine: for constant folding of what the exact kernels lack.

use crate::exec::executor::{At, Cannot, Executor};
use crate::ir::{DType, Graph, OpKind, ScopeId, Tensor, Type};
use crate::model::{Model, OpsetImport};
use crate::ops::{CallView, infer_node, schema};

/// Operators that engines compute as ONNX defines them, in each of ONNX's own test cases.
///
/// Random operators, those with bodies and recurrent ones are never folded.
fn is_trusted(op: OpKind) -> bool {
    use OpKind as O;
    matches!(
        op,
        O::AveragePool
            | O::BatchNormalization
            | O::BlackmanWindow
            | O::Conv
            | O::ConvInteger
            | O::ConvTranspose
            | O::DFT
            | O::Einsum
            | O::Gemm
            | O::GlobalAveragePool
            | O::GlobalMaxPool
            | O::GridSample
            | O::GroupNormalization
            | O::HammingWindow
            | O::HannWindow
            | O::Hardmax
            | O::InstanceNormalization
            | O::LRN
            | O::LayerNormalization
            | O::LogSoftmax
            | O::LpNormalization
            | O::MatMul
            | O::MatMulInteger
            | O::MaxPool
            | O::MeanVarianceNormalization
            | O::RMSNormalization
            | O::Resize
            | O::RotaryEmbedding
            | O::STFT
            | O::Softmax
    )
}

/// The opset that engines are tested with most.
const COMMON: i64 = 18;

/// The opsets to try: the common one, then the one that has all of the operator.
fn versions(op: OpKind) -> impl Iterator<Item = i64> {
    let newest = schema::newest("", op.name()).map(|s| i64::from(s.since));
    let first = schema::versions("", op.name()).first().map(|s| COMMON.max(s.since.into()));
    first.into_iter().chain(newest.filter(|n| *n > COMMON))
}

/// Compute the results of `call`, whose operands are `operands` by slot, in `engine`.
///
/// What comes back has the types that inference foretells, and takes at most `limit_bytes`.
///
/// # Errors
/// When the operator is not one that engines are trusted with, when inference does not tell the results' types, and
/// when the engine cannot run it.
pub fn fold_with_engine(
    engine: &dyn Executor,
    call: &CallView<'_>,
    operands: &[Option<Tensor>],
    limit_bytes: usize,
) -> Result<Vec<Tensor>, Cannot> {
    let cannot = |reason: &str| Cannot::new(engine.name(), reason).at(At::of(call.graph(), call.id()));
    if !is_trusted(call.node().op) {
        return Err(cannot("it is not trusted with the operator"));
    }
    // Engines walk the other axes of a tensor without elements, and there may be any number of places on them.
    if operands.iter().flatten().any(|t| t.len() == 0) {
        return Err(cannot("an operand has no elements"));
    }
    // Of a tensor without these axes tract reads past the end of the shape, or looks for an axis without end.
    let axes = match call.node().op {
        OpKind::BatchNormalization => 2,
        OpKind::LayerNormalization => 1,
        _ => 0,
    };
    if operands.first().and_then(Option::as_ref).is_some_and(|t| t.rank() < axes) {
        return Err(cannot("the operand lacks the axes that it works on"));
    }
    let (model, expected) = alone(call, operands).ok_or_else(|| cannot("its result types are not known"))?;
    let bytes = expected.iter().try_fold(0usize, |sum, (dtype, dims)| {
        let n = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        sum.checked_add(dtype.byte_len(n)?)
    });
    if bytes.is_none_or(|b| b > limit_bytes) {
        return Err(cannot("the result would be too large"));
    }
    let mut model = model;
    let mut results = Err(cannot("it has no such operator"));
    for version in versions(call.node().op) {
        model.set_opset(version);
        results = engine.load(&model).and_then(|mut session| session.run(&[]));
        if results.is_ok() {
            break;
        }
    }
    let results = results?;
    let fits = results.len() == expected.len()
        && results.iter().zip(&expected).all(|(t, (dtype, dims))| t.dtype() == *dtype && t.dims() == &dims[..]);
    if fits { Ok(results) } else { Err(cannot("its results have other types than inference foretells")) }
}

/// A model of this call alone, all of its operands constant, and the types of its results.
fn alone(call: &CallView<'_>, operands: &[Option<Tensor>]) -> Option<(Model, Vec<(DType, Vec<usize>)>)> {
    let node = call.node();
    let mut graph = Graph::default();
    let values: Vec<_> =
        operands.iter().map(|t| t.as_ref().map(|t| graph.add_constant(ScopeId::MAIN, "", t.clone()))).collect();
    let count = call.graph().results(call.id()).len();
    let copy = graph.add_node(ScopeId::MAIN, node.op, &values, count, 0);
    for (name, attr) in node.attrs() {
        graph.set_attr(copy, name.clone(), attr.clone());
    }
    infer_node(&mut graph, copy);
    let mut expected = Vec::with_capacity(count);
    for slot in 0..count {
        let result = graph.result(copy, slot)?;
        let ty = graph.value(result).ty.clone();
        let Type::Tensor { dtype: Some(dtype), shape } = &ty else { return None };
        expected.push((*dtype, shape.sizes()?));
        graph.add_output(ScopeId::MAIN, &format!("result{slot}"), result, ty);
    }
    let import = OpsetImport { domain: String::new(), version: COMMON };
    Some((Model { graph, ir_version: 8, opset_imports: vec![import], ..Model::default() }, expected))
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::ir::{Attr, NodeId};

    fn fold(op: OpKind, attrs: &[(&'static str, Attr)], operands: &[Tensor], limit: usize) -> Result<Tensor, Cannot> {
        let mut graph = Graph::default();
        let values: Vec<_> = operands.iter().map(|t| Some(graph.add_constant(ScopeId::MAIN, "", t.clone()))).collect();
        let node: NodeId = graph.add_node(ScopeId::MAIN, op, &values, 1, 0);
        for (name, attr) in attrs {
            graph.set_attr(node, *name, attr.clone());
        }
        let operands: Vec<_> = operands.iter().cloned().map(Some).collect();
        fold_with_engine(&Tract, &CallView::new(&graph, node), &operands, limit).map(|r| r[0].clone())
    }

    fn f32s(dims: &[usize], elements: &[f32]) -> Tensor {
        Tensor::f32s(dims, elements).unwrap()
    }

    #[test]
    fn products_are_folded_within_the_limit() {
        let (a, b) = (f32s(&[1, 2], &[1.0, 2.0]), f32s(&[2, 2], &[1.0, 2.0, 3.0, 4.0]));
        let product = fold(OpKind::MatMul, &[], &[a.clone(), b.clone()], 8).unwrap();
        assert_eq!(product, f32s(&[1, 2], &[7.0, 10.0]));
        assert_eq!(fold(OpKind::MatMul, &[], &[a, b], 7).unwrap_err().reason, "the result would be too large");
    }

    #[test]
    fn new_spellings_reach_the_engine_in_one_that_it_reads() {
        let x = f32s(&[1, 1, 1, 4], &[1.0, 2.0, 3.0, 4.0]);
        let pooled = fold(OpKind::AveragePool, &[("kernel_shape", Attr::Ints(vec![1, 2]))], &[x], 64).unwrap();
        assert_eq!(pooled, f32s(&[1, 1, 1, 3], &[1.5, 2.5, 3.5]));
    }

    #[test]
    fn random_and_recurrent_operators_are_not_folded() {
        let x = f32s(&[2], &[1.0, 2.0]);
        let short = f32s(&[2], &[1.0, 2.0]);
        let parameters = [&short, &short, &short, &short, &short].map(Tensor::clone);
        assert!(fold(OpKind::BatchNormalization, &[], &parameters, 64).is_err());
        assert!(fold(OpKind::LayerNormalization, &[], &[f32s(&[], &[1.0]), short], 64).is_err());
        assert!(fold(OpKind::RandomNormalLike, &[], &[x.clone()], 64).is_err());
        assert!(fold(OpKind::LSTM, &[], &[x], 64).is_err());
    }
}
