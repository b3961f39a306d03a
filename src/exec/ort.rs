//! onnxruntime runs models from a library that is loaded at run time: every type and operator that it was built with.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use half::{bf16, f16};
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{DynValue, Tensor as Value, TensorElementType, ValueType};

use crate::exec::executor::{Cannot, Executor, Session, contained};
use crate::ir::{DType, ScopeId, Tensor, Type};
use crate::model::Model;
use crate::onnx::{IrVersion, WriteOptions};

const NAME: &str = "ort";

/// How much onnxruntime may change a model before it runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Nothing: for proofs, where its own rewrites would stand between the two models.
    #[default]
    AsWritten,
    /// All it can: for speed.
    Optimized,
}

/// onnxruntime, from a library.
#[derive(Debug)]
pub struct Ort {
    environment: Environment,
    level: Level,
}

/// There is one environment and one library per process, and none may be loaded after another.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

impl Ort {
    /// Load the library at `path`.
    ///
    /// # Errors
    /// When there is none, when it is of another kind or older than what this was built for, and when another library
    /// has been loaded before.
    pub fn load(path: impl AsRef<Path>, level: Level) -> Result<Ort, Cannot> {
        let path = path.as_ref();
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, environment)) = &*loaded {
            if first != path {
                return Err(Cannot::new(NAME, format!("{} has been loaded before", first.display())));
            }
            return Ok(Ort { environment: environment.clone(), level });
        }
        // A library of another kind makes the binding panic.
        let environment = contained(NAME, || {
            let failed = |e: &dyn std::fmt::Display| Cannot::new(NAME, format!("no onnxruntime: {e}"));
            let builder = ort::init_from(path).map_err(|e| failed(&e))?;
            builder.with_name("onnx-slim").with_telemetry(false).build().map_err(|e| failed(&e))
        })?;
        environment.set_log_level(LogLevel::Fatal);
        *loaded = Some((path.to_path_buf(), environment.clone()));
        Ok(Ort { environment, level })
    }
}

fn refusal(error: impl std::fmt::Display) -> Cannot {
    Cannot::new(NAME, error.to_string())
}

/// Models of this many bytes do not fit one protobuf message.
const MAX_MESSAGE: u64 = 2 << 30;

impl Executor for Ort {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load(&self, model: &Model) -> Result<Box<dyn Session>, Cannot> {
        // The binding ends the process where it is asked for an optional that holds nothing.
        let graph = &model.graph;
        for output in graph.scope(ScopeId::MAIN).outputs() {
            let types = [&output.declared, &graph.value(output.value()).ty];
            if types.iter().any(|ty| !matches!(ty, Type::Tensor { .. } | Type::Unknown)) {
                return Err(Cannot::new(NAME, format!("output \"{}\" is no tensor", output.name)));
            }
        }
        contained(NAME, || {
            let level = match self.level {
                Level::AsWritten => GraphOptimizationLevel::Disable,
                Level::Optimized => GraphOptimizationLevel::All,
            };
            let builder = ort::session::Session::builder(&self.environment).map_err(refusal)?;
            let mut builder = builder.with_optimization_level(level).map_err(refusal)?;
            // It does not take the newest IR versions, and needs them for nothing that it runs.
            let options = WriteOptions { ir_version: IrVersion::Lowest, ..WriteOptions::default() };
            let session = if model.foretell().map_err(refusal)?.0 < MAX_MESSAGE {
                let bytes = model.to_bytes_with(&options).map_err(refusal)?;
                builder.commit_from_memory(&bytes).map_err(refusal)?
            } else {
                let folder = tempfile::tempdir().map_err(refusal)?;
                let file = folder.path().join("model.onnx");
                model.write_with(&file, &options).map_err(refusal)?;
                builder.commit_from_file(&file).map_err(refusal)?
            };
            let outputs = model.graph.scope(ScopeId::MAIN).outputs().iter().map(|o| o.name.to_string()).collect();
            Ok(Box::new(Loaded { session, outputs }) as Box<dyn Session>)
        })
    }
}

struct Loaded {
    session: ort::session::Session,
    /// Names, in the model's order.
    outputs: Vec<String>,
}

impl Session for Loaded {
    fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<Vec<Tensor>, Cannot> {
        contained(NAME, || {
            let given = inputs.iter().map(|(name, tensor)| Ok((name.as_str(), to_ort(tensor)?)));
            let given: Vec<(&str, DynValue)> = given.collect::<Result<_, Cannot>>()?;
            let results = self.session.run(given).map_err(refusal)?;
            let result = |name: &String| match results.get(name) {
                Some(value) => from_ort(value),
                None => Err(Cannot::new(NAME, format!("output \"{name}\" did not come"))),
            };
            self.outputs.iter().map(result).collect()
        })
    }
}

/// Evaluate an expression with `$T` the Rust type of `$dtype`.
macro_rules! per_type {
    ($dtype:expr, $T:ident => $body:expr, else => $other:expr) => {
        match $dtype {
            DType::F32 => per_type!(@ f32, $T, $body),
            DType::F64 => per_type!(@ f64, $T, $body),
            DType::F16 => per_type!(@ f16, $T, $body),
            DType::BF16 => per_type!(@ bf16, $T, $body),
            DType::I8 => per_type!(@ i8, $T, $body),
            DType::I16 => per_type!(@ i16, $T, $body),
            DType::I32 => per_type!(@ i32, $T, $body),
            DType::I64 => per_type!(@ i64, $T, $body),
            DType::U8 => per_type!(@ u8, $T, $body),
            DType::U16 => per_type!(@ u16, $T, $body),
            DType::U32 => per_type!(@ u32, $T, $body),
            DType::U64 => per_type!(@ u64, $T, $body),
            _ => $other,
        }
    };
    (@ $t:ident, $T:ident, $body:expr) => {{
        type $T = $t;
        $body
    }};
}

fn to_ort(tensor: &Tensor) -> Result<DynValue, Cannot> {
    let dims = tensor.dims().to_vec();
    if let Some(strings) = tensor.as_strings() {
        let strings = strings.iter().map(|s| String::from_utf8(s.to_vec())).collect::<Result<Vec<_>, _>>();
        let strings = strings.map_err(|_| Cannot::new(NAME, "a string is not UTF-8"))?;
        return Ok(Value::from_string_array((dims, &strings[..])).map_err(refusal)?.into_dyn());
    }
    let bytes = tensor.bytes().ok_or_else(|| Cannot::new(NAME, "a tensor has no elements to hand over"))?;
    if tensor.dtype() == DType::Bool {
        let flags: Vec<bool> = bytes.iter().map(|b| *b != 0).collect();
        return Ok(Value::from_array((dims, flags)).map_err(refusal)?.into_dyn());
    }
    per_type!(tensor.dtype(), T => {
        let elements: Vec<T> = bytes.as_chunks().0.iter().map(|b| T::from_le_bytes(*b)).collect();
        Ok(Value::from_array((dims, elements)).map_err(refusal)?.into_dyn())
    }, else => Err(Cannot::new(NAME, format!("inputs of type {} cannot be handed over", tensor.dtype()))))
}

fn from_ort(value: &DynValue) -> Result<Tensor, Cannot> {
    let ValueType::Tensor { ty, .. } = value.dtype() else {
        return Err(Cannot::new(NAME, format!("an output is {}, not a tensor", value.dtype())));
    };
    let sizes = |shape: &[i64]| -> Result<Vec<usize>, Cannot> {
        shape.iter().map(|&d| usize::try_from(d).map_err(refusal)).collect()
    };
    if *ty == TensorElementType::String {
        let (shape, strings) = value.try_extract_strings().map_err(refusal)?;
        let strings = strings.into_iter().map(|s| s.into_bytes().into()).collect();
        return Tensor::strings(&sizes(shape)?, strings).map_err(refusal);
    }
    if *ty == TensorElementType::Bool {
        let (shape, flags) = value.try_extract_tensor::<bool>().map_err(refusal)?;
        let bytes: Vec<u8> = flags.iter().map(|b| u8::from(*b)).collect();
        return Tensor::raw(DType::Bool, &sizes(shape)?, bytes.into()).map_err(refusal);
    }
    let dtype = match ty {
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::Float16 => DType::F16,
        TensorElementType::Bfloat16 => DType::BF16,
        TensorElementType::Int8 => DType::I8,
        TensorElementType::Int16 => DType::I16,
        TensorElementType::Int32 => DType::I32,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Uint8 => DType::U8,
        TensorElementType::Uint16 => DType::U16,
        TensorElementType::Uint32 => DType::U32,
        TensorElementType::Uint64 => DType::U64,
        other => return Err(Cannot::new(NAME, format!("outputs of type {other} cannot be taken over"))),
    };
    per_type!(dtype, T => {
        let (shape, elements) = value.try_extract_tensor::<T>().map_err(refusal)?;
        let bytes: Vec<u8> = elements.iter().flat_map(|e| e.to_le_bytes()).collect();
        Tensor::raw(dtype, &sizes(shape)?, bytes.into()).map_err(refusal)
    }, else => Err(Cannot::new(NAME, "a type that it has not")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    #[test]
    fn a_missing_library_is_said() {
        let cannot = Ort::load("/no/such/libonnxruntime.so", Level::AsWritten).unwrap_err();
        assert!(cannot.reason.starts_with("no onnxruntime: failed to load from `/no/such/"), "{cannot}");
    }

    #[test]
    #[ignore = "needs a library: set ORT_DYLIB_PATH"]
    fn outputs_that_are_no_tensors_are_refused() {
        let path = std::env::var_os("ORT_DYLIB_PATH").expect("it names a library");
        let engine = Ort::load(path, Level::AsWritten).unwrap();
        let text = r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x) => (seq(float[2]) y) { y = SequenceConstruct(x) }"#;
        let Err(cannot) = engine.load(&parse(text).unwrap()) else { panic!("it is not refused") };
        assert_eq!(cannot.reason, "output \"y\" is no tensor");
    }

    #[test]
    #[ignore = "needs a library: set ORT_DYLIB_PATH"]
    fn models_run_with_a_library() {
        let path = std::env::var_os("ORT_DYLIB_PATH").expect("it names a library");
        let engine = Ort::load(path, Level::AsWritten).unwrap();
        let model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[n,2] x, bool[2] c, string[1] s, bfloat16[1] h)
              => (float[n,2] y, bool[2] d, string[1] t, float[1] i)
            { y = Relu(x)
              d = Not(c)
              t = Identity(s)
              i = Cast <to = 1> (h) }"#,
        )
        .unwrap();
        let mut session = engine.load(&model).unwrap();
        let inputs = [
            ("x".to_string(), Tensor::f32s(&[1, 2], &[-1.0, 2.0]).unwrap()),
            ("c".to_string(), Tensor::raw(DType::Bool, &[2], vec![0, 1].into()).unwrap()),
            ("s".to_string(), Tensor::strings(&[1], vec!["é".into()]).unwrap()),
            ("h".to_string(), Tensor::rounded(DType::BF16, &[1], &[1.5]).unwrap()),
        ];
        let outputs = session.run(&inputs).unwrap();
        assert_eq!(outputs[0].reals(), Some(vec![0.0, 2.0]));
        assert_eq!(outputs[1].integers(), Some(vec![1, 0]));
        assert_eq!(outputs[2], inputs[2].1);
        assert_eq!(outputs[3].reals(), Some(vec![1.5]));
        let cannot = session.run(&inputs[..1]).unwrap_err();
        assert_eq!(cannot.engine, "ort");
    }
}
