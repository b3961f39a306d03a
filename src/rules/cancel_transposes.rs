//! A `Transpose` moves through element-wise operators up to another one, to be merged with it: `Tᵃ(f(Tᵇ(x)))` is
//! `f(Tᵃᵇ(x))`, or `f(x)` where the two undo each other.
//!
//! Between the two stand operators of one operand, or of one operand and constants, whose axes are put in order, too.
//! Declines where a result on the way is also read elsewhere, and where a constant of more than 64 KB is.

use crate::ir::OpKind::Transpose;
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies, call, require};
use crate::rules::support::axes::{composed, permutation, spelled};
use crate::rules::support::elementwise::carrier;
use crate::rules::support::layout::{outermost, transposed};
use crate::rules::support::numbers::SMALL;
use crate::rules::support::readers::only_read_by;

/// How many operators may stand between the two.
const LONGEST: usize = 16;

pub fn rule() -> Rule {
    let outer = call("outer");
    Rule::new("cancel-transposes", Exactness::Bitwise, Transpose.any().bind(outer), move |m| {
        let (graph, outer) = (m.graph(), m.call(outer));
        let second = permutation(&outer).ok_or(Skip::NotThis)?;
        let mut between: Vec<(CallView<'_>, usize)> = Vec::new();
        let (mut reader, mut shared) = (outer, false);
        let mut at = outer.operand(0).ok_or(Skip::NotThis)?;
        let inner = loop {
            shared |= !only_read_by(graph, at, reader.id());
            let (node, slot) = graph.producer(at).ok_or(Skip::NotThis)?;
            let call = CallView::new(graph, node);
            applies(slot == 0 && between.len() <= LONGEST)?;
            if call.node().op == Transpose {
                break call;
            }
            let through = carrier(&call, |t| t.rank() <= second.len()).ok_or(Skip::NotThis)?;
            at = call.operand(through).ok_or(Skip::NotThis)?;
            between.push((call, through));
            reader = call;
        };
        applies(!between.is_empty())?;
        let both = composed(&permutation(&inner).ok_or(Skip::NotThis)?, &second).ok_or(Skip::NotThis)?;
        if shared {
            return Err(Skip::InnerResultShared);
        }
        let mut x: Expr = inner.operand(0).into();
        if !both.is_sorted() {
            x = Transpose.emit([x]).named_like(outer).with("perm", spelled(&both));
        }
        for (call, through) in between.into_iter().rev() {
            let mut operands: Vec<Expr> = (0..call.operand_count()).map(|slot| call.operand(slot).into()).collect();
            for (slot, operand) in operands.iter_mut().enumerate() {
                if slot == through {
                    *operand = x.clone();
                } else if let Some(constant) = call.constant(slot).filter(|t| t.len() != 1) {
                    let own = call.operand(slot).is_some_and(|v| only_read_by(graph, v, call.id()));
                    require(own || constant.stored_bytes() <= SMALL, "a constant is shared with another node")?;
                    let turned = outermost(constant, second.len()).and_then(|t| transposed(&t, &second));
                    *operand = turned.ok_or(Skip::NotThis)?.into();
                }
            }
            x = call.node().op.emit(operands).like(call);
        }
        Ok(x)
    })
}
