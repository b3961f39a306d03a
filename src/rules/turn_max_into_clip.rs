//! `Max(x, c)` with one number is `Clip` from c up, and `Min(x, c)` is `Clip` up to c. For floats.
//!
//! So a `Min` of a `Max` becomes one `Clip`, and `Max(x, 0)` becomes `Relu`. Results may differ in the sign of a zero and
//! in what becomes of NaN, which runtimes treat each their own way. Declines where the constant's shape would make the
//! result larger than `x`.

use crate::ir::OpKind::{Clip, Max, Min};
use crate::ir::{DType, Tensor};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, constant, require, var};
use crate::rules::support::broadcast::keeps_shape;
use crate::rules::support::numbers::is_foldable_float;

pub fn rule() -> Rule {
    let (x, bound) = (var("x"), constant("bound"));
    let pattern = Max.of((x, bound)).or(Min.of((x, bound)));
    Rule::new("turn-max-into-clip", Exactness::Rounding, pattern, move |m| {
        let dtype = m[bound].dtype();
        // Before opset 11 bounds are attributes of single precision.
        let fits = dtype == DType::F32 || dtype == DType::F16 || m.opset() >= 12;
        applies(is_foldable_float(dtype) && fits && m.graph().constant(m[x]).is_none())?;
        let at = m[bound].real(0).filter(|at| !at.is_nan()).ok_or(Skip::NotThis)?;
        applies(m[bound].uniform_real() == Some(at))?;
        require(keeps_shape(m, x, &m[bound]), "the constant may broadcast x to a larger shape")?;
        let at: Expr = Tensor::rounded(dtype, &[], &[at]).map_err(|_| Skip::NotThis)?.into();
        let operands = match m.root().node().op {
            Max => [m[x].into(), at, Expr::Absent],
            _ => [m[x].into(), Expr::Absent, at],
        };
        Ok(Clip.emit(operands).named_like(m.root()))
    })
}
