//! `EmbedLayerNormalization(ids, segments, words, positions, kinds, scale, shift, mask, places)` is the
//! `LayerNormalization` over the last axis of the sum of a row of each table, that of words for each of `ids`, that of
//! positions for each of `places` or, without those, one after the other; its second result is the count of the mask,
//! its third the sum.

use super::{any, called, is_unread, operand};
use crate::ir::OpKind::{Add, Gather, LayerNormalization, ReduceSum, Shape, Slice};
use crate::ir::{Key, Tensor};
use crate::rewrite::{Exactness, Expr, Replacement, Rule, applies};

const EPSILON: Key<f32> = Key::new("epsilon", 1e-12);

pub(super) fn rule() -> Rule {
    Rule::new("expand-embed-layer-norm", Exactness::Rounding, any(), |m| {
        let call = called(m, "EmbedLayerNormalization")?;
        let counted = !is_unread(&call, 1);
        applies((!counted || call.has(7)) && call.has(1) == call.has(4))?;
        let rows = |table: usize, of: Expr| Ok(Gather.emit([operand(&call, table)?, of]));
        let positions = match call.operand(8) {
            Some(places) => rows(3, places.into())?,
            None => {
                let length = Shape.emit([operand(&call, 0)?]).with("start", 1).with("end", 2);
                let zero = || Expr::from(Tensor::vector(&[0]));
                Slice.emit([operand(&call, 3)?, zero(), length, zero()])
            }
        };
        let mut sum = Add.emit([rows(2, operand(&call, 0)?)?, positions]);
        if let Some(segments) = call.operand(1) {
            sum = Add.emit([sum, rows(4, segments.into())?]);
        }
        let operands = [sum.clone(), operand(&call, 5)?, operand(&call, 6)?];
        let norm = LayerNormalization.emit(operands).named_like(call).with("axis", -1);
        let norm = norm.with("epsilon", EPSILON.of(call.node()));
        let mut results = vec![(0, norm), (2, sum)];
        if counted {
            let count = ReduceSum.emit([operand(&call, 7)?, Tensor::vector(&[1]).into()]).with("keepdims", 0);
            results.push((1, count));
        }
        Ok(results.into_iter().collect::<Replacement>())
    })
}
