//! `Add` and `Sub` of constants in a row are one: `(x + a) − b` is `x + (a − b)`, for floats.
//!
//! Declines where a constant is so large that adding it rounds the fraction of `x` away: that may be what it is there
//! for. Declines, too, where the sum would be larger than either constant, and where one of more than 64 KB is also
//! read elsewhere.

use crate::ir::OpKind::{Add, Sub};
use crate::ir::{DType, Tensor};
use crate::rewrite::{Exactness, Rule, Skip, applies, call, constant, require, var};
use crate::rules::support::numbers::{combine, is_foldable_float, may_replace};

pub fn rule() -> Rule {
    let (x, a, b, inner, outer) = (var("x"), constant("a"), constant("b"), call("inner"), call("outer"));
    let first = || Add.of((x, a)).bind(inner).or(Sub.of((x, a)).bind(inner));
    let pattern = Add.of((first(), b)).bind(outer).or(Sub.of((first(), b)).bind(outer));
    Rule::new("merge-shifts", Exactness::Rounding, pattern, move |m| {
        applies(is_foldable_float(m[a].dtype()))?;
        require(may_replace(m, a) && may_replace(m, b), "a constant is shared with another node")?;
        require(is_small(&m[a]) && is_small(&m[b]), "a constant may be there to round x")?;
        let sign = |op| if op == Sub { -1.0 } else { 1.0 };
        let (s, t) = (sign(m.call(inner).node().op), sign(m.call(outer).node().op));
        let limit = m[a].len().max(m[b].len());
        let shift = combine(&m[a], &m[b], limit, |a, b| s * a + t * b).ok_or(Skip::NotThis)?;
        Ok(Add.emit([m[x].into(), shift.into()]).named_like(m.call(outer)))
    })
}

/// Whether adding the constant to a number near 1 keeps half of the bits behind the point.
fn is_small(t: &Tensor) -> bool {
    let bits = match t.dtype() {
        DType::F16 => 11,
        DType::BF16 => 8,
        DType::F32 => 24,
        _ => 53,
    };
    t.reals().is_some_and(|r| r.iter().all(|x| x.abs() <= f64::from(1u32 << (bits / 2))))
}
