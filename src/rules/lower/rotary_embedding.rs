//! `RotaryEmbedding` is the rotation of pairs of elements by angles, of which it has cosines and sines.
//!
//! Declines where the size of a head is not known.

use crate::ir::OpKind::{Concat, Gather, Reshape, RotaryEmbedding, Slice, Transpose, Unsqueeze};
use crate::ir::{Int, Key};
use crate::rewrite::{Exactness, Expr, Rule, Skip, applies};
use crate::rules::support::spelled_out::{UNKNOWN_RANK, ints};

const HEADS: Key<i64> = Key::new("num_heads", 0);
const ROTARY: Key<i64> = Key::new("rotary_embedding_dim", 0);
const INTERLEAVED: Key<bool> = Key::new("interleaved", false);

pub fn rule() -> Rule {
    Rule::new("lower-rotary-embedding", Exactness::Rounding, RotaryEmbedding.any(), |m| {
        let root = m.root();
        let (node, dims) = (root.node(), root.dims(0).ok_or(UNKNOWN_RANK)?);
        let packed = dims.len() == 3;
        let heads = HEADS.of(node);
        applies(packed && heads > 0 || dims.len() == 4)?;
        let unknown = || Skip::Unsuitable("the size of a head is not known");
        let last = dims.last().and_then(Int::known).ok_or_else(unknown)?;
        let size = if packed { last / heads } else { last };
        let rotary = if ROTARY.of(node) > 0 { ROTARY.of(node) } else { size };
        applies(rotary <= size && rotary % 2 == 0 && rotary > 0)?;
        let x: Expr = root.operand(0).into();
        // Either way the heads are the second axis.
        let x = if packed {
            Transpose.emit([Reshape.emit([x, ints(&[0, 0, heads, -1])])]).with("perm", vec![0, 2, 1, 3])
        } else {
            x
        };
        let angle = |slot: usize| {
            let table: Expr = root.operand(slot).into();
            let chosen = if root.has(3) { Gather.emit([table, root.operand(3).into()]) } else { table };
            Unsqueeze.emit([chosen, ints(&[1])])
        };
        let part = |from: i64, to: i64, step: i64| {
            Slice.emit([x.clone(), ints(&[from]), ints(&[to]), ints(&[-1]), ints(&[step])])
        };
        let (cos, sin) = (angle(1), angle(2));
        let interleaved = INTERLEAVED.of(node);
        let (a, b) = match interleaved {
            true => (part(0, rotary, 2), part(1, rotary, 2)),
            false => (part(0, rotary / 2, 1), part(rotary / 2, rotary, 1)),
        };
        let real = cos.clone() * a.clone() - sin.clone() * b.clone();
        let imaginary = sin * a + cos * b;
        let mut y = if interleaved {
            let [real, imaginary] = [real, imaginary].map(|p| Unsqueeze.emit([p, ints(&[-1])]));
            let pairs = Concat.emit([real, imaginary]).with("axis", -1);
            Reshape.emit([pairs, ints(&[0, 0, 0, rotary])])
        } else {
            Concat.emit([real, imaginary]).with("axis", -1)
        };
        if rotary < size {
            y = Concat.emit([y, part(rotary, size, 1)]).with("axis", -1);
        }
        if packed {
            y = Reshape.emit([Transpose.emit([y]).with("perm", vec![0, 2, 1, 3]), ints(&[0, 0, -1])]);
        }
        Ok(y.named_like(root))
    })
}
