//! `Cast` to the type that `x` has is `x`.

use crate::ir::OpKind::Cast;
use crate::rewrite::{Exactness, Rule, applies, var};

pub fn rule() -> Rule {
    let x = var("x");
    Rule::new("drop-cast", Exactness::Bitwise, Cast.of(x), move |m| {
        let from = m.ty(x).dtype();
        applies(from.is_some() && from == super::merge_casts::target(m.root()))?;
        Ok(m[x])
    })
}
