//! `LayerNormalization(x, scale, shift)` is `(x - mean) / √(variance + ε) · scale + shift` over the last axes; mean and
//! one over the root are its other results.
//!
//! The statistics are computed in single precision, as the operator says, and the quotient is cast back.
//!
//! Declines where the axes count from the front of an unknown rank.

use crate::ops::norm::EPSILON;
use crate::ir::OpKind::{LayerNormalization, Reciprocal, Sqrt};
use crate::ir::{DType, Key};
use crate::rewrite::{Exactness, Expr, Replacement, Rule};
use crate::rules::support::spelled_out::{Numbers, UNKNOWN_RANK, cast, mean, trailing};

const AXIS: Key<i64> = Key::new("axis", -1);

pub fn rule() -> Rule {
    Rule::new("lower-layer-normalization", Exactness::Rounding, LayerNormalization.any(), |m| {
        let root = m.root();
        let dtype = Numbers::like(root.ty(0).unwrap_or(&crate::ir::Type::Unknown))?.dtype;
        let axes = trailing(AXIS.of(root.node()), root.rank(0)).ok_or(UNKNOWN_RANK)?;
        let n = Numbers { dtype: DType::F32 };
        let [x, scale, shift] = [0, 1, 2].map(|slot| Expr::from(root.operand(slot)));
        let x = if dtype == DType::F32 { x } else { cast(x, DType::F32) };
        let average = mean(x.clone(), &axes);
        let centred = x - average.clone();
        let variance = mean(centred.clone() * centred.clone(), &axes);
        let inverse = Reciprocal.emit([Sqrt.emit([variance + n.of(EPSILON.of(root.node()).into())?])]);
        let unit = centred * inverse.clone();
        let unit = if dtype == DType::F32 { unit } else { cast(unit, dtype) };
        let mut y = unit * scale;
        if root.has(2) {
            y = y + shift;
        }
        let results = [(0, y.named_like(root)), (1, average), (2, inverse)];
        let graph = m.graph();
        Ok(results.into_iter().filter(|(slot, _)| graph.result(root.id(), *slot).is_some()).collect::<Replacement>())
    })
}
