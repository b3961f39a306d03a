//! `Concat` of a `Concat` along the same axis is one `Concat`.
//!
//! Declines where the inner one is also read elsewhere, or stands more than once in the outer one: written out, its
//! operands would double at every level.

use crate::ir::OpKind::Concat;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::parts::{made_by, operands, same_axis};
use crate::rules::support::readers::only_read_by;

pub fn rule() -> Rule {
    Rule::new("merge-concats", Exactness::Bitwise, Concat.any(), |m| {
        let root = m.root();
        let outer = operands(&root).ok_or(Skip::NotThis)?;
        let (mut flat, mut shared): (Vec<Expr>, bool) = (Vec::new(), false);
        for &part in &outer {
            match made_by(&root, part, Concat).filter(|inner| same_axis(&root, inner)) {
                Some(inner) if m.graph().value(part).users().len() == 1 && only_read_by(m.graph(), part, root.id()) => {
                    flat.extend(operands(&inner).ok_or(Skip::NotThis)?.into_iter().map(Expr::from));
                }
                inner => {
                    shared |= inner.is_some();
                    flat.push(part.into());
                }
            }
        }
        if flat.len() == outer.len() && shared {
            return Err(Skip::InnerResultShared);
        }
        applies(flat.len() > outer.len())?;
        Ok(Concat.emit(flat).like(root))
    })
}
