//! `QuantizeLinear` with the `DequantizeLinear` that reads it, as one operator of tract's.
//!
//! tract computes the two one after the other through integers in memory, which takes longer than many a layer between
//! them. Together they are one pass over floats, in place where nobody else reads them: `x` to the nearest of the
//! numbers that integers stand for. Scale and zero point are operands like others, so they may be a model's inputs:
//! one that is loaded once runs with many.

use std::sync::Arc;

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use crate::exec::vectors::vectors;
use crate::ir::{DType, Graph, Key, NodeId, OpKind, Tensor, User};
use crate::ops::normalize_axis;
use crate::ops::quant::BLOCK_SIZE;

/// What the operator is called. No file has such a name: it holds a control character.
const NAME: &str = "\u{1}RoundTrip";

/// Make one operator of every pair in `graph` that has one scale and one zero point, and real numbers of constants.
pub(super) fn join(graph: &mut Graph) {
    let readers: Vec<NodeId> = graph.nodes().filter(|&node| graph.node(node).op == OpKind::DequantizeLinear).collect();
    for node in readers {
        spell(graph, node);
    }
    let quantizers: Vec<NodeId> = graph.nodes().filter(|&node| graph.node(node).op == OpKind::QuantizeLinear).collect();
    for node in quantizers {
        join_readers(graph, node);
    }
}

/// Weights as real numbers, where a constant's integers are around zero: tract walks an axis with scales of its own
/// element by element, which takes as long as a run.
fn spell(graph: &mut Graph, node: NodeId) -> Option<()> {
    const AXIS: Key<i64> = Key::new("axis", 1);
    let constant = |slot: usize| graph.constant(graph.operand(node, slot)?);
    let (integers, scale) = (constant(0)?, constant(1)?);
    if let Some(zero) = graph.operand(node, 2)
        && !graph.constant(zero)?.integers()?.iter().all(|zero| *zero == 0)
    {
        return None;
    }
    let is_plain = BLOCK_SIZE.of(graph.node(node)) == 0 && scale.dtype() == DType::F32 && scale.rank() <= 1;
    let scales: Vec<f32> = scale.reals().filter(|_| is_plain)?.into_iter().map(|s| s as f32).collect();
    let dims = integers.dims();
    let inner = match scales.len() {
        0 => return None,
        1 => integers.len(),
        size => {
            let axis = normalize_axis(AXIS.of(graph.node(node)), dims.len()).filter(|&axis| dims[axis] == size)?;
            dims[axis + 1..].iter().product()
        }
    };
    let bytes = integers.bytes().filter(|_| integers.len() > 0)?;
    // As bytes from the beginning: weights are large, and are copied often enough.
    let mut reals = vec![0u8; 4 * integers.len()];
    let rows = reals.as_chunks_mut::<4>().0.chunks_mut(inner.max(1)).zip(scales.iter().cycle());
    match integers.dtype() {
        DType::I8 => {
            let real = |byte: &u8, scale: f32| (f32::from(byte.cast_signed()) * scale).to_le_bytes();
            for ((row, scale), bytes) in rows.zip(bytes.chunks(inner.max(1))) {
                row.iter_mut().zip(bytes).for_each(|(to, byte)| *to = real(byte, *scale));
            }
        }
        DType::I32 => {
            let real = |bytes: &[u8; 4], scale: f32| (i32::from_le_bytes(*bytes) as f32 * scale).to_le_bytes();
            for ((row, scale), bytes) in rows.zip(bytes.as_chunks::<4>().0.chunks(inner.max(1))) {
                row.iter_mut().zip(bytes).for_each(|(to, bytes)| *to = real(bytes, *scale));
            }
        }
        _ => return None,
    }
    let reals = Tensor::raw(DType::F32, dims, reals.into()).ok()?;
    let (scope, result) = (graph.node(node).scope(), graph.result(node, 0)?);
    let reals = graph.add_constant(scope, "", reals);
    graph.replace(result, reals);
    graph.remove_node(node);
    Some(())
}

/// Let those who read what `quantize` makes, as reals, read it from one operator.
fn join_readers(graph: &mut Graph, quantize: NodeId) -> Option<()> {
    let [x, scale, zero] = [0, 1, 2].map(|slot| graph.operand(quantize, slot));
    let (x, scale, zero, integers) = (x?, scale?, zero?, graph.result(quantize, 0)?);
    let ty = graph.value(x).ty.clone();
    let is_one = |value| graph.value(value).ty.shape().dims().is_some_and(|dims| dims.is_empty());
    let dtype = graph.value(zero).ty.dtype();
    let fits = ty.dtype() == Some(DType::F32)
        && graph.value(scale).ty.dtype() == Some(DType::F32)
        && matches!(dtype, Some(DType::U8 | DType::I8 | DType::U16 | DType::I16))
        && is_one(scale)
        && is_one(zero)
        && graph.constant(x).is_none();
    if !fits {
        return None;
    }
    let node_of = |user: &User| if let User::Node(node, 0) = *user { Some(node) } else { None };
    let readers: Vec<NodeId> = graph.value(integers).users().iter().filter_map(node_of).collect();
    let same = |a, b| a == b || graph.constant(a).is_some_and(|a| graph.constant(b) == Some(a));
    let pairs: Vec<NodeId> = readers
        .iter()
        .copied()
        .filter(|&reader| {
            graph.node(reader).op == OpKind::DequantizeLinear
                && graph.operand(reader, 1).is_some_and(|s| same(s, scale))
                && graph.operand(reader, 2).is_some_and(|z| same(z, zero))
        })
        .collect();
    let (scope, order) = (graph.node(quantize).scope(), graph.node(quantize).order());
    if pairs.iter().any(|&pair| graph.node(pair).scope() != scope) || pairs.is_empty() {
        return None;
    }
    let joined = graph.add_node(scope, OpKind::Custom, &[Some(x), Some(scale), Some(zero)], 1, order);
    graph.node_mut(joined).custom = Some(Arc::new((String::new(), NAME.to_string())));
    let result = graph.result(joined, 0)?;
    graph.value_mut(result).ty = ty;
    for pair in pairs {
        graph.replace(graph.result(pair, 0)?, result);
        graph.remove_node(pair);
    }
    // Integers have the shape that the reals have.
    for user in graph.value(integers).users().to_vec() {
        if let User::Node(node, 0) = user
            && matches!(graph.node(node).op, OpKind::Shape | OpKind::Size)
        {
            graph.replace_use(user, x);
        }
    }
    if graph.value(integers).users().is_empty() {
        graph.remove_node(quantize);
    }
    Some(())
}

/// Tell tract of the operator.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert(NAME, |_: &ParsingContext, _: &NodeProto| Ok((expand(RoundTrip), vec![])));
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct RoundTrip;

impl Expansion for RoundTrip {
    fn name(&self) -> StaticName {
        "RoundTrip".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3)?;
        check_output_arity(outputs, 1)?;
        s.equals(&inputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[1].datum_type, f32::datum_type())?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, RoundTrip, inputs)
    }
}

impl Op for RoundTrip {
    fn name(&self) -> StaticName {
        "RoundTrip".into()
    }

    op_as_typed_op!();
}

impl EvalOp for RoundTrip {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (x, scale, zero) = args_3!(inputs);
        let scale = *scale.try_as_plain_ram()?.to_scalar::<f32>()?;
        let (least, greatest) = match zero.datum_type() {
            DatumType::U8 => (0, i64::from(u8::MAX)),
            DatumType::I8 => (i64::from(i8::MIN), i64::from(i8::MAX)),
            DatumType::U16 => (0, i64::from(u16::MAX)),
            DatumType::I16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            other => bail!("integers of type {other:?}"),
        };
        let zero = zero.cast_to_scalar::<i64>()?;
        let mut x = x.into_tensor();
        let mut elements = x.try_as_plain_ram_mut()?;
        round_trip(elements.as_slice_mut::<f32>()?, scale, (least - zero) as f32, (greatest - zero) as f32);
        Ok(tvec!(x.into_tvalue()))
    }
}

impl TypedOp for RoundTrip {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(inputs[0].datum_type.fact(inputs[0].shape.clone())))
    }

    as_op!();
}

vectors! {
    /// Every element becomes the nearest of `scale · n`, `n` a whole number from `least` to `greatest`, ties to even
    /// ones. What is no number becomes zero.
    fn round_trip(elements: &mut [f32], scale: f32, least: f32, greatest: f32) {
        // Numbers less than 2^22 away from zero are rounded by this addition.
        const WHOLE: f32 = (3u32 << 22) as f32;
        // Elements that are looked at together.
        const BLOCK: usize = 256;
        for block in elements.chunks_mut(BLOCK) {
            // Hardly ever is one no number, and to see to each costs as much as all the rest.
            if block.iter().fold(false, |any, x| any | x.is_nan()) {
                block.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 0.0);
            }
            for x in block {
                let steps = *x / scale;
                let steps = if steps > least { steps } else { least };
                let steps = if steps < greatest { steps } else { greatest };
                *x = ((steps + WHOLE) - WHOLE) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::exec::tract::{Loaded, whole};
    use crate::ir::{DType, Tensor};
    use crate::model::Model;
    use crate::text::parse;

    fn model(text: &str) -> Model {
        let mut model = parse(&format!(r#"<ir_version: 10, opset_import: ["" : 21]> {text}"#)).unwrap();
        crate::passes::infer_declared(&mut model.graph);
        model
    }

    fn loaded(model: &Model) -> Loaded {
        whole(model).unwrap()
    }

    #[test]
    fn pairs_compute_what_the_two_do() {
        let x: Vec<f32> =
            (0..4000).map(|i| (i as f32 - 2000.0) * 0.0125).chain([1e30, -1e30, f32::INFINITY, -0.0]).collect();
        for (dtype, zero, scale) in [
            ("uint8", 128i64, 0.1f32),
            ("uint8", 0, 0.05),
            ("int8", -7, 0.1),
            ("uint16", 300, 0.001),
            ("int16", 5, 1.0),
        ] {
            let model = model(&format!(
                "g (float[n] x) => (float[n] y) <float s = {{{scale}}}, {dtype} z = {{{zero}}}>
                 {{ q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z) }}"
            ));
            let (least, greatest) = match dtype {
                "uint8" => (0, 255),
                "int8" => (-128, 127),
                "uint16" => (0, 65535),
                _ => (-32768, 32767),
            };
            let found = loaded(&model).run(&[Tensor::f32s(&[x.len()], &x).unwrap()]).unwrap();
            for (x, found) in x.iter().zip(found[0].reals().unwrap()) {
                let steps = (f64::from(x / scale).round_ties_even() as i64).saturating_add(zero);
                let known = f64::from((steps.clamp(least, greatest) - zero) as f32 * scale);
                assert_eq!(known, found, "{dtype} {x}");
            }
        }
    }

    #[test]
    fn scales_may_be_inputs() {
        let model = model(
            "g (float[n] x, float s, uint8 z) => (float[n] y, int64[1] shape)
             { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, s, z)  shape = Shape(q) }",
        );
        let loaded = loaded(&model);
        for (scale, zero, y) in [(1.0f32, 0u8, [0.0, 2.0]), (2.0, 1, [-2.0, 2.0]), (0.5, 255, [-1.5, 0.0])] {
            let given = [
                Tensor::f32s(&[2], &[-1.6, 2.4]).unwrap(),
                Tensor::f32s(&[], &[scale]).unwrap(),
                Tensor::raw(DType::U8, &[], vec![zero].into()).unwrap(),
            ];
            let found = loaded.run(&given).unwrap();
            assert_eq!((found[0].reals().unwrap(), found[1].integers()), (y.to_vec(), Some(vec![2])));
        }
    }

    #[test]
    fn constants_are_the_real_numbers_they_stand_for() {
        for (call, known) in [
            (
                "<int8[2,2] q = {1, -2, 3, 4}, float[2] s = {0.5, 2}> { w = DequantizeLinear <axis = 1> (q, s)",
                [0.5, -4.0, 1.5, 8.0],
            ),
            (
                "<int8[2,2] q = {1, -2, 3, 4}, float[2] s = {0.5, 2}, int8[2] z = {0, 0}>
              { w = DequantizeLinear <axis = -2> (q, s, z)",
                [0.5, -1.0, 6.0, 8.0],
            ),
            ("<int32[2,2] q = {1, -2, 3, 4}, float s = {3}> { w = DequantizeLinear(q, s)", [3.0, -6.0, 9.0, 12.0]),
            (
                "<int8[2,2] q = {1, -2, 3, 4}, float s = {3}, int8 z = {1}> { w = DequantizeLinear(q, s, z)",
                [0.0, -9.0, 6.0, 9.0],
            ),
        ] {
            let model = model(&format!("g (float[2,2] x) => (float[2,2] y) {call} y = Add(x, w) }}"));
            let mut joined = model.clone();
            super::join(&mut joined.graph);
            let is_spelled = !call.contains("{1}");
            assert_eq!(joined.graph.nodes().count(), if is_spelled { 1 } else { 2 }, "{call}");
            let zeros = Tensor::f32s(&[2, 2], &[0.0; 4]).unwrap();
            assert_eq!(loaded(&model).run(&[zeros]).unwrap()[0].reals().unwrap(), known, "{call}");
        }
    }

    #[test]
    fn what_is_no_pair_stays() {
        for text in [
            "g (float[2] x) => (uint8[2] q) <float s = {1}, uint8 z = {0}> { q = QuantizeLinear(x, s, z) }",
            "g (float[2] x) => (float[2] y) <float s = {1}, float t = {2}, uint8 z = {0}>
             { q = QuantizeLinear(x, s, z)  y = DequantizeLinear(q, t, z) }",
            "g (float[2] x) => (float[2] y) <float[2] s = {1, 2}, uint8[2] z = {0, 0}>
             { q = QuantizeLinear <axis = 0> (x, s, z)  y = DequantizeLinear <axis = 0> (q, s, z) }",
        ] {
            let mut model = model(text);
            let before = model.graph.nodes().count();
            super::join(&mut model.graph);
            assert_eq!(model.graph.nodes().count(), before, "{text}");
        }
    }
}
