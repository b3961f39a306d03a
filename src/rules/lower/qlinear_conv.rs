//! `QLinearConv` is a `Conv` of dequantized operands, quantized again.
//!
//! Its bias becomes a constant in floating point.
//!
//! Declines where the bias or the scales that it has are computed.

use crate::ir::OpKind::{Conv, QLinearConv};
use crate::ir::{DType, Tensor};
use crate::rewrite::{Exactness, Expr, Rule, Skip};
use crate::rules::support::quantized::{dequantized, quantized};

pub fn rule() -> Rule {
    Rule::new("lower-qlinear-conv", Exactness::Approximate, QLinearConv.any(), |m| {
        let root = m.root();
        let (x, w) = (dequantized(&root, [0, 1, 2], 1)?, dequantized(&root, [3, 4, 5], 0)?);
        let bias = match root.has(8) {
            true => {
                let parts = [8, 1, 4].map(|slot| root.constant(slot).and_then(Tensor::reals));
                let [Some(bias), Some(x), Some(w)] = parts else {
                    return Err(Skip::Unsuitable("its bias or the scales of it are computed"));
                };
                let x = x.first().copied().ok_or(Skip::NotThis)?;
                let scale = |i: usize| w.get(if w.len() == 1 { 0 } else { i }).copied().unwrap_or(f64::NAN);
                let scaled: Vec<f64> = bias.iter().enumerate().map(|(i, b)| b * x * scale(i)).collect();
                let bias = Tensor::rounded(DType::F32, &[scaled.len()], &scaled).map_err(|_| Skip::NotThis)?;
                Expr::Constant(bias)
            }
            false => Expr::Absent,
        };
        let conv = Conv.emit([x, w, bias]).like(root);
        quantized(&root, conv, [6, 7])
    })
}
