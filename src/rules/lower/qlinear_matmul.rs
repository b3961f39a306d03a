//! `QLinearMatMul` is a `MatMul` of dequantized operands, quantized again.

use crate::ir::OpKind::{MatMul, QLinearMatMul};
use crate::rewrite::{Exactness, Rule};
use crate::rules::support::quantized::{dequantized, quantized};

pub fn rule() -> Rule {
    Rule::new("lower-qlinear-matmul", Exactness::Approximate, QLinearMatMul.any(), |m| {
        let root = m.root();
        let (a, b) = (dequantized(&root, [0, 1, 2], 0)?, dequantized(&root, [3, 4, 5], 1)?);
        quantized(&root, MatMul.emit([a, b]).named_like(root), [6, 7])
    })
}
