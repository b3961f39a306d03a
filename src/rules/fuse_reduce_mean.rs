//! A sum divided by how many elements it is of is `ReduceMean`: `ReduceSum(x) / n`, or times `1/n`. For floats, over
//! constant axes of known size.
//!
//! Declines where the sum is also read elsewhere.

use crate::ir::OpKind::{Div, Mul, ReduceMean, ReduceSum};
use crate::rewrite::{Exactness, Rule, Skip, applies, call, constant, var};
use crate::rules::support::broadcast::absorbs_constant;
use crate::rules::support::formula::near;
use crate::rules::support::reductions::{reduced, retold};

pub fn rule() -> Rule {
    let (x, sum, count) = (var("x"), call("sum"), constant("count"));
    let total = || ReduceSum.any().on(x).bind(sum);
    let pattern = Div.of((total(), count)).or(Mul.of((total(), count)));
    Rule::new("fuse-reduce-mean", Exactness::Rounding, pattern, move |m| {
        let sum = m.call(sum);
        let (axes, dims) = (reduced(&sum).ok_or(Skip::NotThis)?, sum.dims(0).ok_or(Skip::NotThis)?);
        let mut sizes = axes.iter().map(|&axis| dims.get(axis)?.known());
        let wanted = sizes.try_fold(1i64, |n, d| n.checked_mul(d?)).filter(|&n| n > 0).ok_or(Skip::NotThis)?;
        let given = m[count].real(0).and_then(|_| m[count].uniform_real()).ok_or(Skip::NotThis)?;
        let given = if m.root().node().op == Div { given } else { 1.0 / given };
        applies(near(given, wanted as f64, m[count].dtype()))?;
        // The count may be of more dimensions.
        applies(sum.result_ty(0).is_some_and(|ty| absorbs_constant(ty.shape(), &m[count])))?;
        retold(ReduceMean, m[x], &sum)
    })
}
