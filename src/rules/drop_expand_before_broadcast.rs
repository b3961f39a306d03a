//! `Expand`, a `Tile` that repeats axes of size 1, and a computed value whose elements are all one number
//! (`ConstantOfShape` and what is cut from it) are not needed where an operand is broadcast anyway and the others have
//! the result's shape: `Expand(x, shape) + y` is `x + y`. The slope of a `PRelu` never needs one.
//!
//! Declines where only the expanded operand may have some size of the result.

use crate::ir::OpKind::{Expand, PRelu, Tile};
use crate::ir::{Int, ValueId};
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, require};
use crate::rules::support::broadcast::{BROADCASTING, cover};
use crate::rules::support::uniform;

pub fn rule() -> Rule {
    let pattern = any_of(BROADCASTING).or(PRelu.any());
    Rule::new("drop-expand-before-broadcast", Exactness::Bitwise, pattern, |m| {
        let root = m.root();
        let mut found = false;
        for slot in 0..root.operand_count() {
            let Some((narrow, dims)) = root.operand(slot).and_then(|v| narrower(&root, v)) else { continue };
            found = true;
            if !stays(&root, slot, &dims) {
                continue;
            }
            let mut operands: Vec<Expr> = (0..root.operand_count()).map(|slot| root.operand(slot).into()).collect();
            operands[slot] = narrow;
            return Ok(root.node().op.emit(operands).like(root));
        }
        require(!found, "only the expanded operand may have some size of the result")?;
        Err(Skip::NotThis)
    })
}

/// Whether the root's result surely keeps its shape when operand `slot` has these dimensions.
pub(super) fn stays(root: &CallView<'_>, slot: usize, dims: &[Int]) -> bool {
    // The slope never widens the result.
    if root.node().op == PRelu {
        return slot == 1;
    }
    let others: Option<Vec<&[Int]>> =
        (0..root.operand_count()).map(|s| if s == slot { Some(dims) } else { root.dims(s) }).collect();
    match (root.result_dims(0), others) {
        (Some(result), Some(all)) => cover(result, &all),
        _ => false,
    }
}

/// What `value` repeats, when it is nothing but a smaller value repeated as broadcasting would, and its dimensions.
fn narrower(near: &CallView<'_>, value: ValueId) -> Option<(Expr, Vec<Int>)> {
    let (node, _) = near.graph().producer(value)?;
    let call = CallView::new(near.graph(), node);
    match call.node().op {
        Expand => Some((call.operand(0)?.into(), call.dims(0)?.to_vec())),
        Tile => {
            let (dims, repeats) = (call.dims(0)?, call.known_ints(1)?);
            let broadcasts =
                dims.len() == repeats.len() && dims.iter().zip(&repeats).all(|(d, &n)| n == 1 || d.known() == Some(1));
            broadcasts.then(|| Some((call.operand(0)?.into(), dims.to_vec())))?
        }
        _ => Some((uniform::element(near.graph(), value)?.into(), Vec::new())),
    }
}
