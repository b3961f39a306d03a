//! A `Reshape`, `Flatten`, `Squeeze` or `Unsqueeze` moves through element-wise operators up to another one, to be merged
//! with it: `Flatten(Relu(Unsqueeze(x)))` is `Relu(Flatten(x))`, or `Relu(x)` where the two undo each other.
//!
//! Between the two stand operators of one operand, or of one operand and constants of one element. A `Transpose` that
//! moves only axes of size 1 counts as one of the two. Declines where a result on the way is also read elsewhere, and
//! where more than one size of the result depends on the run.

use crate::ir::OpKind::{Reshape, Transpose};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, applies, call};
use crate::rules::support::elementwise::carrier;
use crate::rules::support::readers::only_read_by;
use crate::rules::support::views::{VIEWS, is_view, target, view_of};

/// How many operators may stand between the two.
const LONGEST: usize = 16;

pub fn rule() -> Rule {
    let outer = call("outer");
    Rule::new("cancel-views", Exactness::Bitwise, any_of(VIEWS).bind(outer), move |m| {
        let (graph, outer) = (m.graph(), m.call(outer));
        applies(is_view(&outer))?;
        let to = m.root_shape().dims().ok_or(Skip::NotThis)?;
        let mut between: Vec<(CallView<'_>, usize)> = Vec::new();
        let (mut reader, mut shared) = (outer, false);
        let mut at = outer.operand(0).ok_or(Skip::NotThis)?;
        let inner = loop {
            shared |= !only_read_by(graph, at, reader.id());
            if let Some(view) = view_of(graph, at) {
                break view;
            }
            let (node, slot) = graph.producer(at).ok_or(Skip::NotThis)?;
            let call = CallView::new(graph, node);
            applies(slot == 0 && between.len() <= LONGEST)?;
            let through = carrier(&call, |t| t.len() == 1 && t.rank() <= to.len()).ok_or(Skip::NotThis)?;
            at = call.operand(through).ok_or(Skip::NotThis)?;
            between.push((call, through));
            reader = call;
        };
        applies(!between.is_empty() && (inner.node().op != Transpose || outer.node().op != Transpose))?;
        if shared {
            return Err(Skip::InnerResultShared);
        }
        let from = inner.dims(0).ok_or(Skip::NotThis)?;
        let mut x: Expr = inner.operand(0).into();
        if from != to {
            let why = "more than one size of the result depends on the run";
            let target = target(Some(from), to).ok_or(Skip::Unsuitable(why))?;
            x = Reshape.emit([x, target.into()]).named_like(outer);
        }
        for (call, through) in between.into_iter().rev() {
            let mut operands: Vec<Expr> = (0..call.operand_count()).map(|slot| call.operand(slot).into()).collect();
            operands[through] = x;
            x = call.node().op.emit(operands).like(call);
        }
        Ok(x)
    })
}
