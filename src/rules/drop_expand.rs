//! `Expand` to the shape that `x` has, and `Tile` that repeats nothing, are `x`.

use crate::ir::OpKind::{Expand, Tile};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies};

pub fn rule() -> Rule {
    Rule::new("drop-expand", Exactness::Bitwise, any_of(&[Expand, Tile]), |m| {
        let root = m.root();
        let x = root.operand(0).ok_or(Skip::NotThis)?;
        // Whatever the rank: a repetition of 1 along every axis, an expansion to a scalar's shape.
        let trivial = root.known_ints(1).is_some_and(|n| match root.node().op {
            Tile => n.iter().all(|&n| n == 1),
            _ => n.is_empty(),
        });
        applies(trivial || m.graph().value(x).ty.shape().surely_equals(m.root_shape()))?;
        Ok(x)
    })
}
