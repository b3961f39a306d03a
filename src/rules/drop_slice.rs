//! `Slice` that takes everything is nothing.

use crate::ir::OpKind::Slice;
use crate::rewrite::{Exactness, Rule, Skip, applies};
use crate::rules::support::slices::{Cut, UNBOUNDED, cuts};

pub fn rule() -> Rule {
    Rule::new("drop-slice", Exactness::Bitwise, Slice.any(), |m| {
        let root = m.root();
        let x = root.operand(0).ok_or(Skip::NotThis)?;
        let whole = |c: &Cut| c.start == 0 && c.end >= UNBOUNDED && c.step == 1;
        let everything = cuts(&root).is_some_and(|cuts| cuts.iter().all(whole));
        // Going forward, as many elements as there are is all of them.
        let forward = !root.has(4) || root.known_ints(4).is_some_and(|steps| steps.iter().all(|&s| s > 0));
        applies(everything || forward && m.graph().value(x).ty.shape().surely_equals(m.root_shape()))?;
        Ok(x)
    })
}
