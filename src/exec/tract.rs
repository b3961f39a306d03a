//! tract runs models in this process: pure Rust, float16 to float64, all integers, booleans and strings.
//!
//! A model goes to tract as an ONNX message without its large weights, which follow as tensors. Declared types of
//! results are withheld: tract trusts them, and files get them wrong. Plans are made for concrete input sizes and kept
//! per combination of them.

use std::sync::Arc;

use prost::Message;
use rustc_hash::FxHashMap;
use tract_onnx::Onnx;
use tract_onnx::prelude::{DatumType, Framework, InferenceFact, InferenceModel, IntoArcTensor, IntoRunnable, TValue};
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::prelude::tract_ndarray::ArrayD;
use tract_onnx::tract_hir::prelude::{InferenceModelExt, IntoTensor, Tensor as TractTensor, TypedSimplePlan};

use crate::exec::detach::{Detached, detach};
use crate::exec::executor::{At, Cannot, Executor, Session, contained};
use crate::ir::{DType, Tensor};
use crate::model::Model;

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
            let onnx = tract_onnx::onnx().with_ignore_output_shapes(true).with_ignore_value_info(true);
            check_operators(&onnx, model)?;
            let Detached { model, weights, defaults } = detach(model);
            let bytes = model.to_bytes().map_err(|e| Cannot::new(NAME, e.to_string()))?;
            let proto = tract_onnx::pb::ModelProto::decode(&*bytes).map_err(|e| Cannot::new(NAME, e.to_string()))?;
            drop(bytes);
            let mut parsed = onnx.model_for_proto_model(&proto).map_err(|e| refusal(&e))?;
            attach(&mut parsed, weights)?;
            let inputs = parsed.inputs.iter().map(|o| parsed.node(o.node).name.clone()).collect();
            Ok(Box::new(Loaded { parsed, inputs, defaults, plans: FxHashMap::default() }) as Box<dyn Session>)
        })
    }
}

fn refusal(error: &tract_onnx::prelude::TractError) -> Cannot {
    Cannot::new(NAME, format!("{error:#}"))
}

/// tract looks operators up by name alone: what it does not know, and what only shares a name, is found here.
fn check_operators(onnx: &Onnx, model: &Model) -> Result<(), Cannot> {
    let graph = &model.graph;
    for id in graph.nodes() {
        let node = graph.node(id);
        let is_known = matches!(node.domain(), "" | "com.microsoft");
        if !is_known || !onnx.op_register.0.contains_key(node.op_name()) {
            return Err(Cannot::new(NAME, "it has no such operator").at(At::of(graph, id)));
        }
    }
    Ok(())
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

struct Loaded {
    parsed: InferenceModel,
    /// Names, in order.
    inputs: Vec<String>,
    defaults: Vec<(String, Tensor)>,
    plans: FxHashMap<Signature, Arc<TypedSimplePlan>>,
}

impl Session for Loaded {
    fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Cannot> {
        let find =
            |name: &str, among: &[(String, Tensor)]| among.iter().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        let given: Vec<Tensor> = self
            .inputs
            .iter()
            .map(|name| {
                let tensor = find(name, inputs).or_else(|| find(name, &self.defaults));
                tensor.ok_or_else(|| Cannot::new(NAME, format!("there is no tensor for input \"{name}\"")))
            })
            .collect::<Result<_, _>>()?;
        contained(NAME, || self.run_in_order(&given))
    }
}

impl Loaded {
    fn run_in_order(&mut self, given: &[Tensor]) -> Result<Vec<Tensor>, Cannot> {
        let signature: Signature = given.iter().map(|t| (t.dtype(), t.dims().to_vec())).collect();
        let plan = match self.plans.get(&signature) {
            Some(plan) => Arc::clone(plan),
            None => {
                let plan = self.plan(&signature)?;
                self.plans.insert(signature, Arc::clone(&plan));
                plan
            }
        };
        let values = given.iter().map(|t| Ok(TValue::from(to_tract(t)?))).collect::<Result<_, Cannot>>()?;
        let outputs = plan.run(values).map_err(|e| refusal(&e))?;
        outputs.iter().map(|value| from_tract(value)).collect()
    }

    fn plan(&self, signature: &Signature) -> Result<Arc<TypedSimplePlan>, Cannot> {
        let mut model = self.parsed.clone();
        for (index, (dtype, dims)) in signature.iter().enumerate() {
            let fact = InferenceFact::dt_shape(datum_type(*dtype)?, &dims[..]);
            model.set_input_fact(index, fact).map_err(|e| refusal(&e))?;
        }
        model.into_optimized().and_then(IntoRunnable::into_runnable).map_err(|e| refusal(&e))
    }
}

fn datum_type(dtype: DType) -> Result<DatumType, Cannot> {
    Ok(match dtype {
        DType::F32 => DatumType::F32,
        DType::F64 => DatumType::F64,
        DType::F16 => DatumType::F16,
        DType::I8 => DatumType::I8,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::U8 => DatumType::U8,
        DType::U16 => DatumType::U16,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
        DType::Bool => DatumType::Bool,
        DType::String => DatumType::String,
        DType::C64
        | DType::C128
        | DType::BF16
        | DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F8E8M0
        | DType::F4E2M1
        | DType::U4
        | DType::I4
        | DType::U2
        | DType::I2 => return Err(Cannot::new(NAME, format!("it has no type {dtype}"))),
    })
}

fn to_tract(t: &Tensor) -> Result<TractTensor, Cannot> {
    let dtype = datum_type(t.dtype())?;
    if let Some(strings) = t.as_strings() {
        let strings = strings.iter().map(|s| String::from_utf8(s.to_vec())).collect::<Result<Vec<_>, _>>();
        let strings = strings.map_err(|_| Cannot::new(NAME, "a string is not UTF-8"))?;
        let array = ArrayD::from_shape_vec(t.dims(), strings).map_err(|e| Cannot::new(NAME, e.to_string()))?;
        return Ok(array.into_tensor());
    }
    let bytes = t.bytes().ok_or_else(|| Cannot::new(NAME, "a tensor has no elements to hand over"))?;
    let mut made = TractTensor::zero_dt(dtype, t.dims()).map_err(|e| refusal(&e))?;
    let target = made.as_bytes_mut();
    if target.len() != bytes.len() {
        return Err(Cannot::new(NAME, format!("{t} takes {} bytes there", target.len())));
    }
    match t.dtype() {
        // Any other byte would not be a boolean there.
        DType::Bool => target.iter_mut().zip(&bytes).for_each(|(to, from)| *to = u8::from(*from != 0)),
        _ => target.copy_from_slice(&bytes),
    }
    Ok(made)
}

fn from_tract(value: &TractTensor) -> Result<Tensor, Cannot> {
    let made = |e: crate::ir::TensorError| Cannot::new(NAME, e.to_string());
    let dtype = match value.datum_type() {
        DatumType::F32 => DType::F32,
        DatumType::F64 => DType::F64,
        DatumType::F16 => DType::F16,
        DatumType::I8 | DatumType::QI8(_) => DType::I8,
        DatumType::I16 => DType::I16,
        DatumType::I32 | DatumType::QI32(_) => DType::I32,
        DatumType::I64 => DType::I64,
        DatumType::U8 | DatumType::QU8(_) => DType::U8,
        DatumType::U16 => DType::U16,
        DatumType::U32 => DType::U32,
        DatumType::U64 => DType::U64,
        DatumType::Bool => DType::Bool,
        DatumType::String => {
            let strings = value.to_plain_array_view::<String>().map_err(|e| refusal(&e))?;
            let strings = strings.iter().map(|s| s.clone().into_bytes().into()).collect();
            return Tensor::strings(value.shape(), strings).map_err(made);
        }
        // How tract holds shapes.
        DatumType::TDim => {
            let numbers = value.cast_to::<i64>().map_err(|e| refusal(&e))?;
            return from_tract(&numbers);
        }
        other @ DatumType::Blob => return Err(Cannot::new(NAME, format!("a result of type {other:?}"))),
    };
    Tensor::raw(dtype, value.shape(), value.as_bytes().to_vec().into()).map_err(made)
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn what_tract_lacks_is_named() {
        let cannot = load(
            r#"<ir_version: 8, opset_import: ["" : 17, "my" : 1]>
            g (float[2] x) => (float[2] y)
            { [odd] y = my.Relu(x) }"#,
        )
        .err()
        .unwrap();
        assert_eq!(cannot.to_string(), "tract cannot run my.Relu \"odd\": it has no such operator");
        let cannot = load(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (bfloat16[2] x) => (bfloat16[2] y)
            { y = Relu(x) }"#,
        )
        .err()
        .unwrap();
        assert!(cannot.reason.contains("Bfloat16"), "{cannot}");
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
