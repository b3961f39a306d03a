//! ONNX Runtime's `FusedConv(x, w, b, z)` is the activation of `Conv(x, w, b) + z`.
//!
//! Declines for activations that it is not known to have, and where their parameters are missing.

use crate::ir::OpKind::{Add, Clip, Conv, Custom, HardSigmoid, LeakyRelu, Relu, Sigmoid, Tanh};
use crate::ir::{Attr, Tensor};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};

pub fn rule() -> Rule {
    Rule::new("lower-fused-conv", Exactness::Rounding, Custom.any(), |m| {
        let root = m.root();
        let node = root.node();
        applies(node.domain() == "com.microsoft" && node.op_name() == "FusedConv")?;
        let operands = (0..3).map(|slot| root.operand(slot).into());
        let mut y = Conv.emit(operands).like(root).without("activation").without("activation_params");
        if root.has(3) {
            y = Add.emit([y, root.operand(3).into()]);
        }
        let name: &[u8] = match node.attr("activation") {
            Some(Attr::Str(name)) => name,
            _ => b"",
        };
        let parameters: &[f32] = match node.attr("activation_params") {
            Some(Attr::Floats(list)) => list,
            _ => &[],
        };
        let bound = |x: f32| Tensor::f32s(&[], &[x]).map(Expr::Constant).map_err(|_| Skip::NotThis);
        Ok(match (name, parameters) {
            (b"", _) => y,
            (b"Relu", _) => Relu.emit([y]),
            (b"Tanh", _) => Tanh.emit([y]),
            (b"Sigmoid", _) => Sigmoid.emit([y]),
            (b"LeakyRelu", [alpha]) => LeakyRelu.emit([y]).with("alpha", *alpha),
            (b"HardSigmoid", [alpha, beta]) => HardSigmoid.emit([y]).with("alpha", *alpha).with("beta", *beta),
            (b"Clip", [low, high]) => Clip.emit([y, bound(*low)?, bound(*high)?]),
            _ => return Err(Skip::Unsuitable("its activation is not known")),
        })
    })
}
