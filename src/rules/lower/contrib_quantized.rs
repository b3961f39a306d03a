//! ONNX Runtime's `QLinearAdd`, `QLinearMul`, `QLinearSigmoid`, `QLinearLeakyRelu` and `QLinearGlobalAveragePool` are
//! the plain operators of dequantized operands, quantized again.
//!
//! Declines where channels stand last.

use crate::ir::Key;
use crate::ir::OpKind::{Add, Custom, GlobalAveragePool, LeakyRelu, Mul, Sigmoid};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, require};
use crate::rules::support::quantized::{dequantized, quantized};

const ALPHA: Key<f32> = Key::new("alpha", 0.01);
const CHANNELS_LAST: Key<bool> = Key::new("channels_last", false);

pub fn rule() -> Rule {
    Rule::new("lower-contrib-quantized", Exactness::Approximate, Custom.any(), |m| {
        let root = m.root();
        let node = root.node();
        applies(node.domain() == "com.microsoft")?;
        let x = || dequantized(&root, [0, 1, 2], 0);
        let two = || -> Result<[Expr; 2], Skip> { Ok([x()?, dequantized(&root, [3, 4, 5], 0)?]) };
        let (y, slots) = match node.op_name() {
            "QLinearAdd" => (Add.emit(two()?), [6, 7]),
            "QLinearMul" => (Mul.emit(two()?), [6, 7]),
            "QLinearSigmoid" => (Sigmoid.emit([x()?]), [3, 4]),
            "QLinearLeakyRelu" => (LeakyRelu.emit([x()?]).with("alpha", ALPHA.of(node)), [3, 4]),
            "QLinearGlobalAveragePool" => {
                require(!CHANNELS_LAST.of(node), "its channels stand last")?;
                (GlobalAveragePool.emit([x()?]), [3, 4])
            }
            _ => return Err(Skip::NotThis),
        };
        quantized(&root, y.named_like(root), slots)
    })
}
