//! Blocks of pixels laid out as channels, which come last, by a `Slice` for each pixel of a block and a `Concat`, are a
//! `Reshape`, a `Transpose` and a `Reshape`.
//!
//! `[N, H·b, W·b, C]` becomes `[N, H, W, b·b·C]`, the pixels of a block row by row or column by column. So networks of
//! windows merge patches. Declines where a slice is also read elsewhere.

use crate::ir::Int;
use crate::ir::OpKind::{Concat, Reshape, Slice, Transpose};
use crate::rewrite::{Exactness, Rule, Skip, applies};
use crate::rules::support::axes::spelled;
use crate::rules::support::blocks::pixel;
use crate::rules::support::formula::only_read_within;
use crate::rules::support::parts;
use crate::rules::support::views::target;

pub fn rule() -> Rule {
    Rule::new("turn-strided-slices-into-views", Exactness::Bitwise, Concat.any(), |m| {
        let root = m.root();
        let count = root.operand_count();
        let size = (2..=8).find(|b| b * b == count).ok_or(Skip::NotThis)?;
        let mut slices = Vec::with_capacity(count);
        for slot in 0..count {
            let part = root.operand(slot).ok_or(Skip::NotThis)?;
            slices.push(parts::made_by(&root, part, Slice).ok_or(Skip::NotThis)?);
        }
        let x = slices[0].operand(0).ok_or(Skip::NotThis)?;
        applies(slices.iter().all(|slice| slice.operand(0) == Some(x)) && parts::axis(&root) == Some(3))?;
        let pixels: Option<Vec<usize>> = slices.iter().map(|slice| pixel(slice, size, [1, 2])).collect();
        let pixels = pixels.ok_or(Skip::NotThis)?;
        // Where the axes go: those of the image, those within a block in either order, the channels.
        let perm = if pixels.iter().copied().eq(0..count) {
            [0, 1, 3, 2, 4, 5]
        } else {
            applies(pixels.iter().copied().eq((0..count).map(|i| i % size * size + i / size)))?;
            [0, 1, 3, 4, 2, 5]
        };
        let nodes: Vec<_> = slices.iter().map(|slice| slice.id()).collect();
        let block = Int::from(size);
        let [n, h, w, c] = slices[0].dims(0).ok_or(Skip::NotThis)? else { return Err(Skip::NotThis) };
        let (rows, columns) = h.exact_div(&block).zip(w.exact_div(&block)).ok_or(Skip::NotThis)?;
        let six = [n.clone(), rows.clone(), block.clone(), columns.clone(), block.clone(), c.clone()];
        let channels = block.checked_mul(&block).and_then(|area| area.checked_mul(c)).ok_or(Skip::NotThis)?;
        let turned: Vec<Int> = perm.iter().map(|&axis| six[axis].clone()).collect();
        let four = [n.clone(), rows, columns, channels];
        let apart = target(slices[0].dims(0), &six).ok_or(Skip::NotThis)?;
        let together = target(Some(&turned), &four).ok_or(Skip::NotThis)?;
        only_read_within(m.graph(), root.id(), &nodes)?;
        let turned = Transpose.emit([Reshape.emit([x.into(), apart.into()])]).with("perm", spelled(&perm));
        Ok(Reshape.emit([turned, together.into()]).named_like(root))
    })
    .even_if_shared()
}
