//! `CastLike(x, y)` is `Cast` of `x` to the type of `y`, which need not be computed for it.

use crate::ir::OpKind::{Cast, CastLike};
use crate::rewrite::{Exactness, Rule, Skip, call, var};

pub fn rule() -> Rule {
    let (x, like, cast) = (var("x"), var("like"), call("cast"));
    Rule::new("resolve-cast-like", Exactness::Bitwise, CastLike.of((x, like)).bind(cast), move |m| {
        let to = m.ty(like).dtype().ok_or(Skip::NotThis)?;
        Ok(Cast.emit([m[x].into()]).like(m.call(cast)).with("to", i64::from(to.code())))
    })
}
