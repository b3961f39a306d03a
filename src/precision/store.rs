//! Weights that lie in the file as float16 and are computed with as float32: half the file, and nothing else changes.
//!
//! Behind each weight stands a `Cast`, the form that OpenVINO and converters to TFLite keep compressed and onnxruntime
//! folds when it loads the model.

use rustc_hash::FxHashSet;

use crate::ir::{DType, Graph, Tensor, User, ValueId};
use crate::ops::quant::is_integer;
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
    let is_weight = |v: &ValueId| graph.constant(*v).is_some_and(is_large) && !stay.contains(v) && !is_scale(graph, *v);
    let weights: Vec<ValueId> = graph.values().filter(is_weight).collect();
    let mut done = Stored { stored: Vec::new(), left: Vec::new() };
    for value in weights {
        let Some(tensor) = graph.constant(value) else { continue };
        match fit.refuses(tensor, Role::Number) {
            Some(why) => done.left.push((value, why)),
            None if store_one(graph, value, &fit) => done.stored.push(value),
            None => {}
        }
    }
    done
}

/// Whether a constant is worth a `Cast`.
fn is_large(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::F32 && tensor.len() >= LEAST && !tensor.is_repeated()
}

/// Whether it belongs to integers, and runtimes look for a constant there.
fn is_scale(graph: &Graph, value: ValueId) -> bool {
    let of_integers = |user: &User| matches!(*user, User::Node(node, _) if is_integer(graph.node(node)));
    graph.value(value).users().iter().any(of_integers)
}

/// Have one weight lie in what `fit` says; whether it does now.
fn store_one(graph: &mut Graph, value: ValueId, fit: &Fit) -> bool {
    let Some(half) = graph.constant(value).and_then(|tensor| fit.halved(tensor, Role::Number)) else { return false };
    let users: Vec<User> = graph.value(value).users().to_vec();
    graph.set_constant(value, half);
    let float = graph.add_cast(value, DType::F32);
    for user in users {
        graph.replace_use(user, float);
    }
    true
}

/// Have these weights of `graph` lie in float16; those that do not fit stay, and those that do already.
pub(crate) fn store_these(graph: &mut Graph, weights: &[ValueId]) {
    let fit = Fit::unknown(DType::F16, graph);
    for &value in weights {
        if graph.constant(value).is_some_and(|tensor| refuses(tensor, &fit).is_none()) {
            store_one(graph, value, &fit);
        }
    }
}

/// Why a weight is not to lie in what `fit` says.
pub(crate) fn refuses(weight: &Tensor, fit: &Fit) -> Option<String> {
    if !is_large(weight) {
        return Some("its weight is so small that it takes as much with a Cast".into());
    }
    fit.refuses(weight, Role::Number)
}
