//! `Where(¬c, a, b)` is `Where(c, b, a)`.

use crate::ir::OpKind::{Not, Where};
use crate::rewrite::{Exactness, Rule, var};

pub fn rule() -> Rule {
    let [c, a, b] = ["c", "a", "b"].map(var);
    Rule::new("drop-not-before-where", Exactness::Bitwise, Where.of((Not.of(c), a, b)), move |m| {
        Ok(Where.emit([m[c].into(), m[b].into(), m[a].into()]).like(m.root()))
    })
}
