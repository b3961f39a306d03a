//! `Slice(Slice(x))` with constant bounds is one `Slice`.
//!
//! Along different axes always; along the same axis where both go forward and the composition does not depend on a
//! size that only a run tells.

use crate::ir::OpKind::Slice;
use crate::ir::Tensor;
use crate::rewrite::{Exactness, Rule, Skip, applies, call, require};
use crate::rules::support::slices::{Cut, cuts};

pub fn rule() -> Rule {
    let (inner, outer) = (call("inner"), call("outer"));
    let pattern = Slice.any().on(Slice.any().bind(inner)).bind(outer);
    Rule::new("merge-slices", Exactness::Bitwise, pattern, move |m| {
        let (inner, outer) = (m.call(inner), m.call(outer));
        let mut merged = cuts(&inner).ok_or(Skip::NotThis)?;
        let second = cuts(&outer).ok_or(Skip::NotThis)?;
        // Without a rank, −1 may be any axis.
        let named = inner.rank(0).is_some() || merged.iter().chain(&second).all(|c| c.axis >= 0);
        applies(named)?;
        for cut in second {
            match merged.iter_mut().find(|c| c.axis == cut.axis) {
                None => merged.push(cut),
                Some(first) => {
                    let size = usize::try_from(cut.axis).ok().and_then(|a| inner.dims(0)?.get(a)?.known());
                    let both = first.then(cut, size);
                    require(both.is_some(), "where the second slice ends depends on the run")?;
                    *first = both.unwrap_or(*first);
                }
            }
        }
        let column = |f: fn(&Cut) -> i64| Tensor::vector(&merged.iter().map(f).collect::<Vec<_>>()).into();
        let x = inner.operand(0).into();
        let operands = [x, column(|c| c.start), column(|c| c.end), column(|c| c.axis), column(|c| c.step)];
        Ok(Slice.emit(operands).named_like(outer))
    })
    .even_if_shared()
}
