//! Blocks of pixels laid out as channels are `SpaceToDepth`: by a `Reshape`, a `Transpose` and a `Reshape`, or by a
//! `Slice` for each pixel of a block and a `Concat`. Where the channels stand in another order than the operator's, a
//! `Gather` puts them there.
//!
//! Declines where a result on the way is also read elsewhere.

use crate::ir::OpKind::{Concat, Gather, Reshape, SpaceToDepth};
use crate::rewrite::{Exactness, Rule, Skip, any_of};
use crate::rules::support::axes;
use crate::rules::support::blocks::Blocks;
use crate::rules::support::formula::only_read_within;

pub fn rule() -> Rule {
    Rule::new("fuse-space-to-depth", Exactness::Bitwise, any_of(&[Concat, Reshape]), |m| {
        let root = m.root();
        let blocks = Blocks::of(&root).ok_or(Skip::NotThis)?;
        only_read_within(m.graph(), root.id(), &blocks.nodes)?;
        let size = i64::try_from(blocks.size).map_err(|_| Skip::NotThis)?;
        let call = SpaceToDepth.emit([blocks.x.into()]).with("blocksize", size).named_like(root);
        if blocks.in_order() {
            return Ok(call);
        }
        Ok(Gather.emit([call, axes::operand(&blocks.from).into()]).with("axis", 1))
    })
    .even_if_shared()
}
