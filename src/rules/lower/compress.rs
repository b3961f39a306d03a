//! `Compress(x, condition)` by a constant condition is a `Gather`.
//!
//! Declines where the condition is computed, and where all axes are taken as one.

use crate::ir::OpKind::{Compress, Gather};
use crate::ir::{Attr, Tensor};
use crate::rewrite::{Exactness, Rule, Skip, constant, var};

pub fn rule() -> Rule {
    let (x, condition) = (var("x"), constant("condition"));
    Rule::new("lower-compress", Exactness::Bitwise, Compress.of((x, condition)), move |m| {
        let Some(Attr::Int(axis)) = m.root().node().attr("axis") else {
            return Err(Skip::Unsuitable("it takes all axes as one"));
        };
        let chosen = m[condition].integers().ok_or(Skip::NotThis)?;
        let chosen = chosen.iter().enumerate().filter(|(_, c)| **c != 0);
        let indices: Vec<i64> = chosen.filter_map(|(i, _)| i64::try_from(i).ok()).collect();
        Ok(Gather.emit([m[x].into(), Tensor::vector(&indices).into()]).with("axis", *axis).named_like(m.root()))
    })
}
