//! `GatherND` at the places where a mask holds is `Compress` by that mask: `GatherND(x, Transpose(NonZero(mask)))`.
//!
//! For a mask of one axis, as long as the first axis of x.

use crate::ops::gather::BATCH_DIMS;
use crate::ir::DType;
use crate::ir::OpKind::{Compress, GatherND, NonZero};
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call, var};
use crate::rules::support::views::{VIEWS, is_view};


pub fn rule() -> Rule {
    let (x, mask, places, turned) = (var("x"), var("mask"), call("places"), call("turned"));
    let pattern = GatherND.of((x, any_of(VIEWS).on(NonZero.of(mask).bind(places)).bind(turned)));
    Rule::new("turn-gather-nd-into-compress", Exactness::Bitwise, pattern, move |m| {
        let turned = m.call(turned);
        // One row of places became one column of them.
        let column = turned.result_dims(0).is_some_and(|d| d.len() == 2 && d[1].known() == Some(1));
        let (dims, length) = (m.shape(x).dims().ok_or(Skip::NotThis)?, m.shape(mask).dims().ok_or(Skip::NotThis)?);
        applies(is_view(&turned) && column && length.len() == 1 && dims.first() == length.first())?;
        applies(m.ty(mask).dtype() == Some(DType::Bool) && BATCH_DIMS.of(m.root().node()) == 0)?;
        Ok(Compress.emit([m[x].into(), m[mask].into()]).named_like(m.root()).with("axis", 0))
    })
    .even_if_shared()
}
