//! `Concat`, `Max`, `Mean`, `Min` and `Sum` of one operand are that operand, and so is `Split` into one part.

use crate::ir::OpKind::{Concat, Max, Mean, Min, Split, Sum};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies};

pub fn rule() -> Rule {
    Rule::new("drop-single", Exactness::Bitwise, any_of(&[Concat, Max, Mean, Min, Split, Sum]), |m| {
        let root = m.root();
        applies(match root.node().op {
            Split => m.graph().results(root.id()).len() == 1,
            _ => root.operand_count() == 1,
        })?;
        root.operand(0).ok_or(Skip::NotThis)
    })
}
