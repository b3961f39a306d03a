//! Activations that runtimes compute within the call before them.

use crate::ir::{Attr, Key, OpKind};
use crate::ops::CallView;
use crate::rewrite::Expr;
use crate::rules::support::bounds::{Bound, Interval};

/// Operators that [`Activation::of`] reads.
pub const ACTIVATIONS: &[OpKind] =
    &[OpKind::Relu, OpKind::Sigmoid, OpKind::Tanh, OpKind::LeakyRelu, OpKind::HardSigmoid, OpKind::Clip];

/// An activation as the call before it spells it.
pub struct Activation {
    /// ONNX's name.
    pub name: &'static str,
    /// Its attributes in order, or the bounds of a `Clip`.
    pub parameters: Vec<f32>,
}

impl Activation {
    /// The activation that `call` is; `None` where it is none, or its bounds are not known.
    pub fn of(call: &CallView<'_>) -> Option<Activation> {
        let float = |name, default| Key::new(name, default).of(call.node());
        let op = call.node().op;
        let parameters = match op {
            OpKind::Relu | OpKind::Sigmoid | OpKind::Tanh => vec![],
            OpKind::LeakyRelu => vec![float("alpha", 0.01)],
            OpKind::HardSigmoid => vec![float("alpha", 0.2), float("beta", 0.5)],
            OpKind::Clip => {
                let Interval { low, high } = Interval::of(call)?;
                let at = |bound: Option<Bound>, none: f32| bound.map_or(none, |b| b.at as f32);
                vec![at(low, f32::MIN), at(high, f32::MAX)]
            }
            _ => return None,
        };
        Some(Activation { name: op.name(), parameters })
    }

    /// The convolution `fused` with the activation in it.
    pub fn within_conv(self, fused: Expr) -> Expr {
        let fused = fused.with("activation", self.name);
        if self.parameters.is_empty() { fused } else { fused.with("activation_params", Attr::Floats(self.parameters)) }
    }
}
