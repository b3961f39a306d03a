//! `x + (−y)` is `x − y`, and `x − (−y)` is `x + y`.

use crate::ir::OpKind::{Add, Neg, Sub};
use crate::rewrite::{Exactness, Rule, call, var};

pub fn rule() -> Rule {
    let (x, y, root) = (var("x"), var("y"), call("root"));
    let pattern = Add.of((x, Neg.of(y))).bind(root).or(Sub.of((x, Neg.of(y))).bind(root));
    Rule::new("fold-negation", Exactness::Bitwise, pattern, move |m| {
        let opposite = if m.call(root).node().op == Add { Sub } else { Add };
        Ok(opposite.emit([m[x].into(), m[y].into()]).named_like(m.call(root)))
    })
}
