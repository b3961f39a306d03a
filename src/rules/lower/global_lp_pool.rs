//! `GlobalLpPool` is `ReduceL1` or `ReduceL2` over the axes behind the channels.
//!
//! Declines for other norms, and where the number of dimensions is not known.

use crate::ir::Key;
use crate::ir::OpKind::{GlobalLpPool, ReduceL1, ReduceL2};
use crate::rewrite::{Exactness, Rule, Skip, var};
use crate::rules::support::spelled_out::{UNKNOWN_RANK, ints};

const P: Key<i64> = Key::new("p", 2);

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("lower-global-lp-pool", Exactness::Rounding, GlobalLpPool.of(x), move |m| {
        let norm = match P.of(m.root().node()) {
            1 => ReduceL1,
            2 => ReduceL2,
            _ => return Err(Skip::Unsuitable("p is neither 1 nor 2")),
        };
        let rank = m.root().rank(0).and_then(|r| i64::try_from(r).ok()).filter(|&r| r > 2).ok_or(UNKNOWN_RANK)?;
        Ok(norm.emit([m[x].into(), ints(&(2..rank).collect::<Vec<_>>())]).named_like(m.root()))
    })
}
