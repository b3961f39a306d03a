//! A constant whose elements are all equal is one element where it is broadcast anyway and the other operands have the
//! result's shape. Constants of less than 1 KB stay as they are.
//!
//! Declines where only the constant may have some size of the result.

use crate::ir::OpKind::PRelu;
use crate::ir::{Data, Tensor};
use crate::rewrite::{Exactness, Expr, Rule, Skip, any_of, require};
use crate::rules::drop_expand_before_broadcast::stays;
use crate::rules::support::broadcast::BROADCASTING;

/// Constants of fewer bytes are not worth a rewrite: some runtimes fuse a bias only when it is spelled out.
const WORTH: usize = 1 << 10;

pub fn rule() -> Rule {
    let pattern = any_of(BROADCASTING).or(PRelu.any());
    Rule::new("shrink-uniform-constant", Exactness::Bitwise, pattern, |m| {
        let root = m.root();
        let mut found = false;
        for slot in 0..root.operand_count() {
            let Some(constant) = root.constant(slot).filter(|t| is_large(t)) else { continue };
            let Some(element) = constant.uniform() else { continue };
            found = true;
            if !stays(&root, slot, &[]) {
                continue;
            }
            // A tensor of one element is spelled out: what repeats one is written as a node.
            let one = Tensor::raw(constant.dtype(), &[], element.to_vec().into()).map_err(|_| Skip::NotThis)?;
            let mut operands: Vec<Expr> = (0..root.operand_count()).map(|slot| root.operand(slot).into()).collect();
            operands[slot] = one.into();
            return Ok(root.node().op.emit(operands).like(root));
        }
        require(!found, "only the constant may have some size of the result")?;
        Err(Skip::NotThis)
    })
}

/// Whether a constant of one repeated element is worth storing otherwise: it is written as a node, or takes 1 KB.
pub(super) fn is_large(t: &Tensor) -> bool {
    t.len() > 1 && (matches!(t.data(), Data::Splat(_)) || t.stored_bytes() >= WORTH)
}
