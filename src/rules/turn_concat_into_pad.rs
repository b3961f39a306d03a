//! `Concat` of a value and a large constant whose elements are all equal is `Pad`, which does not store the constant.
//!
//! For floats, where the constant comes first or last. Constants of less than 1 KB stay as they are.

use crate::ir::OpKind::{Concat, Pad};
use crate::ir::{Int, Tensor, ValueId};
use crate::rewrite::{Exactness, Rule, Skip, applies};
use crate::rules::shrink_uniform_constant::is_large;
use crate::rules::support::numbers::is_foldable_float;
use crate::rules::support::pads::spelled;
use crate::rules::support::parts::{axis, operands};

pub fn rule() -> Rule {
    Rule::new("turn-concat-into-pad", Exactness::Bitwise, Concat.any(), |m| {
        let root = m.root();
        let parts = operands(&root).ok_or(Skip::NotThis)?;
        let &[first, last] = &parts[..] else { return Err(Skip::NotThis) };
        let along = axis(&root).ok_or(Skip::NotThis)?;
        let filling = |v: ValueId| m.graph().constant(v).filter(|t| is_foldable_float(t.dtype()) && is_large(t));
        let (x, filling, before) = match (filling(first), filling(last)) {
            (None, Some(filling)) => (first, filling, false),
            (Some(filling), None) => (last, filling, true),
            _ => return Err(Skip::NotThis),
        };
        let element = filling.uniform().ok_or(Skip::NotThis)?;
        let element = Tensor::raw(filling.dtype(), &[], element.to_vec().into()).map_err(|_| Skip::NotThis)?;
        let amount = Int::from(*filling.dims().get(along).ok_or(Skip::NotThis)?).known().ok_or(Skip::NotThis)?;
        applies(m.graph().value(x).ty.shape().rank() == Some(filling.rank()))?;
        let mut amounts = vec![(0, 0); filling.rank()];
        amounts[along] = if before { (amount, 0) } else { (0, amount) };
        let pads = Tensor::vector(&spelled(&amounts));
        Ok(Pad.emit([x.into(), pads.into(), element.into()]).named_like(root))
    })
}
