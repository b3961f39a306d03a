//! `Expand(Expand(x))` is one `Expand` where the second names every size of the result.

use crate::ir::OpKind::Expand;
use crate::rewrite::{Exactness, Rule, Skip, applies, call, var};

pub fn rule() -> Rule {
    let (x, inner, shape, outer) = (var("x"), var("inner"), var("shape"), call("outer"));
    let pattern = Expand.of((Expand.of((x, inner)), shape)).bind(outer);
    Rule::new("merge-expands", Exactness::Bitwise, pattern, move |m| {
        let outer = m.call(outer);
        let sizes = outer.ints(1).ok_or(Skip::NotThis)?;
        applies(m.root_shape().dims() == Some(&sizes[..]))?;
        Ok(Expand.emit([m[x].into(), m[shape].into()]).named_like(outer))
    })
    .even_if_shared()
}
