//! `Concat` of all parts of a `Split`, in order and along the same axis, is what was split.

use crate::ir::OpKind::{Concat, Split};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Rule, Skip, applies};
use crate::rules::support::parts::{operands, same_axis};

pub fn rule() -> Rule {
    Rule::new("drop-concat-of-split", Exactness::Bitwise, Concat.any(), |m| {
        let root = m.root();
        let first = root.operand(0).ok_or(Skip::NotThis)?;
        let (node, _) = m.graph().producer(first).ok_or(Skip::NotThis)?;
        let split = CallView::new(m.graph(), node);
        applies(split.node().op == Split && same_axis(&root, &split))?;
        let parts: Option<Vec<_>> = m.graph().results(node).iter().copied().collect();
        applies(operands(&root) == parts)?;
        split.operand(0).ok_or(Skip::NotThis)
    })
}
