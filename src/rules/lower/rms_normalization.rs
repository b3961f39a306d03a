//! `RMSNormalization(x, scale)` is `x / √(mean of squares + ε) · scale` over the last axes.
//!
//! The statistics are computed in single precision, as the operator says, and the quotient is cast back.
//!
//! Declines where the axes count from the front of an unknown rank.

use crate::ops::norm::EPSILON;
use crate::ir::OpKind::{RMSNormalization, Sqrt};
use crate::ir::{DType, Key};
use crate::rewrite::{Exactness, Expr, Rule, var};
use crate::rules::support::spelled_out::{Numbers, UNKNOWN_RANK, cast, mean, trailing};

const AXIS: Key<i64> = Key::new("axis", -1);

pub fn rule() -> Rule {
    let (x, scale) = (var("x"), var("scale"));
    Rule::new("lower-rms-normalization", Exactness::Rounding, RMSNormalization.of((x, scale)), move |m| {
        let root = m.root();
        let dtype = Numbers::like(m.ty(x))?.dtype;
        let axes = trailing(AXIS.of(root.node()), root.rank(0)).ok_or(UNKNOWN_RANK)?;
        let n = Numbers { dtype: DType::F32 };
        let value: Expr = m[x].into();
        let value = if dtype == DType::F32 { value } else { cast(value, DType::F32) };
        let squares = mean(value.clone() * value.clone(), &axes);
        let unit = value / Sqrt.emit([squares + n.of(EPSILON.of(root.node()).into())?]);
        let unit = if dtype == DType::F32 { unit } else { cast(unit, dtype) };
        Ok((unit * m[scale].into()).named_like(root))
    })
}
