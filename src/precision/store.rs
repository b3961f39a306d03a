//! Weights that lie in the file as float16 and are computed with as float32: half the file, and nothing else changes.
//!
//! Behind each weight stands a `Cast`, the form that OpenVINO and converters to TFLite keep compressed and onnxruntime
//! folds when it loads the model.

use crate::ir::{DType, Graph, Tensor, User, ValueId};
use crate::precision::emit::cast;
use crate::precision::{Fit, Role};

/// Smaller constants stay: a `Cast` takes as many bytes.
const LEAST: usize = 64;

/// Have the weights of `graph` lie in float16. Returns how many do, and those that do not fit, with the reason.
pub fn store(graph: &mut Graph) -> (usize, Vec<(ValueId, String)>) {
    let fit = Fit::unknown(DType::F16, graph);
    let is_large = |t: &Tensor| t.dtype() == DType::F32 && t.len() >= LEAST && !t.is_repeated();
    let weights: Vec<ValueId> = graph.values().filter(|&v| graph.constant(v).is_some_and(is_large)).collect();
    let (mut stored, mut left) = (0, Vec::new());
    for value in weights {
        let Some(tensor) = graph.constant(value) else { continue };
        if let Some(why) = fit.refuses(tensor, Role::Number) {
            left.push((value, why));
            continue;
        }
        let Some(half) = fit.halved(tensor, Role::Number) else { continue };
        let users: Vec<User> = graph.value(value).users().to_vec();
        graph.set_constant(value, half);
        let float = cast(graph, value, DType::F32);
        for user in users {
            graph.replace_use(user, float);
        }
        stored += 1;
    }
    (stored, left)
}
