//! Integers without samples: weights are integers in the file, and activations become integers while the model runs,
//! with the range that they have in that run.
//!
//! Where a runtime has an integer product for it, the activation goes through `DynamicQuantizeLinear`, once however many
//! weights it meets, and `MatMul` and `Gemm` become
//!
//! ```text
//! Mul(Cast(MatMulInteger(integers, weight, zero point)), Mul(scale, weight's scales)) + bias
//! ```
//!
//! which onnxruntime fuses to `DynamicQuantizeMatMul` or `MatMulIntegerToFloat` (ORT-F9; the activation's scale has to
//! come first). An `LSTM` becomes `DynamicQuantizeLSTM` there. OpenVINO quantizes activations by itself where it finds
//! a weight of integers behind a `DequantizeLinear`.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::calibrate::{Calibration, Sample, Source};
use crate::choice::Choice;
use crate::exec::Executor;
use crate::exec::demand::run_of;
use crate::ir::{DType, Graph, Key, NodeId, OpKind, ScopeId, Tensor, TensorError, ValueId};
use crate::model::Model;
use crate::ops::matmul::{ALPHA, BETA, TRANS_A, TRANS_B};
use crate::ops::{CallView, infer_node};
use crate::quality::{Bounds, Measured, OutOfBounds, compare, layers};
use crate::quantize::{Coverage, Grid, QuantizeError, Summary, coverage, integers};
use crate::rewrite::CONTRIB;
use crate::target::{Dynamics, Profile};

/// Says how a model gets integers without samples; [`Dynamic::run`] does it.
#[derive(Clone)]
pub struct Dynamic {
    /// How the target takes them.
    pub form: Dynamics,
    /// What of the model gets integers.
    pub choice: Choice,
    /// Samples to compare float model and result on. Nothing is compared without.
    pub calibration: Calibration,
    /// What runs them.
    pub engine: Arc<dyn Executor>,
    /// How good the result has to be.
    pub bounds: Bounds,
}

/// A target that has no such integers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{target} does not quantize activations while a model runs; --precision int8 --calib PLACE takes their ranges from samples"
)]
pub struct NotDynamic {
    /// The target.
    pub target: &'static str,
}

/// A weight of fewer elements stays: turning the activation into integers takes as long as its product. Measured in
/// onnxruntime 1.31 with one thread, float over integers: 16×16 0.98 to 1.10 for 1 to 256 rows, 32×32 0.94 to 1.42,
/// 64×64 1.00 to 1.81, 768×768 2.3 to 3.5.
const LEAST: usize = 1024;

/// A weight of fewer rows stays, for the same reason: 8×512 0.79 to 1.32.
const LEAST_ROWS: usize = 16;

impl Dynamic {
    /// Integers as `target` takes them.
    ///
    /// # Errors
    /// When it takes none.
    pub fn for_target(target: &Profile, engine: Arc<dyn Executor>) -> Result<Dynamic, NotDynamic> {
        if target.dynamics == Dynamics::None {
            return Err(NotDynamic { target: target.name });
        }
        let (choice, bounds) = (Choice::default(), Bounds::default());
        Ok(Dynamic { form: target.dynamics, choice, calibration: Calibration::default(), engine, bounds })
    }

    /// Give `model` integers.
    ///
    /// # Errors
    /// For a pattern of the choice that matches nothing, samples that cannot be read, and a result that is not as good
    /// as it has to be.
    pub fn run(&self, model: &mut Model) -> Result<Summary, QuantizeError> {
        let excluded = self.choice.excluded(&model.graph)?;
        let float = model.clone();
        let mut writer = Writer::new(&mut model.graph, self.form);
        let mut done = Vec::new();
        for node in writer.graph.schedule(ScopeId::MAIN) {
            if !excluded.contains_key(&node) && writer.convert(node)? {
                done.push(node);
            }
        }
        let (tensors, weights) = (writer.activations.len(), writer.weights.len());
        model.import_domains();
        let mut summary = Summary { tensors, weights, coverage: coverage(&model.graph), ..Summary::default() };
        if self.calibration.source.is_some() {
            let probe = self.calibration.probe(&float, &*self.engine, &|_| 0)?;
            summary.made_up = !self.calibration.source.as_ref().is_some_and(Source::is_real);
            self.prove(&float, model, &probe.held_out, &done, &mut summary)?;
            summary.notes = probe.notes;
        } else if self.bounds != Bounds::default() {
            return Err(OutOfBounds::NothingToCompare.into());
        }
        Ok(summary)
    }

    /// Compare float model and result.
    fn prove(
        &self,
        float: &Model,
        model: &mut Model,
        feeds: &[Sample],
        done: &[NodeId],
        summary: &mut Summary,
    ) -> Result<(), QuantizeError> {
        summary.coverage = feeds.first().map_or_else(Coverage::default, |feed| coverage(&run_of(model, feed)));
        match compare(float, model, feeds, &*self.engine) {
            Ok(outputs) => summary.measured = Measured { held_out: feeds.len(), outputs },
            // An engine need not have what only the target has.
            Err(cannot) if self.bounds == Bounds::default() => {
                model.notes.push(format!("not compared with the float model: {cannot}"));
                return Ok(());
            }
            Err(cannot) => return Err(cannot.into()),
        }
        self.bounds.check(&summary.measured.outputs)?;
        summary.layers = layers(float, model, done, feeds, &*self.engine)?;
        Ok(())
    }
}

/// Integers of an activation, its scale and its zero point.
#[derive(Clone, Copy)]
struct Activation {
    integers: ValueId,
    scale: ValueId,
    zero_point: ValueId,
}

/// Integers of a weight, in the layout of a `MatMul`'s, and a scale for each column.
#[derive(Clone, Copy)]
struct Weight {
    integers: ValueId,
    scales: ValueId,
}

struct Writer<'g> {
    graph: &'g mut Graph,
    /// How the target takes them.
    pub form: Dynamics,
    activations: FxHashMap<ValueId, Activation>,
    /// By the constant, whether it is transposed, and what it is multiplied by.
    weights: FxHashMap<(ValueId, bool, u32), Weight>,
    /// Constants of which no integers can be made.
    unfit: FxHashSet<ValueId>,
}

const LAYOUT: Key<bool> = Key::new("layout", false);

impl<'g> Writer<'g> {
    fn new(graph: &'g mut Graph, form: Dynamics) -> Writer<'g> {
        Writer {
            graph,
            form,
            activations: FxHashMap::default(),
            weights: FxHashMap::default(),
            unfit: FxHashSet::default(),
        }
    }

    /// Have `node` compute in integers, where it is one that does.
    fn convert(&mut self, node: NodeId) -> Result<bool, TensorError> {
        match self.graph.node(node).op {
            OpKind::MatMul | OpKind::Gemm => self.product(node),
            OpKind::LSTM if self.form == (Dynamics::Operators { lstm: true }) => self.lstm(node),
            _ => Ok(false),
        }
    }

    /// `MatMul` and `Gemm`.
    fn product(&mut self, node: NodeId) -> Result<bool, TensorError> {
        let call = CallView::new(self.graph, node);
        let is_gemm = call.node().op == OpKind::Gemm;
        let (alpha, beta) = match is_gemm {
            true => (ALPHA.of(call.node()), BETA.of(call.node())),
            false => (1.0, 1.0),
        };
        let transposed = is_gemm && TRANS_B.of(call.node());
        let bias = call.operand(2).filter(|_| is_gemm);
        // What integers are worth is positive; a term that is scaled apart would take an operator more.
        let is_plain = alpha.is_normal() && alpha > 0.0 && (beta == 1.0 || bias.is_none());
        let is_matrix = call.rank(0).is_some_and(|rank| rank >= 2) && call.dtype(0) == Some(DType::F32);
        let (Some(x), Some(w)) = (call.operand(0), call.operand(1)) else { return Ok(false) };
        let transposes = is_gemm && TRANS_A.of(call.node());
        if !is_plain || !is_matrix || transposes || self.graph.constant(x).is_some() || !self.pays(w, transposed) {
            return Ok(false);
        }
        if self.form == Dynamics::Weights {
            return self.compress(node, w, transposed);
        }
        let Some(weight) = self.weight(w, transposed, alpha)? else { return Ok(false) };
        let a = self.activation(x);
        let order = self.graph.node(node).order();
        let label = self.graph.label(node);
        let product = self.call(OpKind::MatMulInteger, &[a.integers, weight.integers, a.zero_point], order, &label);
        let real = self.call(OpKind::Cast, &[product], order, &label);
        if let Some((cast, _)) = self.graph.producer(real) {
            self.graph.set_attr(cast, "to", i64::from(DType::F32.code()).into());
            infer_node(self.graph, cast);
        }
        let scale = self.call(OpKind::Mul, &[a.scale, weight.scales], order, &format!("{label}_scale"));
        // The node itself becomes the last step, so its result stays what it is.
        let (op, operands) = match bias {
            None => (OpKind::Mul, [real, scale]),
            Some(bias) => {
                let scaled = self.call(OpKind::Mul, &[real, scale], order, &format!("{label}_scaled"));
                (OpKind::Add, [scaled, bias])
            }
        };
        self.turn_into(node, op, &operands.map(Some));
        self.graph.prune_constant(w);
        Ok(true)
    }

    /// Whether integers of this weight are worth it.
    fn pays(&self, weight: ValueId, transposed: bool) -> bool {
        let Some(tensor) = self.graph.constant(weight).filter(|_| !self.unfit.contains(&weight)) else { return false };
        let &[rows, columns] = tensor.dims() else { return false };
        let rows = if transposed { columns } else { rows };
        // What repeats one number takes no bytes as it is.
        let is_matrix = tensor.dtype() == DType::F32 && !tensor.is_repeated();
        is_matrix && tensor.len() >= LEAST && rows >= LEAST_ROWS
    }

    /// A matrix as integers and scales: turned round where it is `transposed` and the integers stand by themselves.
    fn weight(&mut self, value: ValueId, transposed: bool, factor: f32) -> Result<Option<Weight>, TensorError> {
        let key = (value, transposed, factor.to_bits());
        if let Some(&weight) = self.weights.get(&key) {
            return Ok(Some(weight));
        }
        let Some(tensor) = self.graph.constant(value).cloned() else { return Ok(None) };
        let Some(mut found) = integers(&tensor, Some(usize::from(!transposed)), Grid::I8) else {
            self.unfit.insert(value);
            return Ok(None);
        };
        if let (true, &[rows, columns]) = (transposed && self.form != Dynamics::Weights, found.tensor.dims()) {
            found.tensor = turned(&found.tensor, 1, rows, columns, &[columns, rows])?;
        }
        for scale in &mut found.scales {
            *scale *= factor;
        }
        let label = self.graph.value_label(value);
        let scales = Tensor::f32s(&[found.scales.len()], &found.scales)?;
        let weight = Weight {
            integers: self.graph.add_constant(ScopeId::MAIN, &format!("{label}_quantized"), found.tensor),
            scales: self.graph.add_constant(ScopeId::MAIN, &format!("{label}_scale"), scales),
        };
        self.weights.insert(key, weight);
        Ok(Some(weight))
    }

    /// `value` as integers, with the range that it has in a run.
    fn activation(&mut self, value: ValueId) -> Activation {
        if let Some(&found) = self.activations.get(&value) {
            return found;
        }
        let order = self.graph.producer(value).map_or(0, |(node, _)| self.graph.node(node).order());
        let node = self.graph.add_node(ScopeId::MAIN, OpKind::DynamicQuantizeLinear, &[Some(value)], 3, order);
        let label = self.graph.value_label(value);
        self.name(node, &label);
        infer_node(self.graph, node);
        let result = |slot| self.graph.result(node, slot).expect("a node that was made with three results has them");
        let found = Activation { integers: result(0), scale: result(1), zero_point: result(2) };
        self.activations.insert(value, found);
        found
    }

    /// Have `node` read integers of its weight through a `DequantizeLinear`.
    fn compress(&mut self, node: NodeId, w: ValueId, transposed: bool) -> Result<bool, TensorError> {
        // The node goes on to do its own scaling.
        let Some(weight) = self.weight(w, transposed, 1.0)? else { return Ok(false) };
        let (order, label) = (self.graph.node(node).order(), self.graph.value_label(w));
        let real = self.call(OpKind::DequantizeLinear, &[weight.integers, weight.scales], order, &label);
        if let Some((dequantize, _)) = self.graph.producer(real) {
            self.graph.set_attr(dequantize, "axis", i64::from(!transposed).into());
        }
        self.graph.set_operand(node, 1, Some(real));
        self.graph.prune_constant(w);
        Ok(true)
    }

    /// `LSTM`: onnxruntime has one that takes weights of integers, transposed.
    fn lstm(&mut self, node: NodeId) -> Result<bool, TensorError> {
        let call = CallView::new(self.graph, node);
        let (Some(w), Some(r)) = (call.operand(1), call.operand(2)) else { return Ok(false) };
        let fits = call.dtype(0) == Some(DType::F32) && !LAYOUT.of(call.node());
        let pays = |value| {
            let tensor = self.graph.constant(value);
            tensor.is_some_and(|t| t.rank() == 3 && t.dtype() == DType::F32 && t.len() >= LEAST)
        };
        if !fits || !pays(w) || !pays(r) {
            return Ok(false);
        }
        let (Some(input), Some(state)) = (self.gates(w)?, self.gates(r)?) else { return Ok(false) };
        let hidden = self.graph.constant(r).and_then(|r| i64::try_from(r.dims()[2]).ok()).unwrap_or_default();
        let mut operands: Vec<Option<ValueId>> = (0..8).map(|slot| self.graph.operand(node, slot)).collect();
        operands[1] = Some(input[0]);
        operands[2] = Some(state[0]);
        operands.extend([input[1], input[2], state[1], state[2]].map(Some));
        self.graph.remove_attr(node, "layout");
        self.graph.set_attr(node, "hidden_size", hidden.into());
        for (slot, operand) in operands.into_iter().enumerate() {
            self.graph.set_operand(node, slot, operand);
        }
        let n = self.graph.node_mut(node);
        n.op = OpKind::Custom;
        n.custom = Some(Arc::new((CONTRIB.to_string(), "DynamicQuantizeLSTM".to_string())));
        for value in [w, r] {
            self.graph.prune_constant(value);
        }
        Ok(true)
    }

    /// Integers, scales and zero points of weights `[directions, gates, inputs]`, one scale per direction and gate; the
    /// integers as `[directions, inputs, gates]`.
    fn gates(&mut self, value: ValueId) -> Result<Option<[ValueId; 3]>, TensorError> {
        let Some(tensor) = self.graph.constant(value).cloned() else { return Ok(None) };
        let &[directions, gates, inputs] = tensor.dims() else { return Ok(None) };
        let rows = tensor.reshaped(&[directions * gates, inputs])?;
        let Some(found) = integers(&rows, Some(0), Grid::I8) else { return Ok(None) };
        let turned = turned(&found.tensor, directions, gates, inputs, &[directions, inputs, gates])?;
        let label = self.graph.value_label(value);
        let scales = Tensor::f32s(&[directions, gates], &found.scales)?;
        let zeros = Tensor::splat(DType::I8, &[directions, gates], &[0])?;
        let [turned, scales, zeros] = [("quantized", turned), ("scale", scales), ("zero_point", zeros)]
            .map(|(what, tensor)| self.graph.add_constant(ScopeId::MAIN, &format!("{label}_{what}"), tensor));
        self.weights.insert((value, true, 1f32.to_bits()), Weight { integers: turned, scales });
        Ok(Some([turned, scales, zeros]))
    }

    /// Make another call of `node`, with the same result.
    fn turn_into(&mut self, node: NodeId, op: OpKind, operands: &[Option<ValueId>]) {
        let attrs: Vec<_> = self.graph.node(node).attrs().iter().map(|(name, _)| name.clone()).collect();
        for name in attrs {
            self.graph.remove_attr(node, &name);
        }
        self.graph.node_mut(node).op = op;
        self.graph.truncate_operands(node, operands.len());
        for (slot, operand) in operands.iter().enumerate() {
            self.graph.set_operand(node, slot, *operand);
        }
    }

    fn call(&mut self, op: OpKind, operands: &[ValueId], order: u32, label: &str) -> ValueId {
        let operands: Vec<Option<ValueId>> = operands.iter().copied().map(Some).collect();
        let node = self.graph.add_node(ScopeId::MAIN, op, &operands, 1, order);
        self.name(node, label);
        infer_node(self.graph, node);
        self.graph.result(node, 0).expect("a node that was made with a result has one")
    }

    /// What nobody named stays without a name.
    fn name(&mut self, node: NodeId, label: &str) {
        if !label.is_empty() {
            let op = self.graph.node(node).op.name();
            self.graph.node_mut(node).name = format!("{label}_{op}").into();
        }
    }
}

/// int8 matrices `[rows, columns]`, `stack` of them, each transposed.
fn turned(tensor: &Tensor, stack: usize, rows: usize, columns: usize, dims: &[usize]) -> Result<Tensor, TensorError> {
    let bytes = tensor.bytes().unwrap_or_default();
    let mut result = Vec::with_capacity(bytes.len());
    for matrix in 0..stack {
        for column in 0..columns {
            result.extend((0..rows).map(|row| bytes[(matrix * rows + row) * columns + column]));
        }
    }
    Tensor::raw(DType::I8, dims, result.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::passes::infer_declared;
    use crate::target;
    use crate::text::parse;

    fn model(inputs: &str, weights: &str, body: &str, output: &str) -> Model {
        let text =
            format!(r#"<ir_version: 8, opset_import: ["" : 17]> g ({inputs}) => ({output}) <{weights}> {{ {body} }}"#);
        let mut model = parse(&text).unwrap();
        infer_declared(&mut model.graph);
        model
    }

    fn quantized(mut model: Model, target: &Profile) -> (Model, Summary) {
        let dynamic = Dynamic::for_target(target, Arc::new(Tract)).unwrap();
        let summary = dynamic.run(&mut model).unwrap();
        (model, summary)
    }

    fn ops(model: &Model) -> Vec<&str> {
        let g = &model.graph;
        let mut ops: Vec<&str> = g.nodes().map(|n| g.node(n).op_name()).collect();
        ops.sort_unstable();
        ops
    }

    /// How near the two are on made-up inputs.
    fn sqnr(float: &Model, integer: &Model, dims: &[usize]) -> f64 {
        let count: usize = dims.iter().product();
        let feeds: Vec<Sample> = (0..3)
            .map(|k| {
                let x: Vec<f32> = (0..count).map(|i| ((i * 7 + k * 3) as f32 * 0.61).sin()).collect();
                let feed = vec![("x".to_string(), Tensor::f32s(dims, &x).unwrap())];
                Sample::new(feed, crate::exec::Origin::MadeUp { index: k as u64 }).unwrap()
            })
            .collect();
        compare(float, integer, &feeds, &Tract).unwrap()[0].sqnr
    }

    #[test]
    fn products_become_products_of_integers() {
        let float = model(
            "float[n,5,32] x",
            "float[32,40] w, float[40] b",
            "p = MatMul(x, w) y = Add(p, b)",
            "float[n,5,40] y",
        );
        let (integer, summary) = quantized(float.clone(), &target::ONNX);
        assert_eq!(ops(&integer), ["Add", "Cast", "DynamicQuantizeLinear", "MatMulInteger", "Mul", "Mul"]);
        assert_eq!((summary.tensors, summary.weights, summary.coverage.macs), (1, 1, Some(1.0)));
        let near = sqnr(&float, &integer, &[2, 5, 32]);
        assert!((30.0..80.0).contains(&near), "{near}");
        assert!(crate::ir::verify(&integer.graph).is_empty());
    }

    #[test]
    fn a_gemm_keeps_its_factor_its_layout_and_its_bias() {
        let body = "y = Gemm<alpha = 0.5, transB = 1>(x, w, b)";
        let float = model("float[n,32] x", "float[40,32] w, float[40] b", body, "float[n,40] y");
        let (integer, _) = quantized(float.clone(), &target::ONNXRUNTIME);
        assert_eq!(ops(&integer), ["Add", "Cast", "DynamicQuantizeLinear", "MatMulInteger", "Mul", "Mul"]);
        let near = sqnr(&float, &integer, &[3, 32]);
        assert!((30.0..80.0).contains(&near), "{near}");
    }

    #[test]
    fn an_activation_is_quantized_once_and_so_is_a_weight() {
        let body = "p = MatMul(x, w) q = MatMul(x, w) r = MatMul(x, v) s = Add(p, q) y = Add(s, r)";
        let float = model("float[n,32] x", "float[32,40] w, float[32,40] v", body, "float[n,40] y");
        let (integer, summary) = quantized(float.clone(), &target::ONNX);
        let dynamic = ops(&integer).into_iter().filter(|op| *op == "DynamicQuantizeLinear").count();
        assert_eq!((dynamic, summary.tensors, summary.weights), (1, 1, 2));
        assert!(sqnr(&float, &integer, &[3, 32]) > 30.0);
    }

    #[test]
    fn what_does_not_fit_or_does_not_pay_stays() {
        let of = |inputs: &str, weights: &str, body: &str| {
            let float = model(inputs, weights, body, "float[] y");
            let (integer, summary) = quantized(float.clone(), &target::ONNXRUNTIME);
            assert_eq!(summary.weights, 0);
            assert_eq!(ops(&integer), ops(&float));
        };
        of("float[n,32] x", "float[32,8] w", "y = MatMul(x, w)");
        of("float[n,8] x", "float[8,512] w", "y = MatMul(x, w)");
        of("float[n,32] x, float[32,64] w", "float k", "y = MatMul(x, w)");
        of(
            "float[2,32,n] x",
            "float[2,32,64] w, int64[3] p = {0, 2, 1}",
            "t = Transpose<perm = [0, 2, 1]>(x) y = MatMul(t, w)",
        );
        of("float[32,n] x", "float[32,64] w", "y = Gemm<transA = 1>(x, w)");
        of("float[n,32] x", "float[32,64] w, float[64] b", "y = Gemm<beta = 0.5>(x, w, b)");
        of("float[n,32] x", "float[32,64] w", "y = Gemm<alpha = -1.0>(x, w)");
        of("float[32] x", "float[32,64] w", "y = MatMul(x, w)");
    }

    #[test]
    fn weights_alone_are_integers_where_the_runtime_does_the_rest() {
        let body = "p = MatMul(x, w) y = Gemm<transB = 1>(p, v)";
        let float = model("float[n,32] x", "float[32,40] w, float[40,40] v", body, "float[n,40] y");
        let (integer, summary) = quantized(float.clone(), &target::OPENVINO);
        assert_eq!(ops(&integer), ["DequantizeLinear", "DequantizeLinear", "Gemm", "MatMul"]);
        assert_eq!((summary.weights, summary.coverage.dequantize), (2, 2));
        let near = sqnr(&float, &integer, &[3, 32]);
        assert!((30.0..80.0).contains(&near), "{near}");
    }

    #[test]
    fn an_lstm_gets_integers_where_the_target_has_one() {
        let lstm = || {
            model(
                "float[s,n,40] x",
                "float[2,128,40] w, float[2,128,32] r",
                "y = LSTM<direction = \"bidirectional\", hidden_size = 32>(x, w, r)",
                "float[s,2,n,32] y",
            )
        };
        let (integer, summary) = quantized(lstm(), &target::ONNXRUNTIME);
        assert_eq!(ops(&integer), ["DynamicQuantizeLSTM"]);
        assert_eq!((summary.weights, summary.coverage.macs), (2, Some(1.0)));
        let g = &integer.graph;
        let node = g.nodes().next().unwrap();
        let dims = |slot| g.constant(g.operand(node, slot).unwrap()).map(|t| t.dims().to_vec());
        assert_eq!((dims(1), dims(2)), (Some(vec![2, 40, 128]), Some(vec![2, 32, 128])));
        assert_eq!((dims(8), dims(11)), (Some(vec![2, 128]), Some(vec![2, 128])));
        assert!(integer.opset_imports.iter().any(|o| o.domain == CONTRIB));
        assert_eq!(ops(&quantized(lstm(), &target::ONNX).0), ["LSTM"]);
    }

    #[test]
    fn targets_without_are_refused() {
        for target in [&target::TENSORRT, &target::TFLITE] {
            let refused = Dynamic::for_target(target, Arc::new(Tract)).err().unwrap();
            assert!(refused.to_string().contains("--calib"), "{refused}");
        }
        let mut dynamic = Dynamic::for_target(&target::ONNX, Arc::new(Tract)).unwrap();
        dynamic.bounds.min_sqnr = Some(20.0);
        let mut float = model("float[n,32] x", "float[32,40] w", "y = MatMul(x, w)", "float[n,40] y");
        assert!(matches!(dynamic.run(&mut float), Err(QuantizeError::Bounds(OutOfBounds::NothingToCompare))));
    }

    #[test]
    fn matrices_are_turned_one_by_one() {
        let bytes: Vec<u8> = (0..12).collect();
        let tensor = Tensor::raw(DType::I8, &[2, 2, 3], bytes.into()).unwrap();
        let turned = turned(&tensor, 2, 2, 3, &[2, 3, 2]).unwrap();
        assert_eq!(&turned.bytes().unwrap()[..], [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
