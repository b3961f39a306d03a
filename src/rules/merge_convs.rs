//! Two `Conv` in a row, one of them with a kernel of one element, are one: `W∗(V∗x + a) + b` is `(W·V)∗x + (W·a + b)`.
//!
//! Where the result has no more weights than the two. Declines where it has more, as behind a bottleneck; where a
//! weight is also read elsewhere; where the first has a bias and the second pads; and where the product would overflow
//! its type.

use crate::ir::OpKind::Conv;
use crate::rewrite::{Exactness, Rule, call};
use crate::rules::support::linear::Linear;

pub fn rule() -> Rule {
    let (inner, outer) = (call("inner"), call("outer"));
    let pattern = Conv.any().on(Conv.any().bind(inner)).bind(outer);
    Rule::new("merge-convs", Exactness::Rounding, pattern, move |m| {
        let (inner, outer) = (Linear::read(m.call(inner))?, Linear::read(m.call(outer))?);
        outer.after_conv(m, &inner)
    })
}
