//! A `MatMul` of factors whose last two axes are swapped, or that are scaled, is one `FusedMatMul`, for targets that
//! have that.
//!
//! Of single precision, as there is a kernel for no other. A transpose that is also read elsewhere stays: it has to be
//! computed anyway.

use crate::ir::DType;
use crate::ir::OpKind::MatMul;
use crate::rewrite::{Exactness, Rule, Skip, applies, contrib};
use crate::rules::support::product::Factor;

pub fn rule() -> Rule {
    Rule::new("fuse-transpose-into-matmul", Exactness::Rounding, MatMul.any(), |m| {
        let root = m.root();
        applies(root.dtype(0) == Some(DType::F32))?;
        let [a, b] = [0, 1].map(|slot| Some(Factor::of(m.graph(), root.operand(slot)?, root.id())));
        let (a, b) = a.zip(b).ok_or(Skip::NotThis)?;
        // Of a vector, runtimes make a matrix in their own ways.
        let is_matrix = |slot: usize| root.rank(slot).is_some_and(|rank| rank >= 2);
        applies(is_matrix(0) && is_matrix(1))?;
        let scale = (a.scale * b.scale) as f32;
        applies((a.transposed || b.transposed || scale != 1.0) && scale.is_normal())?;
        let mut fused = contrib("FusedMatMul", [a.value.into(), b.value.into()]).named_like(root);
        for (name, factor) in [("transA", &a), ("transB", &b)] {
            fused = if factor.transposed { fused.with(name, 1) } else { fused };
        }
        Ok(if scale == 1.0 { fused } else { fused.with("alpha", scale) })
    })
    .for_contrib("FusedMatMul")
}
