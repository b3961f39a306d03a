//! Weights that lie in the file as float16 and are computed with as float32: half the file, and nothing else changes.
//!
//! Behind each weight stands a `Cast`, the form that OpenVINO and converters to TFLite keep compressed and onnxruntime
//! folds when it loads the model.

use rustc_hash::FxHashSet;

use crate::ir::{DType, Graph, Tensor, User, ValueId};
use crate::precision::emit::cast;
use crate::precision::{Fit, Role};

/// Smaller constants stay: a `Cast` takes as many bytes.
const LEAST: usize = 64;

/// What became of the weights.
pub(super) struct Stored {
    /// Those that lie in float16.
    pub stored: Vec<ValueId>,
    /// Those that do not fit, with the reason.
    pub left: Vec<(ValueId, String)>,
}

/// Have the weights of `graph` lie in float16, but those that `stay`.
pub(super) fn store(graph: &mut Graph, stay: &FxHashSet<ValueId>) -> Stored {
    let fit = Fit::unknown(DType::F16, graph);
    let is_large = |t: &Tensor| t.dtype() == DType::F32 && t.len() >= LEAST && !t.is_repeated();
    let is_weight = |v: &ValueId| graph.constant(*v).is_some_and(is_large) && !stay.contains(v);
    let weights: Vec<ValueId> = graph.values().filter(is_weight).collect();
    let mut done = Stored { stored: Vec::new(), left: Vec::new() };
    for value in weights {
        let Some(tensor) = graph.constant(value) else { continue };
        if let Some(why) = fit.refuses(tensor, Role::Number) {
            done.left.push((value, why));
            continue;
        }
        let Some(half) = fit.halved(tensor, Role::Number) else { continue };
        let users: Vec<User> = graph.value(value).users().to_vec();
        graph.set_constant(value, half);
        let float = cast(graph, value, DType::F32);
        for user in users {
            graph.replace_use(user, float);
        }
        done.stored.push(value);
    }
    done
}
