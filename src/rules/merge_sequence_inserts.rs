//! `SequenceInsert` into a sequence whose elements are known is a `SequenceConstruct` of one more.
//!
//! So lists go that an exporter appended to step by step. The sequence is empty at first, or constructed.

use crate::ir::OpKind::{SequenceConstruct, SequenceEmpty, SequenceInsert};
use crate::ir::Tensor;
use crate::ops::normalize_axis;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::parts::made_by;

/// Lists grow up to this length.
const MOST_ELEMENTS: usize = 256;

pub fn rule() -> Rule {
    Rule::new("merge-sequence-inserts", Exactness::Bitwise, SequenceInsert.any(), |m| {
        let insert = m.root();
        let list = insert.operand(0).ok_or(Skip::NotThis)?;
        let mut elements: Vec<Expr> = match made_by(&insert, list, SequenceConstruct) {
            Some(list) => (0..list.operand_count()).filter_map(|slot| list.operand(slot)).map(Expr::from).collect(),
            None => made_by(&insert, list, SequenceEmpty).map(|_| Vec::new()).ok_or(Skip::NotThis)?,
        };
        applies(elements.len() < MOST_ELEMENTS)?;
        let place = match insert.has(2) {
            true => {
                let unknown = Skip::Unsuitable("where it is inserted is not known");
                let position = insert.constant(2).and_then(Tensor::integer).ok_or(unknown)?;
                // The end is a place, too; from the back, places count from the last element.
                match usize::try_from(position) {
                    Ok(position) => Some(position).filter(|&place| place <= elements.len()),
                    Err(_) => normalize_axis(position, elements.len()),
                }
            }
            false => Some(elements.len()),
        };
        let element = insert.operand(1).ok_or(Skip::NotThis)?;
        elements.insert(place.ok_or(Skip::NotThis)?, element.into());
        Ok(SequenceConstruct.emit(elements).named_like(insert))
    })
}
