//! The Gaussian error linear unit spelled out is `Gelu` before opset 20 too, for targets that have one of their own; by
//! Tanh, it is `FastGelu`.
//!
//! Spellings as for fuse-gelu. Of single precision, as there is a kernel for no other. Declines where something on the
//! way is also read elsewhere.

use crate::ir::DType;
use crate::ir::OpKind::{Add, Div, Mul, Tanh};
use crate::rewrite::{Exactness, Rule, any_of, applies, contrib};
use crate::rules::fuse_gelu::read;

pub fn rule() -> Rule {
    Rule::new("fuse-early-gelu", Exactness::Rounding, any_of(&[Mul, Div, Add]), |m| {
        applies(m.opset() < 20 && m.root_ty().dtype() == Some(DType::F32))?;
        let found = read(m)?;
        let name = if found.what == Tanh { "FastGelu" } else { "Gelu" };
        Ok(contrib(name, [found.x.into()]).named_like(m.root()))
    })
    .even_if_shared()
    .for_contrib("Gelu")
}
