//! `x · cos + [-x₂, x₁] · sin`, where x₁ and x₂ are the halves of x's last axis, is `RotaryEmbedding`, from opset 23
//! on.
//!
//! The operator takes tables with one number per pair, so both halves of cos and sin must be known to be the same:
//! constants, or computed from angles that were joined with themselves. It takes tables for each batch: those of one
//! batch are repeated.
//!
//! Declines where a table's halves are not known to be the same, where a table is not one per batch and position, and
//! where something on the way is also read elsewhere.

use crate::ir::OpKind::{Add, Concat, Expand, Reshape, RotaryEmbedding, Shape, Squeeze, Unsqueeze};
use crate::ir::{Int, Tensor};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::rotary::{Rotary, Tables};
use crate::rules::support::views::target;

pub fn rule() -> Rule {
    Rule::new("fuse-rotary-embedding", Exactness::Rounding, Add.any(), |m| {
        let (graph, root) = (m.graph(), m.root());
        let Rotary { x, cos, sin, negates, .. } = Rotary::of(&root)?;
        applies(negates)?;
        let dims = graph.value(x).ty.shape().dims().ok_or(Skip::NotThis)?;
        let [batch, first, second, size] = dims else { return Err(Skip::NotThis) };
        applies(m.root_shape().dims() == Some(dims))?;
        let size = size.known().filter(|size| size % 2 == 0).ok_or(Skip::NotThis)?;
        let one = Int::from(1);
        // Heads before the length, or behind it.
        let table = graph.value(cos).ty.shape().dims().ok_or(Skip::NotThis)?;
        let why = "a table is not one per batch and position";
        let rank = table.len();
        let at = |from_end: usize| rank.checked_sub(from_end).map_or(&one, |axis| &table[axis]);
        let heads_first = match (at(3), at(2)) {
            (heads, length) if *heads == one && length == second => true,
            (length, heads) if *heads == one && length == first => false,
            _ => return Err(Skip::Unsuitable(why)),
        };
        let one_for_all = *at(4) == one && *batch != one;
        let fits = graph.value(sin).ty.shape().dims() == Some(table) && rank <= 4;
        if !fits || !one_for_all && at(4) != batch {
            return Err(Skip::Unsuitable(why));
        }
        let count: Expr = match batch.known() {
            Some(n) => Tensor::vector(&[n]).into(),
            None => Shape.emit([x.into()]).with("start", 0).with("end", 1),
        };
        let tables = Tables { graph, size };
        let table = |value| -> Result<Expr, Skip> {
            let (half, is_wide) = tables.half(value, one_for_all.then_some(&count))?;
            let half = match (rank, heads_first) {
                (4, true) => Squeeze.emit([half, Tensor::vector(&[1]).into()]),
                (4, false) => Squeeze.emit([half, Tensor::vector(&[2]).into()]),
                (3, true) => half,
                (3, false) => Reshape.emit([half, Tensor::vector(&[1, -1, size / 2]).into()]),
                _ => Unsqueeze.emit([half, Tensor::vector(&[0]).into()]),
            };
            if is_wide || !one_for_all {
                return Ok(half);
            }
            let shape = Concat.emit([count.clone(), Tensor::vector(&[1, 1]).into()]).with("axis", 0);
            Ok(Expand.emit([half, shape]))
        };
        let (cos, sin) = (table(cos)?, table(sin)?);
        if heads_first {
            return Ok(RotaryEmbedding.emit([x.into(), cos, sin]).named_like(root));
        }
        let heads = second.known().filter(|&heads| heads > 0).ok_or(Skip::NotThis)?;
        let width = heads.checked_mul(size).ok_or(Skip::NotThis)?;
        let joined = Reshape.emit([x.into(), Tensor::vector(&[0, 0, width]).into()]);
        let turned = RotaryEmbedding.emit([joined, cos, sin]).named_like(root).with("num_heads", heads);
        let parted = [batch.clone(), first.clone(), width.into()];
        let restored = target(Some(&parted), dims).unwrap_or_else(|| Tensor::vector(&[0, 0, heads, size]));
        Ok(Reshape.emit([turned, restored.into()]))
    })
}
