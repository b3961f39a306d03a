//! `GroupNormalization` is the normalization of each group as one row, then scaled and shifted per channel; before opset
//! 21 per group.
//!
//! The statistics are computed in single precision, as the operator says, and the quotient is cast back.
//!
//! Declines where the number of dimensions or of channels is not known.

use crate::ops::norm::EPSILON;
use crate::ir::OpKind::{Custom, GroupNormalization, Reshape, Shape, Sqrt, Unsqueeze};
use crate::ir::{DType, Key};
use crate::rewrite::{Exactness, Expr, Rule, any_of, applies};
use crate::rules::support::spelled_out::{Numbers, UNKNOWN_RANK, cast, ints, mean};

const GROUPS: Key<i64> = Key::new("num_groups", 0);

pub fn rule() -> Rule {
    Rule::new("lower-group-normalization", Exactness::Rounding, any_of(&[GroupNormalization, Custom]), |m| {
        let root = m.root();
        let node = root.node();
        // The graph has no other form for what scale and shift were before opset 21.
        applies(node.op_name() == "GroupNormalization" && node.domain().is_empty())?;
        let by_group = node.op == Custom;
        let dtype = Numbers::like(root.ty(0).unwrap_or(&crate::ir::Type::Unknown))?.dtype;
        let rank = root.rank(0).and_then(|r| i64::try_from(r).ok()).filter(|&r| r >= 2).ok_or(UNKNOWN_RANK)?;
        let groups = GROUPS.of(node);
        applies(groups > 0)?;
        let [x, scale, shift] = [0, 1, 2].map(|slot| Expr::from(root.operand(slot)));
        let whole = Shape.emit([x.clone()]);
        let wide = |x: Expr| if dtype == DType::F32 { x } else { cast(x, DType::F32) };
        let narrow = |x: Expr| if dtype == DType::F32 { x } else { cast(x, dtype) };
        let rows = Reshape.emit([wide(x), ints(&[0, groups, -1])]);
        let centred = rows.clone() - mean(rows, &[-1]);
        let variance = mean(centred.clone() * centred.clone(), &[-1]);
        let epsilon = Numbers { dtype: DType::F32 }.of(EPSILON.of(node).into())?;
        let unit = narrow(centred / Sqrt.emit([variance + epsilon]));
        let column = |x: Expr, rank: i64| Unsqueeze.emit([x, ints(&(1..rank - 1).collect::<Vec<_>>())]);
        let y = if by_group {
            Reshape.emit([unit * column(scale, 3) + column(shift, 3), whole])
        } else {
            let unit = Reshape.emit([unit, whole]);
            let [scale, shift] = [scale, shift].map(|p| if rank == 2 { p } else { column(p, rank) });
            unit * scale + shift
        };
        Ok(y.named_like(root))
    })
}
