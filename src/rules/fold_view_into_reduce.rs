//! A reduction whose result is only squeezed, unsqueezed or reshaped to what `keepdims` would have given, is that
//! reduction with the other `keepdims`. `ArgMax` and `ArgMin` too.

use crate::ir::OpKind::{self, ArgMax, ArgMin};
use crate::rewrite::{Exactness, Rule, any_of, applies, call};
use crate::rules::support::reductions::{KEEPDIMS, REDUCTIONS, dims_otherwise};
use crate::rules::support::views::{VIEWS, is_view};

pub fn rule() -> Rule {
    let (reduce, view) = (call("reduce"), call("view"));
    let reductions: Vec<OpKind> = REDUCTIONS.iter().copied().chain([ArgMax, ArgMin]).collect();
    let pattern = any_of(VIEWS).on(any_of(&reductions).bind(reduce)).bind(view);
    Rule::new("fold-view-into-reduce", Exactness::Bitwise, pattern, move |m| {
        let (reduce, view) = (m.call(reduce), m.call(view));
        applies(is_view(&view))?;
        let keeps = KEEPDIMS.of(reduce.node());
        // Axes that are undone by name need no shape.
        let undone = match view.node().op {
            OpKind::Squeeze => keeps && reduce.has(1) && same_axes(reduce.known_ints(1), view.known_ints(1)),
            OpKind::Unsqueeze => !keeps && reduce.has(1) && same_axes(reduce.known_ints(1), view.known_ints(1)),
            _ => false,
        };
        applies(undone || dims_otherwise(&reduce).is_some_and(|dims| m.root_shape().dims() == Some(&dims[..])))?;
        let operands: Vec<_> = (0..reduce.operand_count()).map(|slot| reduce.operand(slot).into()).collect();
        Ok(reduce.node().op.emit(operands).like(reduce).with("keepdims", i64::from(!keeps)))
    })
}

fn same_axes(a: Option<Vec<i64>>, b: Option<Vec<i64>>) -> bool {
    let sorted = |axes: Option<Vec<i64>>| {
        let mut axes = axes.filter(|axes| !axes.is_empty())?;
        axes.sort_unstable();
        Some(axes)
    };
    sorted(a).is_some_and(|a| sorted(b) == Some(a))
}
