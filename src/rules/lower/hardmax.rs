//! `Hardmax(x)` is the `OneHot` of `ArgMax(x)`.
//!
//! Declines where the type or the size along the axis is not known.

use crate::ir::OpKind::{ArgMax, Hardmax, OneHot};
use crate::ir::{Key, Tensor};
use crate::ops::normalize_axis;
use crate::rewrite::{Exactness, Expr, Rule, Skip, var};
use crate::rules::support::numbers::finite;
use crate::rules::support::spelled_out::Numbers;

const AXIS: Key<i64> = Key::new("axis", -1);

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("lower-hardmax", Exactness::Bitwise, Hardmax.of(x), move |m| {
        let (root, dtype) = (m.root(), Numbers::like(m.ty(x))?.dtype);
        let dims = root.dims(0).unwrap_or_default();
        let size = normalize_axis(AXIS.of(root.node()), dims.len()).and_then(|axis| dims[axis].known());
        let size = size.filter(|&n| n > 0).ok_or(Skip::Unsuitable("the size along the axis is not known"))?;
        let axis = AXIS.of(root.node());
        let first = ArgMax.emit([m[x].into()]).with("axis", axis).with("keepdims", 0);
        let values = finite(dtype, &[2], &[0.0, 1.0]).map_or(Expr::Absent, Expr::Constant);
        Ok(OneHot.emit([first, Tensor::scalar(size).into(), values]).with("axis", axis).named_like(root))
    })
}
