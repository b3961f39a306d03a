//! The activations that other calls compute along.

use crate::ir::OpKind::{Clip, HardSigmoid, LeakyRelu, Relu, Sigmoid, Tanh};
use crate::ir::{Attr, Key, Tensor};
use crate::ops::CallView;
use crate::rewrite::{Expr, Skip};

/// `x` through the activation that attribute `activation` of `call` names; without one, `x`.
///
/// # Errors
/// For one that is not known, or has other parameters.
pub(super) fn applied(call: &CallView<'_>, parameters: &[f32], x: Expr) -> Result<Expr, Skip> {
    let name = match call.node().attr("activation") {
        None => return Ok(x),
        Some(Attr::Str(name)) => name,
        Some(_) => return Err(Skip::NotThis),
    };
    let bound = |at: &f32| Tensor::f32s(&[], &[*at]).map(Expr::from).map_err(|_| Skip::NotThis);
    Ok(match (&name[..], parameters) {
        (b"", _) => x,
        (b"Relu", _) => Relu.emit([x]),
        (b"Tanh", _) => Tanh.emit([x]),
        (b"Sigmoid", _) => Sigmoid.emit([x]),
        (b"LeakyRelu", [alpha, ..]) => LeakyRelu.emit([x]).with("alpha", *alpha),
        (b"HardSigmoid", [alpha, beta]) => HardSigmoid.emit([x]).with("alpha", *alpha).with("beta", *beta),
        (b"Clip", [low, high]) => Clip.emit([x, bound(low)?, bound(high)?]),
        _ => return Err(Skip::NotThis),
    })
}

/// The numbers of attribute `name`.
pub(super) fn floats(call: &CallView<'_>, name: &str) -> Vec<f32> {
    match call.node().attr(name) {
        Some(Attr::Floats(list)) => list.clone(),
        _ => Vec::new(),
    }
}

/// The float of attribute `name`, when it is given.
pub(super) fn float(call: &CallView<'_>, name: &'static str) -> Option<f32> {
    call.node().attr(name).map(|_| Key::new(name, 0.0f32).of(call.node()))
}
