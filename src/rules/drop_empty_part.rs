//! An operand of `Concat` that is empty along its axis adds nothing: `Concat(x, e, z)` is `Concat(x, z)`.

use crate::ir::OpKind::Concat;
use crate::ir::{Int, ValueId};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::parts::{axis, operands, size};

pub fn rule() -> Rule {
    Rule::new("drop-empty-part", Exactness::Bitwise, Concat.any(), |m| {
        let root = m.root();
        let all = operands(&root).ok_or(Skip::NotThis)?;
        let axis = axis(&root).ok_or(Skip::NotThis)?;
        let rank = |part: ValueId| m.graph().value(part).ty.shape().rank();
        // Of another rank it would be no operand, which is not for a rule to mend.
        let alike = all.iter().all(|&part| rank(part).is_some() && rank(part) == rank(all[0]));
        applies(alike)?;
        let is_empty = |part: ValueId| size(&root, part, axis).and_then(Int::known) == Some(0);
        let kept: Vec<ValueId> = all.iter().copied().filter(|&part| !is_empty(part)).collect();
        applies(!kept.is_empty() && kept.len() < all.len())?;
        Ok(Concat.emit(kept.into_iter().map(Expr::from)).like(root))
    })
}
