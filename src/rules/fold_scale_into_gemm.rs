//! `Mul` or `Div` of a `Gemm` by one number is the `Gemm` with other `alpha` and `beta`, where its weight is not known.

use crate::ops::matmul::{ALPHA, BETA};
use crate::ir::OpKind::{Div, Gemm, Mul};
use crate::ir::DType;
use crate::rewrite::{Exactness, Rule, Skip, applies, call, constant, require};


pub fn rule() -> Rule {
    let (gemm, k) = (call("gemm"), constant("k"));
    let pattern = Mul.of((Gemm.any().bind(gemm), k)).or(Div.of((Gemm.any().bind(gemm), k)));
    Rule::new("fold-scale-into-gemm", Exactness::Rounding, pattern, move |m| {
        let gemm = m.call(gemm);
        // The attributes have the precision of float.
        applies(gemm.constant(1).is_none() && m[k].rank() <= 2 && m[k].dtype() != DType::F64)?;
        let k = m[k].item().ok_or(Skip::NotThis)?;
        let scaled = |x: f32| {
            let x = f64::from(x);
            (if m.root().node().op == Div { x / k } else { x * k }) as f32
        };
        let (alpha, beta) = (scaled(ALPHA.of(gemm.node())), scaled(BETA.of(gemm.node())));
        require(alpha.is_normal() && beta.is_finite(), "alpha would overflow or vanish")?;
        let operands: Vec<_> = (0..gemm.operand_count()).map(|slot| gemm.operand(slot).into()).collect();
        let scaled = Gemm.emit(operands).like(gemm).with("alpha", alpha);
        Ok(if gemm.has(2) { scaled.with("beta", beta) } else { scaled })
    })
}
