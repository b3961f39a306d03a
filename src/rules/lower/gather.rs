//! `Gather(x, places)` by constant places of one axis is `Squeeze(Gather(x, [places]))`: the same elements, by indices of
//! two axes.
//!
//! For runtimes that take another order of an axis into the layers around it, and do so wrongly. Declines where the
//! indices are computed, or have another rank.

use crate::ir::OpKind::{Gather, Squeeze};
use crate::ir::{Attr, Tensor};
use crate::ops::normalize_axis;
use crate::ops::slice::AXIS;
use crate::rewrite::{Exactness, Rule, Skip, constant, var};

pub fn rule() -> Rule {
    let (x, places) = (var("x"), constant("places"));
    Rule::new("lower-gather", Exactness::Bitwise, Gather.of((x, places)), move |m| {
        let root = m.root();
        let rank = root.rank(0).ok_or(Skip::NotThis)?;
        let axis = normalize_axis(AXIS.of(root.node()), rank).ok_or(Skip::NotThis)?;
        let axis = i64::try_from(axis).map_err(|_| Skip::NotThis)?;
        if m[places].rank() != 1 {
            return Err(Skip::Unsuitable("its indices are not one after another"));
        }
        let indices = m[places].integers().ok_or(Skip::NotThis)?;
        let indices = Tensor::vector(&indices).reshaped(&[1, indices.len()]).map_err(|_| Skip::NotThis)?;
        let gathered = Gather.emit([m[x].into(), indices.into()]).with("axis", Attr::Int(axis));
        Ok(Squeeze.emit([gathered, Tensor::vector(&[axis]).into()]).named_like(root))
    })
}
