//! tract runs models in this process: pure Rust, float16 to float64, all integers, booleans and strings.
//!
//! A model goes to tract as an ONNX message without its large weights, which follow as tensors. Declared types of
//! results are withheld: tract trusts them, and files get them wrong. Plans are made for concrete input sizes and kept
//! per combination of them. A model that tract does not take as a whole is run node by node.

mod adapt;
mod boxes;
mod by_node;
mod draw;
mod round_trip;
mod tensors;

use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use rustc_hash::FxHashMap;
use tract_onnx::Onnx;
use tract_onnx::prelude::{Framework, InferenceFact, InferenceModel, IntoArcTensor, IntoRunnable, TValue};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::prelude::{InferenceModelExt, TypedSimplePlan};

use self::by_node::{ByNode, First};
use self::tensors::{datum_type, held, to_tract};
use crate::exec::detach::{Detached, detach};
use crate::exec::executor::{At, Cannot, Executor, Session, contained};
use crate::ir::{Attr, DType, Graph, Key, Node, NodeId, OpKind, Tensor};
use crate::model::Model;
use crate::ops::norm::TRAINING_MODE;
use crate::ops::slice::permutation;
use crate::ops::{CallView, MAX_RANK};

const NAME: &str = "tract";

/// The embedded engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tract;

impl Executor for Tract {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, model: &Model) -> Result<Box<dyn Session>, Cannot> {
        contained(NAME, || {
            // Planning takes the square of how many axes there are.
            if model.graph.values().any(|v| model.graph.constant(v).is_some_and(|t| t.rank() > MAX_RANK)) {
                return Err(Cannot::new(NAME, format!("a tensor has more than {MAX_RANK} axes")));
            }
            let mut model = model.clone();
            adapt::adapt(&mut model.graph);
            match whole(&model) {
                Ok(loaded) => {
                    let (whole, model) = (Some(loaded), Arc::new(model));
                    Ok(Box::new(Either { whole, model, by_node: None, remark: None }) as Box<dyn Session>)
                }
                Err(refused) => {
                    let by_node = Some(Arc::new(ByNode::new(&model, First::Engine)?));
                    let (model, remark) = (Arc::new(model), Some(remark(&refused)));
                    Ok(Box::new(Either { whole: None, model, by_node, remark }) as Box<dyn Session>)
                }
            }
        })
    }

    fn second_opinion(&self) -> Option<Box<dyn Executor>> {
        Some(Box::new(Kernels))
    }
}

/// Models run node by node, by the exact kernels where there is one and by tract where there is none.
struct Kernels;

impl Executor for Kernels {
    fn name(&self) -> &'static str {
        "exact kernels"
    }

    fn load(&self, model: &Model) -> Result<Box<dyn Session>, Cannot> {
        let mut model = model.clone();
        adapt::adapt(&mut model.graph);
        let by_node = Some(Arc::new(ByNode::new(&model, First::Kernels)?));
        Ok(Box::new(Either { whole: None, model: Arc::new(model), by_node, remark: None }))
    }
}

fn remark(refused: &Cannot) -> String {
    format!("run node by node: {refused}")
}

/// The model in tract as a whole.
fn whole(model: &Model) -> Result<Loaded, Cannot> {
    let onnx = onnx();
    if let Some(id) = model.graph.nodes().find(|&id| !knows(&onnx, &model.graph, id)) {
        return Err(Cannot::new(NAME, "it has no such operator").at(At::of(&model.graph, id)));
    }
    for id in model.graph.nodes() {
        if draw::draws(model.graph.node(id).op) {
            return Err(Cannot::new(NAME, "its results are random").at(At::of(&model.graph, id)));
        }
        if let Some(why) = breaks_on(&CallView::new(&model.graph, id)) {
            return Err(Cannot::new(NAME, why).at(At::of(&model.graph, id)));
        }
    }
    let mut model = model.clone();
    round_trip::join(&mut model.graph);
    let Detached { model, weights, defaults } = detach(&model);
    let bytes = model.to_bytes().map_err(|e| Cannot::new(NAME, e.to_string()))?;
    let proto = tract_onnx::pb::ModelProto::decode(&*bytes).map_err(|e| Cannot::new(NAME, e.to_string()))?;
    drop(bytes);
    let mut parsed = onnx.model_for_proto_model(&proto).map_err(|e| refusal(&e))?;
    attach(&mut parsed, weights)?;
    let inputs = parsed.inputs.iter().map(|o| parsed.node(o.node).name.clone()).collect();
    Ok(Loaded { parsed: Arc::new(parsed), inputs, defaults, plans: Arc::default() })
}

fn onnx() -> Onnx {
    let mut onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
    round_trip::register(&mut onnx);
    boxes::register(&mut onnx);
    onnx
}

/// The model as a whole as long as that works, then node by node.
#[derive(Clone)]
struct Either {
    whole: Option<Loaded>,
    model: Arc<Model>,
    by_node: Option<Arc<ByNode>>,
    remark: Option<String>,
}

impl Session for Either {
    fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Cannot> {
        let Some(whole) = &self.whole else {
            let by_node = self.by_node.as_ref().ok_or_else(|| Cannot::new(NAME, "nothing is loaded"))?;
            return contained(NAME, || by_node.run(inputs));
        };
        let given = in_order(&whole.inputs, inputs, &whole.defaults)?;
        let refused = match contained(NAME, || whole.run(&given)) {
            Ok(outputs) => return Ok(outputs),
            Err(refused) => refused,
        };
        // What tract cannot plan ahead, it may still run one step at a time.
        let Ok(by_node) = ByNode::new(&self.model, First::Engine) else { return Err(refused) };
        let outputs = contained(NAME, || by_node.run(inputs))?;
        (self.whole, self.by_node, self.remark) = (None, Some(Arc::new(by_node)), Some(remark(&refused)));
        Ok(outputs)
    }

    fn run_each(&mut self, feeds: &[Vec<(String, Tensor)>]) -> Result<Vec<Vec<Tensor>>, Cannot> {
        if let Some(whole) = &self.whole {
            let given = feeds.iter().map(|feed| in_order(&whole.inputs, feed, &whole.defaults));
            let given = given.collect::<Result<Vec<_>, Cannot>>()?;
            // A thread for all of them: to begin one takes as long as many a run.
            if let Ok(outputs) = contained(NAME, || given.iter().map(|feed| whole.run(feed)).collect()) {
                return Ok(outputs);
            }
        }
        feeds.iter().map(|feed| self.run(feed)).collect()
    }

    fn fork(&self) -> Option<Box<dyn Session>> {
        Some(Box::new(self.clone()))
    }

    fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }
}

/// The tensors for `names`, in that order.
fn in_order(
    names: &[String],
    inputs: &[(String, Tensor)],
    defaults: &[(String, Tensor)],
) -> Result<Vec<Tensor>, Cannot> {
    let find = |name: &str| inputs.iter().chain(defaults).find(|(n, _)| n == name).map(|(_, t)| t.clone());
    let missing = |name: &str| Cannot::new(NAME, format!("there is no tensor for input \"{name}\""));
    names.iter().map(|name| find(name).ok_or_else(|| missing(name))).collect()
}

fn refusal(error: &tract_onnx::prelude::TractError) -> Cannot {
    Cannot::new(NAME, format!("{error:#}"))
}

/// Whether tract has the operator. It looks operators up by name alone; what only shares a name is found here.
fn knows(onnx: &Onnx, graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    matches!(node.domain(), "" | "com.microsoft") && onnx.op_register.0.contains_key(node.op_name())
}

/// Calls that no model should hold, on which tract ends the process or takes all memory instead of refusing them, and
/// one that it takes for another.
fn breaks_on(call: &CallView<'_>) -> Option<&'static str> {
    match call.node().op {
        OpKind::BatchNormalization if TRAINING_MODE.of(call.node()) => Some("it is in training mode"),
        OpKind::BatchNormalization if call.rank(0).is_some_and(|r| r < 2) => Some("its operand has no channels"),
        OpKind::LayerNormalization if call.rank(0) == Some(0) => Some("its operand has no axes"),
        OpKind::Transpose if call.node().attr("perm").is_some() && permutation(call).is_none() => {
            Some("perm is no permutation of its operand's axes")
        }
        OpKind::LSTM | OpKind::GRU | OpKind::RNN => ignored(call.node()),
        // Older Scans, which are custom to us, too.
        _ if call.node().op_name() == "Scan" && call.node().domain().is_empty() => {
            let scanned = Key::new("num_scan_inputs", 0i64).of(call.node());
            let fits = usize::try_from(scanned).is_ok_and(|n| n <= call.operand_count());
            (!fits).then_some("it scans more inputs than it has")
        }
        _ => None,
    }
}

/// What tract leaves out of a recurrent layer without a word.
fn ignored(node: &Node) -> Option<&'static str> {
    let usual: &[&[u8]] = match node.op {
        OpKind::LSTM => &[b"Sigmoid", b"Tanh", b"Tanh"],
        OpKind::GRU => &[b"Sigmoid", b"Tanh"],
        _ => &[b"Tanh"],
    };
    let is_usual =
        |attr: &Attr| matches!(attr, Attr::Strs(names) if names.iter().eq(usual.iter().cycle().take(names.len())));
    if Key::new("clip", 0.0f32).of(node) != 0.0 {
        return Some("it does not clip");
    }
    if Key::new("input_forget", false).of(node) {
        return Some("it does not couple input and forget gates");
    }
    node.attr("activations").is_some_and(|attr| !is_usual(attr)).then_some("it knows no other activations than usual")
}

/// Put the weights in the place of the inputs that stand for them.
fn attach(parsed: &mut InferenceModel, weights: Vec<(String, Tensor)>) -> Result<(), Cannot> {
    let mut weights: FxHashMap<String, Tensor> = weights.into_iter().collect();
    let mut kept = Vec::new();
    for outlet in std::mem::take(&mut parsed.inputs) {
        let node = parsed.node_mut(outlet.node);
        let Some(tensor) = weights.remove(&node.name) else {
            kept.push(outlet);
            continue;
        };
        let tensor = to_tract(&tensor)?.into_arc_tensor();
        let fact = InferenceFact::try_from(&tensor).map_err(|e| refusal(&e))?;
        node.op = Box::new(Const::new(tensor).map_err(|e| refusal(&e))?);
        parsed.set_outlet_fact(outlet, fact).map_err(|e| refusal(&e))?;
    }
    parsed.inputs = kept;
    Ok(())
}

/// Element types and sizes of all inputs.
type Signature = Vec<(DType, Vec<usize>)>;

/// Plans that are kept. Each may hold the weights once more, packed for its sizes.
const MOST_PLANS: usize = 4;

/// What was planned, the last used one last. Clones share it, and the weights.
#[derive(Clone)]
struct Loaded {
    parsed: Arc<InferenceModel>,
    /// Names, in order.
    inputs: Vec<String>,
    defaults: Vec<(String, Tensor)>,
    plans: Arc<Mutex<Vec<(Signature, Arc<TypedSimplePlan>)>>>,
}

impl Loaded {
    fn run(&self, given: &[Tensor]) -> Result<Vec<Tensor>, Cannot> {
        let plan = self.planned(given.iter().map(|t| (t.dtype(), t.dims().to_vec())).collect())?;
        let values = given.iter().map(|t| Ok(TValue::from(to_tract(t)?))).collect::<Result<_, Cannot>>()?;
        let outputs = plan.run(values).map_err(|e| refusal(&e))?;
        outputs.into_iter().map(held).collect()
    }

    /// The plan for these sizes. Who wants the same one meanwhile waits for it.
    fn planned(&self, signature: Signature) -> Result<Arc<TypedSimplePlan>, Cannot> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = match plans.iter().position(|(s, _)| *s == signature) {
            Some(place) => plans.remove(place),
            None => {
                if plans.len() == MOST_PLANS {
                    plans.remove(0);
                }
                let plan = self.plan(&signature)?;
                (signature, plan)
            }
        };
        let plan = Arc::clone(&planned.1);
        plans.push(planned);
        Ok(plan)
    }

    fn plan(&self, signature: &Signature) -> Result<Arc<TypedSimplePlan>, Cannot> {
        let mut model = (*self.parsed).clone();
        for (index, (dtype, dims)) in signature.iter().enumerate() {
            let fact = InferenceFact::dt_shape(datum_type(*dtype)?, &dims[..]);
            model.set_input_fact(index, fact).map_err(|e| refusal(&e))?;
        }
        model.into_optimized().and_then(IntoRunnable::into_runnable).map_err(|e| refusal(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ScopeId;
    use crate::text::parse;

    fn load(text: &str) -> Result<Box<dyn Session>, Cannot> {
        Tract.load(&parse(text).unwrap())
    }

    fn f32s(dims: &[usize], elements: &[f32]) -> Tensor {
        Tensor::f32s(dims, elements).unwrap()
    }

    fn x(t: Tensor) -> [(String, Tensor); 1] {
        [("x".to_string(), t)]
    }

    #[test]
    fn one_session_runs_several_sizes() {
        let mut session = load(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n,2] x) => (float[n,2] y, int64[2] shape)
            { y = Relu(x)
              shape = Shape(x) }"#,
        )
        .unwrap();
        for n in 1..4 {
            let input = f32s(&[n, 2], &vec![-1.0; 2 * n]);
            let outputs = session.run(&x(input)).unwrap();
            assert_eq!(outputs[0], f32s(&[n, 2], &vec![0.0; 2 * n]));
            assert_eq!(outputs[1].integers(), Some(vec![n as i64, 2]));
        }
        let refused = session.run(&[]).unwrap_err();
        assert_eq!(refused.reason, "there is no tensor for input \"x\"");
    }

    #[test]
    fn several_feeds_are_run_as_one_by_one() {
        for text in ["{ y = Relu(x) }", "{ y = MatMul(x, x) }"] {
            let mut session =
                load(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[m,n] x) => (float[m,n] y) {text}"#))
                    .unwrap();
            let feeds: Vec<_> = (1..4).map(|n| x(f32s(&[n, n], &vec![1.0; n * n])).to_vec()).collect();
            let one_by_one: Vec<_> = feeds.iter().map(|feed| session.run(feed).unwrap()).collect();
            assert_eq!(session.run_each(&feeds).unwrap(), one_by_one, "{text}");
            assert!(session.run_each(&[feeds[0].clone(), Vec::new()]).is_err());
        }
        assert_eq!(
            load(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { y = Relu(x) }"#)
                .unwrap()
                .run_each(&[])
                .unwrap(),
            Vec::<Vec<Tensor>>::new()
        );
    }

    #[test]
    fn a_softmax_of_integers_sees_all_of_them() {
        let mut session = load(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[1,2] x) => (float[1,2] y)
            <float s = {1}, uint8 z = {0}, float t = {0.5}>
            { q = QuantizeLinear(x, s, z)
              d = DequantizeLinear(q, s, z)
              p = Softmax(d)
              r = QuantizeLinear(p, t, z)
              y = DequantizeLinear(r, t, z) }"#,
        )
        .unwrap();
        let y = session.run(&x(f32s(&[1, 2], &[3.0, 3.0]))).unwrap();
        assert_eq!(y[0].reals().unwrap(), [0.5, 0.5]);
        let y = session.run(&x(f32s(&[1, 2], &[9.0, 0.0]))).unwrap();
        assert_eq!(y[0].reals().unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn sessions_share_a_few_plans() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n] x) => (float[n] y) { y = Relu(x) }"#;
        let loaded = whole(&parse(text).unwrap()).unwrap();
        let other = loaded.clone();
        for n in [1, 2, 3, 4, 5, 6, 1, 6] {
            let x = [f32s(&[n], &vec![-1.0; n])];
            let y = [f32s(&[n], &vec![0.0; n])];
            assert_eq!((loaded.run(&x).unwrap(), other.run(&x).unwrap()), (y.to_vec(), y.to_vec()));
            let kept = loaded.plans.lock().unwrap();
            assert!(kept.len() <= MOST_PLANS && kept.last().unwrap().0[0].1 == [n], "of {n}");
        }
        assert!(Arc::ptr_eq(&loaded.plans, &other.plans));
        let mut session = load(text).unwrap();
        session.run(&x(f32s(&[2], &[-1.0, 2.0]))).unwrap();
        let mut fork = session.fork().unwrap();
        drop(session);
        assert_eq!(fork.run(&x(f32s(&[2], &[-1.0, 2.0]))).unwrap(), [f32s(&[2], &[0.0, 2.0])]);
    }

    #[test]
    fn large_weights_are_handed_over() {
        let mut session = load(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[1,64] x) => (float[1,64] y)
            <float[64,64] w>
            { y = MatMul(x, w) }"#,
        )
        .unwrap();
        let mut one_hot = vec![0.0; 64];
        one_hot[3] = 1.0;
        let y = session.run(&x(f32s(&[1, 64], &one_hot))).unwrap();
        assert!(y[0].reals().unwrap().iter().any(|v| *v != 0.0), "a row of the weight");
    }

    #[test]
    fn an_input_with_a_default_may_be_given_or_left_out() {
        let mut session = load(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x, float[2] bias = {1, 2}) => (float[2] y)
            <float two = {2}>
            { sum = Add(x, bias)
              y = Mul(sum, two) }"#,
        )
        .unwrap();
        let zeros = f32s(&[2], &[0.0; 2]);
        assert_eq!(session.run(&x(zeros.clone())).unwrap(), [f32s(&[2], &[2.0, 4.0])]);
        let both = [x(zeros)[0].clone(), ("bias".to_string(), f32s(&[2], &[5.0, 6.0]))];
        assert_eq!(session.run(&both).unwrap(), [f32s(&[2], &[10.0, 12.0])]);
    }

    #[test]
    fn a_scan_of_more_than_there_is_does_not_reach_tract() {
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x) => (float[] y)
            { y = Scan <num_scan_inputs = 2147483648, body = b (float a) => (float c) { c = Relu(a) }> (x) }"#;
        let refused = whole(&parse(text).unwrap()).err().unwrap();
        assert_eq!(refused.reason, "it scans more inputs than it has");
    }

    #[test]
    fn what_tract_breaks_on_is_refused() {
        for (call, why) in [
            ("BatchNormalization(x, x, x, x, x)", "its operand has no channels"),
            ("Transpose <perm = [0, 0]> (x)", "no permutation"),
        ] {
            let text =
                format!(r#"<ir_version: 8, opset_import: ["" : 17]> g (float[2] x) => (float[] y) {{ y = {call} }}"#);
            let mut session = load(&text).unwrap();
            let refused = session.run(&x(f32s(&[2], &[0.0; 2]))).unwrap_err();
            assert!(refused.reason.contains(why), "{refused}");
        }
    }

    #[test]
    fn recurrent_layers_are_run_as_they_say() {
        let run = |attrs: &str| {
            let mut session = load(&format!(
                r#"<ir_version: 8, opset_import: ["" : 17]>
                g (float[2,1,1] x) => (float[2,1,1,1] y) <float[1,1,1] w = {{1}}, float[1,1,1] r = {{1}}>
                {{ y = RNN <hidden_size = 1{attrs}> (x, w, r) }}"#
            ))?;
            session.run(&x(f32s(&[2, 1, 1], &[2.0, 3.0])))
        };
        let of = |attrs: &str| run(attrs).unwrap()[0].reals().unwrap();
        assert_eq!(of(r#", activations = ["Relu"]"#), [2.0, 5.0]);
        assert!((of(r#", activations = ["Tanh"]"#)[0] - 2f64.tanh()).abs() < 1e-6);
        assert!(run(", clip = 1.0").is_err());
    }

    #[test]
    fn causal_attention_of_any_length() {
        let mut session = load(
            r#"<ir_version: 11, opset_import: ["" : 24]>
            g (float[1,1,L,1] q, float[1,1,L,1] v, float[1,1,P,1] kept) => (float[1,1,L,1] y, float[1,1,S,1] present)
            { y, keys, present = Attention <is_causal = 1> (q, q, v, , kept, kept) }"#,
        )
        .unwrap();
        let of = |name: &str, elements: &[f32]| (name.into(), f32s(&[1, 1, elements.len(), 1], elements));
        let outputs = session.run(&[of("q", &[0.0; 2]), of("v", &[3.0, 8.0]), of("kept", &[1.0])]).unwrap();
        // Scores are all the same: each is the mean of what it may see.
        let means = outputs[0].reals().unwrap();
        assert!((means[0] - 2.0).abs() < 1e-5 && (means[1] - 4.0).abs() < 1e-5, "{means:?}");
        assert_eq!(outputs[1].reals(), Some(vec![1.0, 3.0, 8.0]));
    }

    #[test]
    fn products_of_wide_floats_and_of_halves() {
        for dtype in [DType::F64, DType::F16] {
            let mut model = parse(
                r#"<ir_version: 8, opset_import: ["" : 17]>
                g (TYPE[1,2] x, TYPE[1,2] w, TYPE[1] c) => (TYPE[1,1] y, TYPE[1,1] z)
                { y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, c)
                  z = Gemm <transB = 1> (x, w, c) }"#
                    .replace("TYPE", dtype.name())
                    .as_str(),
            )
            .unwrap();
            let weights = [("w", vec![3.0, 4.0]), ("c", vec![10.0])];
            for (name, elements) in weights {
                let dims: &[usize] = if elements.len() == 1 { &[1] } else { &[1, 2] };
                let weight = Tensor::rounded(dtype, dims, &elements).unwrap();
                let graph = &mut model.graph;
                let input = graph.scope(ScopeId::MAIN).inputs().iter().find(|&&v| &*graph.value(v).name == name);
                let input = *input.unwrap();
                graph.set_default(input, weight);
            }
            let mut session = Tract.load(&model).unwrap();
            let outputs = session.run(&x(Tensor::rounded(dtype, &[1, 2], &[1.0, 2.0]).unwrap())).unwrap();
            assert_eq!((outputs[0].reals(), outputs[1].reals()), (Some(vec![25.5]), Some(vec![21.0])), "{dtype}");
        }
    }

    #[test]
    fn boxes_are_picked_whatever_axes_the_limits_have() {
        let mut session = load(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[1,2,4] x, float[1,1,2] scores, float score) => (int64[n,3] y)
            <int64 most = {2}, float overlap = {0.5}>
            { y = NonMaxSuppression (x, scores, most, overlap, score) }"#,
        )
        .unwrap();
        let boxes = f32s(&[1, 2, 4], &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.9]);
        let given = [
            ("x".to_string(), boxes),
            ("scores".to_string(), f32s(&[1, 1, 2], &[0.4, 0.8])),
            ("score".to_string(), f32s(&[], &[0.1])),
        ];
        // The other box overlaps too much with the one of the highest score.
        assert_eq!(session.run(&given).unwrap()[0].integers(), Some(vec![0, 0, 1]));
    }

    #[test]
    fn the_largest_number_ends_a_slice_however_it_is_spelled() {
        let mut session = load(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n] x) => (float[n] y)
            <int64 most = {9223372036854775807}, int64[1] all = {-1}, int64[1] zero = {0}>
            { cast = Cast <to = 7> (most)
              end = Reshape(cast, all)
              y = Slice(x, zero, end, zero) }"#,
        )
        .unwrap();
        let input = f32s(&[3], &[1.0, 2.0, 3.0]);
        assert_eq!(session.run(&x(input.clone())).unwrap(), [input]);
    }

    #[test]
    fn what_tract_lacks_is_named() {
        let cannot = load(
            r#"<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
            g (float[2] x) => (float[2] y)
            { [odd] y = my.Relu(x) }"#,
        )
        .err()
        .unwrap();
        assert_eq!(cannot.to_string(), "tract cannot run my.Relu \"odd\": it has no such operator");
    }

    #[test]
    fn other_types_keep_their_bits() {
        let mut session = load(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (string[2] x, bool[2] c) => (string[2] y, bool[2] d, float16[1] h)
            <float16[1] half = {14336}>
            { y = Identity(x)
              d = Not(c)
              h = Add(half, half) }"#,
        )
        .unwrap();
        let words = Tensor::strings(&[2], vec!["a".into(), "é".into()]).unwrap();
        let flags = Tensor::raw(DType::Bool, &[2], vec![0, 1].into()).unwrap();
        let outputs = session.run(&[("x".into(), words.clone()), ("c".into(), flags)]).unwrap();
        assert_eq!(outputs[0], words);
        assert_eq!(outputs[1].integers(), Some(vec![1, 0]));
        assert_eq!((outputs[2].dtype(), outputs[2].item()), (DType::F16, Some(1.0)));
    }
}
