//! `SequenceAt` of a `SequenceConstruct` is the operand at this position.

use crate::ir::OpKind::{SequenceAt, SequenceConstruct};
use crate::ir::Tensor;
use crate::ops::normalize_axis;
use crate::rewrite::{Exactness, Rule, Skip, call};

pub fn rule() -> Rule {
    let list = call("list");
    let pattern = SequenceAt.any().on(SequenceConstruct.any().bind(list));
    Rule::new("drop-sequence", Exactness::Bitwise, pattern, move |m| {
        let list = m.call(list);
        let unknown = Skip::Unsuitable("which element is taken is not known");
        let position = m.root().constant(1).and_then(Tensor::integer).ok_or(unknown)?;
        let slot = normalize_axis(position, list.operand_count()).ok_or(Skip::NotThis)?;
        list.operand(slot).ok_or(Skip::NotThis)
    })
    .even_if_shared()
}
