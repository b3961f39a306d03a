//! `MatMul(a, b) + c` of matrices is `Gemm(a, b, c)`, and a `Gemm` without a third operand takes c up, where c is
//! constant and one row at most.
//!
//! Declines where a factor is dequantized: the integer kernels of several runtimes look for the `MatMul`.

use crate::ir::OpKind::{Add, DequantizeLinear, Gemm, MatMul};
use crate::ir::ValueId;
use crate::rewrite::{Exactness, Rule, applies, call, constant, require, var};
use crate::rules::support::numbers::is_foldable_float;

pub fn rule() -> Rule {
    let (a, b, c, product) = (var("a"), var("b"), constant("c"), call("product"));
    let pattern = Add.of((MatMul.of((a, b)).bind(product).or(Gemm.of((a, b)).bind(product)), c));
    Rule::new("fuse-matmul-add", Exactness::Rounding, pattern, move |m| {
        applies(m.shape(a).rank() == Some(2) && m.shape(b).rank() == Some(2))?;
        let bias = &m[c];
        applies(is_foldable_float(bias.dtype()) && bias.rank() <= 2)?;
        // One element per column, or one for all.
        let columns = m.call(product).result_dims(0).and_then(|d| d.get(1)).and_then(|n| n.known());
        let width = bias.dims().last().copied().unwrap_or(1);
        let one_row = bias.len() == width && (width == 1 || columns == i64::try_from(width).ok());
        applies(one_row)?;
        let dequantized =
            |v: ValueId| m.graph().producer(v).is_some_and(|(n, _)| m.graph().node(n).op == DequantizeLinear);
        require(!dequantized(m[a]) && !dequantized(m[b]), "a factor is dequantized")?;
        let gemm = Gemm.emit([m[a].into(), m[b].into(), m.value_of(c).into()]);
        Ok(match m.call(product).node().op {
            // Without a third operand beta has no effect; with one it would.
            Gemm => gemm.like(m.call(product)).without("beta"),
            _ => gemm.named_like(m.call(product)),
        })
    })
}
