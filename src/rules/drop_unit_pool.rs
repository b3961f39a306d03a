//! `AveragePool` and `MaxPool` with a window of one element and no step are `x`, and so are global pools over axes of
//! size 1.
//!
//! Results may differ in the sign of a zero. Declines where the pool pads.

use crate::ir::OpKind::{AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool};
use crate::ir::{Int, Key};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, require};
use crate::rules::support::readers::only_first_is_read;

const KERNEL: Key<&[i64]> = Key::new("kernel_shape", &[]);
const STRIDES: Key<&[i64]> = Key::new("strides", &[]);
const PADS: Key<&[i64]> = Key::new("pads", &[]);

pub fn rule() -> Rule {
    let pattern = any_of(&[AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool]);
    Rule::new("drop-unit-pool", Exactness::Rounding, pattern, |m| {
        let root = m.root();
        if matches!(root.node().op, AveragePool | MaxPool) {
            let ones = |list: &[i64]| list.iter().all(|&n| n == 1);
            let kernel = KERNEL.of(root.node());
            applies(!kernel.is_empty() && ones(kernel) && ones(STRIDES.of(root.node())) && only_first_is_read(m))?;
            require(PADS.of(root.node()).iter().all(|&p| p == 0), "the pool pads")?;
        } else {
            let spatial = root.dims(0).and_then(|d| d.get(2..)).ok_or(Skip::NotThis)?;
            applies(spatial.iter().map(Int::known).all(|d| d == Some(1)))?;
        }
        root.operand(0).ok_or(Skip::NotThis)
    })
}
