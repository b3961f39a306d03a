//! `ConcatFromSequence` of a `SequenceConstruct` is a `Concat`, of its elements or of each with the new axis.
//!
//! Few runtimes have sequences.

use crate::ir::OpKind::{Concat, ConcatFromSequence, SequenceConstruct, Unsqueeze};
use crate::ir::Tensor;
use crate::ops::sequence::{AXIS, NEW_AXIS};
use crate::rewrite::{Exactness, Expr, Rule, Skip, call};

pub fn rule() -> Rule {
    let list = call("list");
    let pattern = ConcatFromSequence.any().on(SequenceConstruct.any().bind(list));
    Rule::new("turn-sequence-into-concat", Exactness::Bitwise, pattern, move |m| {
        let (join, list) = (m.root(), m.call(list));
        let axis = AXIS.of(join.node());
        let elements: Option<Vec<Expr>> = (0..list.operand_count()).map(|slot| list.operand(slot).map(Expr::from)).collect();
        let mut elements = elements.ok_or(Skip::NotThis)?;
        if NEW_AXIS.of(join.node()) {
            elements = elements.into_iter().map(|x| Unsqueeze.emit([x, Tensor::vector(&[axis]).into()])).collect();
        }
        Ok(Concat.emit(elements).with("axis", axis).named_like(join))
    })
    .even_if_shared()
}
