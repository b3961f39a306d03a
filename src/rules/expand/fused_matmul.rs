//! `FusedMatMul(a, b)` is `α · MatMul(a, b)`, each factor with its last two axes swapped where an attribute says so.

use super::{any, called, number, operand};
use crate::ops::matmul::ALPHA;
use crate::ir::Key;
use crate::ir::OpKind::{MatMul, Mul, Transpose};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::axes::spelled;


pub(super) fn rule() -> Rule {
    Rule::new("expand-fused-matmul", Exactness::Bitwise, any(), |m| {
        let call = called(m, "FusedMatMul")?;
        let is_set = |name| Key::new(name, false).of(call.node());
        applies(!is_set("transBatchA") && !is_set("transBatchB"))?;
        let product = MatMul.emit([factor(&call, 0, is_set("transA"))?, factor(&call, 1, is_set("transB"))?]);
        let product = product.named_like(call);
        let alpha = ALPHA.of(call.node());
        Ok(if alpha == 1.0 { product } else { Mul.emit([product, number(&call, 0, alpha.into())?]) })
    })
}

fn factor(call: &CallView<'_>, slot: usize, transposed: bool) -> Result<Expr, Skip> {
    let factor = operand(call, slot)?;
    if !transposed {
        return Ok(factor);
    }
    let mut perm: Vec<usize> = (0..call.rank(slot).filter(|&rank| rank >= 2).ok_or(Skip::NotThis)?).collect();
    let last = perm.len() - 1;
    perm.swap(last, last - 1);
    Ok(Transpose.emit([factor]).with("perm", spelled(&perm)))
}
