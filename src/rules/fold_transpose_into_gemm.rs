//! `Transpose` of a matrix before a `Gemm` is the `Gemm`'s own `transA` or `transB`; before a `MatMul` of matrices it
//! makes that a `Gemm`.
//!
//! Declines where a factor of the `MatMul` is dequantized: the integer kernels of several runtimes look for the
//! `MatMul`.

use crate::ir::OpKind::{DequantizeLinear, Gemm, MatMul, Transpose};
use crate::ir::{Key, ValueId};
use crate::rewrite::{Exactness, Rule, Skip, applies, call, require};
use crate::rules::support::axes::permutation;
use crate::rules::support::numbers::is_foldable_float;

const TRANSPOSED: [Key<bool>; 2] = [Key::new("transA", false), Key::new("transB", false)];

pub fn rule() -> Rule {
    let (transpose, product, other) = (call("transpose"), call("product"), crate::rewrite::var("other"));
    let turned = || Transpose.any().bind(transpose);
    let gemm = Gemm.any().on(turned()).bind(product).or(Gemm.any().on((other, turned())).bind(product));
    let matmul = MatMul.of((turned(), other)).bind(product).or(MatMul.of((other, turned())).bind(product));
    Rule::new("fold-transpose-into-gemm", Exactness::Rounding, gemm.or(matmul), move |m| {
        let (transpose, product) = (m.call(transpose), m.call(product));
        applies(permutation(&transpose).ok_or(Skip::NotThis)? == [1, 0])?;
        let result = m.graph().result(transpose.id(), 0);
        let slot = usize::from(product.operand(0) != result);
        let mut operands: Vec<_> = (0..product.operand_count()).map(|s| product.operand(s).into()).collect();
        operands[slot] = transpose.operand(0).into();
        let key = TRANSPOSED[slot];
        if product.node().op == Gemm {
            let flipped = i64::from(!key.of(product.node()));
            return Ok(Gemm.emit(operands).like(product).with(key.name, flipped));
        }
        applies(product.rank(0) == Some(2) && product.rank(1) == Some(2))?;
        applies(product.dtype(0).is_some_and(is_foldable_float))?;
        let dequantized =
            |v: ValueId| m.graph().producer(v).is_some_and(|(n, _)| m.graph().node(n).op == DequantizeLinear);
        let factors = [transpose.operand(0), product.operand(1 - slot)];
        require(!factors.into_iter().flatten().any(dequantized), "a factor is dequantized")?;
        Ok(Gemm.emit(operands).named_like(product).with(key.name, 1))
    })
}
