//! `Slice(Slice(x))` with constant bounds is one `Slice`.
//!
//! Along different axes always; along the same axis where both go forward and the composition does not depend on a
//! size that only a run tells. The first may also be read elsewhere, as long as only by others that merge with it.

use crate::ir::OpKind::Slice;
use crate::ir::{Tensor, User};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Rule, Skip, applies, call};
use crate::rules::support::readers::MOST_READERS;
use crate::rules::support::slices::{Cut, cuts};

pub fn rule() -> Rule {
    let (inner, outer) = (call("inner"), call("outer"));
    let pattern = Slice.any().on(Slice.any().bind(inner)).bind(outer);
    Rule::new("merge-slices", Exactness::Bitwise, pattern, move |m| {
        let (inner, outer) = (m.call(inner), m.call(outer));
        applies(cuts(&inner).is_some() && cuts(&outer).is_some())?;
        let merged = merged(&inner, &outer);
        let merged = merged.ok_or(Skip::Unsuitable("where the second slice ends depends on the run"))?;
        let between = outer.operand(0).ok_or(Skip::NotThis)?;
        let merges = |user: &User| match *user {
            User::Node(node, 0) if m.graph().node(node).op == Slice => {
                self::merged(&inner, &CallView::new(m.graph(), node)).is_some()
            }
            User::Node(..) | User::Output(..) => false,
        };
        let users = m.graph().value(between).users();
        if users.len() > MOST_READERS || !users.iter().all(merges) {
            return Err(Skip::InnerResultShared);
        }
        let column = |f: fn(&Cut) -> i64| Tensor::vector(&merged.iter().map(f).collect::<Vec<_>>()).into();
        let x = inner.operand(0).into();
        let operands = [x, column(|c| c.start), column(|c| c.end), column(|c| c.axis), column(|c| c.step)];
        Ok(Slice.emit(operands).named_like(outer))
    })
    .even_if_shared()
}

/// The cuts of `inner` and then `outer`, one per axis; `None` where they are not known.
fn merged(inner: &CallView<'_>, outer: &CallView<'_>) -> Option<Vec<Cut>> {
    let (mut merged, second) = (cuts(inner)?, cuts(outer)?);
    // Without a rank, −1 may be any axis.
    if inner.rank(0).is_none() && merged.iter().chain(&second).any(|c| c.axis < 0) {
        return None;
    }
    for cut in second {
        match merged.iter_mut().find(|c| c.axis == cut.axis) {
            None => merged.push(cut),
            Some(first) => {
                let size = usize::try_from(cut.axis).ok().and_then(|a| inner.dims(0)?.get(a)?.known());
                *first = first.then(cut, size)?;
            }
        }
    }
    Some(merged)
}
