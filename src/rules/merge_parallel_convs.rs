//! Two `Conv` of one value that are added are one: `V∗x + W∗x` is `(V + W)∗x`, where the smaller kernel falls within the
//! larger one.
//!
//! The value itself, or a `BatchNormalization` of it with known statistics, counts as a convolution with a kernel of one
//! element: so a block of a 3×3, a 1×1 and an identity branch is one `Conv`. Declines where the two do not line up (as
//! their pads, strides and dilations say), where they have different groups, where a result is also read elsewhere, and
//! where a weight of more than 64 KB is and would be stored twice.

use crate::ir::OpKind::{Add, BatchNormalization, Conv};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Rule, Skip, applies, call, var};
use crate::rules::support::linear::{Affine, Linear};
use crate::rules::support::readers::only_read_by;

pub fn rule() -> Rule {
    let (conv, other) = (call("conv"), var("other"));
    let pattern = Add.of((Conv.any().bind(conv), other));
    Rule::new("merge-parallel-convs", Exactness::Rounding, pattern, move |m| {
        let (graph, root, first) = (m.graph(), m.root(), Linear::read(m.call(conv))?);
        let x = m.call(conv).operand(0).ok_or(Skip::NotThis)?;
        let only_added = |value| if only_read_by(graph, value, root.id()) { Ok(()) } else { Err(Skip::InnerResultShared) };
        let convolved = graph.result(m.call(conv).id(), 0).ok_or(Skip::NotThis)?;
        if m[other] == x {
            let channels = graph.value(x).ty.shape().dims().and_then(|d| d.get(1)?.known());
            let channels = channels.and_then(|n| usize::try_from(n).ok()).ok_or(Skip::NotThis)?;
            only_added(convolved)?;
            return first.plus_operand(m, &Affine { scale: vec![1.0; channels], shift: None });
        }
        let (node, slot) = graph.producer(m[other]).ok_or(Skip::NotThis)?;
        let second = CallView::new(graph, node);
        applies(slot == 0 && second.operand(0) == Some(x))?;
        let sum = match second.node().op {
            BatchNormalization => first.plus_operand(m, &Affine::of_batchnorm(second)?),
            Conv => {
                let second = Linear::read(second)?;
                // One that does not hold the other's kernel may be held by it.
                if second.taps() > first.taps() { second.plus_conv(m, &first) } else { first.plus_conv(m, &second) }
            }
            _ => Err(Skip::NotThis),
        }?;
        only_added(convolved)?;
        only_added(m[other])?;
        Ok(sum)
    })
    .even_if_shared()
}
