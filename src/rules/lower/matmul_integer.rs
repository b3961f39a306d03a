//! `MatMulInteger` and `ConvInteger` are the `MatMul` and `Conv` of numbers from which the zero points are taken,
//! computed in single precision and cast to int32.
//!
//! Sums are exact below 2²⁴: of up to 258 products of 8-bit integers.
//!
//! Declines where a zero point is not one number, and where it is that of rows or columns.

use crate::ir::DType;
use crate::ir::OpKind::{Conv, ConvInteger, MatMul, MatMulInteger};
use crate::rewrite::{Exactness, Expr, Rule, any_of, require};
use crate::rules::support::spelled_out::cast;

pub fn rule() -> Rule {
    let pattern = any_of(&[MatMulInteger, ConvInteger]);
    Rule::new("lower-matmul-integer", Exactness::Rounding, pattern, |m| {
        let root = m.root();
        let single = |slot: usize| {
            let len = root.dims(slot + 2).map(|d| d.iter().all(|n| n.known() == Some(1)));
            !root.has(slot + 2) || len == Some(true)
        };
        require(single(0) && single(1), "a zero point is not known to be one number")?;
        let plain = |slot: usize| -> Expr {
            let x = cast(root.operand(slot).into(), DType::F32);
            match root.operand(slot + 2) {
                Some(zero) => x - cast(zero.into(), DType::F32),
                None => x,
            }
        };
        let sums = match root.node().op {
            MatMulInteger => MatMul.emit([plain(0), plain(1)]),
            _ => Conv.emit([plain(0), plain(1)]).like(root),
        };
        Ok(cast(sums, DType::I32).named_like(root))
    })
}
