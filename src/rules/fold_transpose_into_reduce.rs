//! A reduction of a `Transpose` that leaves the other axes in order is that reduction of `x`, over the axes where they
//! come from.
//!
//! Declines where the result would have its axes in another order, as it has when the reduction keeps them.

use crate::ir::OpKind::Transpose;
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call, require};
use crate::rules::support::axes::{self, permutation};
use crate::rules::support::reductions::{KEEPDIMS, REDUCTIONS, reduced};

pub fn rule() -> Rule {
    let (transpose, reduce) = (call("transpose"), call("reduce"));
    let pattern = any_of(REDUCTIONS).on(Transpose.any().bind(transpose)).bind(reduce);
    Rule::new("fold-transpose-into-reduce", Exactness::Rounding, pattern, move |m| {
        let (transpose, reduce) = (m.call(transpose), m.call(reduce));
        let (perm, taken) = (permutation(&transpose).ok_or(Skip::NotThis)?, reduced(&reduce).ok_or(Skip::NotThis)?);
        applies(perm.len() == reduce.rank(0).unwrap_or(perm.len()) && !taken.is_empty())?;
        let left: Vec<usize> = (0..perm.len()).filter(|axis| !taken.contains(axis)).map(|axis| perm[axis]).collect();
        require(!KEEPDIMS.of(reduce.node()) && left.is_sorted(), "the result would have its axes in another order")?;
        let mut from: Vec<usize> = taken.iter().map(|&axis| perm[axis]).collect();
        from.sort_unstable();
        let operands = [transpose.operand(0).into(), axes::operand(&from).into()];
        Ok(reduce.node().op.emit(operands).like(reduce))
    })
}
