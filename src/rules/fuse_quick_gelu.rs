//! `x · sigmoid(α · x)`, or the `Swish` that it is, is `QuickGelu` for targets that have that, of any opset.
//!
//! Of single precision, as there is a kernel for no other. Declines where the gate is also read elsewhere.

use crate::ir::OpKind::{Mul, Swish};
use crate::ir::{DType, Key};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, contrib};
use crate::rules::fuse_swish::read;

const ALPHA: Key<f32> = Key::new("alpha", 1.0);

pub fn rule() -> Rule {
    Rule::new("fuse-quick-gelu", Exactness::Rounding, any_of(&[Mul, Swish]), |m| {
        let root = m.root();
        applies(root.dtype(0) == Some(DType::F32))?;
        let (x, alpha) = match root.node().op {
            Swish => (root.operand(0).ok_or(Skip::NotThis)?, ALPHA.of(root.node())),
            _ => read(m).map(|found| (found.x, found.what as f32))?,
        };
        Ok(contrib("QuickGelu", [x.into()]).with("alpha", alpha).named_like(root))
    })
    .even_if_shared()
    .for_contrib("QuickGelu")
}
