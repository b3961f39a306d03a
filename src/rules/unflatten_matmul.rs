//! A `Gemm` or `MatMul` by a known matrix between two reshapes, of which the first only flattens all axes but the last
//! and the second restores them, is a `MatMul` (and an `Add`) without the reshapes.
//!
//! Declines where a weight of more than 64 KB would have to be transposed and is also read elsewhere.

use crate::ops::matmul::{ALPHA, BETA, TRANS_A, TRANS_B};
use crate::ir::OpKind::{Add, Gemm, MatMul};
use crate::ir::Int;
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call, require};
use crate::rules::support::layout::transposed;
use crate::rules::support::numbers::{SMALL, is_foldable_float};
use crate::rules::support::views::{VIEWS, is_view};


pub fn rule() -> Rule {
    let (first, product, second) = (call("first"), call("product"), call("second"));
    let pattern = any_of(VIEWS).on(any_of(&[Gemm, MatMul]).on(any_of(VIEWS).bind(first)).bind(product)).bind(second);
    Rule::new("unflatten-matmul", Exactness::Rounding, pattern, move |m| {
        let (first, product) = (m.call(first), m.call(product));
        applies(is_view(&first) && is_view(&m.root()))?;
        let weight = product.constant(1).ok_or(Skip::NotThis)?;
        applies(weight.rank() == 2 && is_foldable_float(weight.dtype()))?;
        let (before, after) = (first.dims(0).ok_or(Skip::NotThis)?, m.root_shape().dims().ok_or(Skip::NotThis)?);
        let (Some((inputs, lead)), Some((outputs, restored))) = (before.split_last(), after.split_last()) else {
            return Err(Skip::NotThis);
        };
        // The last axis is the matrix's, all others are as they were.
        let gemm = product.node().op == Gemm;
        let turned = gemm && TRANS_B.of(product.node());
        let [rows, columns] = [weight.dims()[usize::from(turned)], weight.dims()[usize::from(!turned)]];
        applies(lead == restored && *inputs == Int::from(rows) && *outputs == Int::from(columns))?;
        applies(!gemm || plain(&product))?;
        let own = product.operand(1).is_some_and(|w| m.owns_value(w));
        require(!turned || own || weight.stored_bytes() <= SMALL, "the weight is shared with another node")?;
        let w: Expr = match turned {
            true => transposed(weight, &[1, 0]).ok_or(Skip::NotThis)?.into(),
            false => product.operand(1).into(),
        };
        let result = MatMul.emit([first.operand(0).into(), w]).named_like(product);
        if !gemm || !product.has(2) {
            return Ok(result);
        }
        // One element per column, or one for all.
        let bias = product.dims(2).ok_or(Skip::NotThis)?;
        applies(bias.is_empty() || bias.len() == 1 && [Some(1), outputs.known()].contains(&bias[0].known()))?;
        Ok(Add.emit([result, product.operand(2).into()]))
    })
}

/// A `Gemm` that only multiplies and adds.
fn plain(gemm: &CallView<'_>) -> bool {
    let node = gemm.node();
    ALPHA.of(node) == 1.0 && (BETA.of(node) == 1.0 || !gemm.has(2)) && !TRANS_A.of(node)
}
