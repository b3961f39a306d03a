//! ONNX Runtime's `Gelu`, `BiasGelu`, `FastGelu` and `QuickGelu` are sums, products and the functions that they bend by.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::ir::OpKind::{Custom, Erf, Sigmoid, Tanh};
use crate::ir::{Key, Type};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::spelled_out::Numbers;

const ALPHA: Key<f32> = Key::new("alpha", 1.702);

pub fn rule() -> Rule {
    Rule::new("lower-contrib-gelu", Exactness::Rounding, Custom.any(), |m| {
        let root = m.root();
        let node = root.node();
        applies(node.domain() == "com.microsoft")?;
        applies(["Gelu", "BiasGelu", "FastGelu", "QuickGelu"].contains(&node.op_name()))?;
        let n = Numbers::like(root.ty(0).unwrap_or(&Type::Unknown))?;
        let mut x: Expr = root.operand(0).into();
        if root.has(1) {
            x = x + root.operand(1).into();
        }
        let y = match node.op_name() {
            "Gelu" | "BiasGelu" => {
                let bell = Erf.emit([x.clone() * n.of(FRAC_1_SQRT_2)?]);
                x * n.of(0.5)? * (bell + n.of(1.0)?)
            }
            "FastGelu" => {
                let cube = x.clone() * x.clone() * x.clone() * n.of(0.044715)?;
                let bell = Tanh.emit([(x.clone() + cube) * n.of(FRAC_2_SQRT_PI * FRAC_1_SQRT_2)?]);
                x * n.of(0.5)? * (bell + n.of(1.0)?)
            }
            "QuickGelu" => x.clone() * Sigmoid.emit([x * n.of(ALPHA.of(node).into())?]),
            _ => return Err(Skip::NotThis),
        };
        Ok(y.named_like(root))
    })
}
