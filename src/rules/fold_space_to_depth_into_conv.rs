//! A `Conv` of blocks of pixels laid out as channels is a `Conv` of the pixels: blocks of b by b and a kernel of k by k
//! are a kernel of b·k by b·k that moves by b times as many pixels.
//!
//! Neither the number of weights nor that of products changes, and nothing is rearranged at run time. The blocks may be
//! spelled as for `fuse-space-to-depth`, with channels in any order. Declines where the convolution has groups or
//! dilations or works its padding out from the size, where the weight is also read elsewhere and would be stored twice,
//! and where a result on the way is also read elsewhere.

use crate::ir::Key;
use crate::ir::OpKind::Conv;
use crate::rewrite::{Exactness, Rule, Skip, any_of, applies, call, constant, require};
use crate::rules::support::blocks::{Blocks, SPELLINGS};
use crate::rules::support::formula::only_read_within;
use crate::rules::support::numbers::{finite, is_foldable_float, may_replace};
use crate::rules::support::pads::{own, spelled};

const GROUP: Key<i64> = Key::new("group", 1);

pub fn rule() -> Rule {
    let (blocks, weight, conv) = (call("blocks"), constant("weight"), call("conv"));
    let pattern = Conv.any().on((any_of(SPELLINGS).bind(blocks), weight)).bind(conv);
    Rule::new("fold-space-to-depth-into-conv", Exactness::Rounding, pattern, move |m| {
        let (conv, w) = (m.call(conv), &m[weight]);
        applies(is_foldable_float(w.dtype()))?;
        let blocks = Blocks::of(&m.call(blocks)).ok_or(Skip::NotThis)?;
        let &[outputs, inputs, height, width] = w.dims() else { return Err(Skip::NotThis) };
        let plain = conv.per_axis("dilations", 2, 1).is_some_and(|d| d.iter().all(|&d| d == 1));
        require(plain && GROUP.of(conv.node()) == 1, "the convolution has groups or dilations")?;
        applies(inputs == blocks.from.len())?;
        let padding = own(&conv, 2)?;
        require(may_replace(m, weight), "the weight is also read elsewhere")?;
        only_read_within(m.graph(), conv.id(), &blocks.nodes)?;
        let (b, c) = (blocks.size, blocks.channels);
        let size = i64::try_from(b).map_err(|_| Skip::NotThis)?;
        let scaled = |n: i64| n.checked_mul(size).ok_or(Skip::NotThis);
        let strides = conv.per_axis("strides", 2, 1).ok_or(Skip::NotThis)?;
        let strides: Vec<i64> = strides.iter().map(|&s| scaled(s)).collect::<Result<_, _>>()?;
        let padding: Vec<i64> = spelled(&padding).into_iter().map(scaled).collect::<Result<_, _>>()?;
        let (rows, columns) = (height.checked_mul(b).ok_or(Skip::NotThis)?, width.checked_mul(b).ok_or(Skip::NotThis)?);
        let old = w.reals().ok_or(Skip::NotThis)?;
        let mut new = vec![0.0; old.len()];
        for (index, element) in old.into_iter().enumerate() {
            let (tap, channel, output) =
                (index % (height * width), blocks.from[index / (height * width) % inputs], index / (height * width) / inputs);
            let (row, column) = (tap / width * b + channel / (b * c), tap % width * b + channel / c % b);
            new[((output * c + channel % c) * rows + row) * columns + column] = element;
        }
        let new = finite(w.dtype(), &[outputs, c, rows, columns], &new).ok_or(Skip::NotThis)?;
        let kernel = [rows, columns].map(|n| i64::try_from(n).unwrap_or(i64::MAX)).to_vec();
        let call = Conv.emit([blocks.x.into(), new.into(), conv.operand(2).into()]).like(conv).without("auto_pad");
        let call = call.with("kernel_shape", kernel).with("strides", strides);
        let pads = padding.iter().any(|&p| p != 0);
        Ok(if pads { call.with("pads", padding) } else { call.without("pads") })
    })
    .even_if_shared()
}
