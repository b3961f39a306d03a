//! Blocks of pixels laid out as channels, whichever way it is spelled and in whichever order.

use crate::ir::OpKind::{self, Concat, Gather, Reshape, Slice, SpaceToDepth, Transpose};
use crate::ir::{Key, NodeId, ValueId};
use crate::ops::{CallView, normalize_axis};
use crate::rules::support::axes::permutation;
use crate::rules::support::parts;
use crate::rules::support::slices::{UNBOUNDED, cuts};

const BLOCK_SIZE: Key<i64> = Key::new("blocksize", 0);
const GATHER_AXIS: Key<i64> = Key::new("axis", 0);

/// Channels of the result are looked at one by one up to here.
const MOST_CHANNELS: usize = 1 << 16;

/// `[N, C, H·b, W·b]` as `[N, b·b·C, H, W]`.
pub struct Blocks {
    /// What has the pixels.
    pub x: ValueId,
    /// b.
    pub size: usize,
    /// C.
    pub channels: usize,
    /// For each channel of the result, which it is of `SpaceToDepth`: `(row · b + column) · C + channel`.
    pub from: Vec<usize>,
    /// Every node that was read.
    pub nodes: Vec<NodeId>,
}

impl Blocks {
    /// What `call` makes blocks of; `None` where it makes none, or may make none.
    pub fn of(call: &CallView<'_>) -> Option<Blocks> {
        match call.node().op {
            SpaceToDepth => Blocks::direct(call),
            Gather => Blocks::chosen(call),
            Reshape => Blocks::viewed(call),
            Concat => Blocks::joined(call),
            _ => None,
        }
    }

    /// Whether the channels are in the order of `SpaceToDepth`.
    pub fn in_order(&self) -> bool {
        self.from.iter().copied().eq(0..self.from.len())
    }

    fn new(call: &CallView<'_>, x: ValueId, size: usize) -> Option<Blocks> {
        let dims = call.graph().value(x).ty.shape().dims()?;
        let channels = usize::try_from(dims.get(1)?.known()?).ok()?;
        let count = size.checked_mul(size)?.checked_mul(channels)?;
        let fits = dims.len() == 4 && size > 1 && count > 0 && count <= MOST_CHANNELS;
        fits.then(|| Blocks { x, size, channels, from: (0..count).collect(), nodes: vec![call.id()] })
    }

    fn direct(call: &CallView<'_>) -> Option<Blocks> {
        Blocks::new(call, call.operand(0)?, usize::try_from(BLOCK_SIZE.of(call.node())).ok()?)
    }

    /// A choice of channels that is a permutation of them.
    fn chosen(call: &CallView<'_>) -> Option<Blocks> {
        let inner = parts::made_by(call, call.operand(0)?, SpaceToDepth)?;
        let mut blocks = Blocks::direct(&inner)?;
        let along = normalize_axis(GATHER_AXIS.of(call.node()), call.rank(0)?)?;
        let indices = call.constant(1).filter(|t| t.rank() == 1 && t.len() == blocks.from.len())?.integers()?;
        let mut seen = vec![false; indices.len()];
        for (place, index) in indices.into_iter().enumerate() {
            let channel = normalize_axis(index, seen.len())?;
            if std::mem::replace(&mut seen[channel], true) {
                return None;
            }
            blocks.from[place] = channel;
        }
        blocks.nodes.push(call.id());
        (along == 1).then_some(blocks)
    }

    /// `[N, C, H, b, W, b]` with the axes of the block before or behind the channels, in either order.
    fn viewed(call: &CallView<'_>) -> Option<Blocks> {
        let turned = parts::made_by(call, call.operand(0)?, Transpose)?;
        let parted = parts::made_by(call, turned.operand(0)?, Reshape)?;
        let (x, six, result) = (parted.dims(0)?, parted.result_dims(0)?, call.result_dims(0)?);
        let perm = permutation(&turned)?;
        if x.len() != 4 || six.len() != 6 || result.len() != 4 || perm[0] != 0 || perm[4..] != [2, 4] {
            return None;
        }
        let block = &six[3];
        let split = six[0] == x[0] && six[1] == x[1] && six[5] == *block;
        let even = |axis: usize, of: usize| six[axis].checked_mul(block).as_ref() == Some(&x[of]);
        let kept = result[0] == x[0] && result[2] == six[2] && result[3] == six[4];
        if !(split && even(2, 2) && even(4, 3) && kept) {
            return None;
        }
        let mut blocks = Blocks::new(call, parted.operand(0)?, usize::try_from(block.known()?).ok()?)?;
        // How many channels of the result each step along an axis is.
        let size = |axis: usize| if axis == 1 { blocks.channels } else { blocks.size };
        let strides = [size(perm[2]) * size(perm[3]), size(perm[3]), 1];
        let step = |axis: usize| (1..4).find(|&i| perm[i] == axis).map(|i| strides[i - 1]);
        let (rows, columns, channels) = (step(3)?, step(5)?, step(1)?);
        let (b, c) = (blocks.size, blocks.channels);
        for direct in 0..blocks.from.len() {
            let (row, column, channel) = (direct / (b * c), direct / c % b, direct % c);
            blocks.from[row * rows + column * columns + channel * channels] = direct;
        }
        blocks.nodes.extend([turned.id(), parted.id()]);
        Some(blocks)
    }

    /// Every pixel of a block with a `Slice` of its own.
    fn joined(call: &CallView<'_>) -> Option<Blocks> {
        let count = call.operand_count();
        let size = (2..=8).find(|b| b * b == count)?;
        let first = parts::made_by(call, call.operand(0)?, Slice)?;
        let mut blocks = Blocks::new(call, first.operand(0)?, size)?;
        if parts::axis(call)? != 1 {
            return None;
        }
        let mut seen = vec![false; count];
        for slot in 0..count {
            let slice = parts::made_by(call, call.operand(slot)?, Slice)?;
            let place = pixel(&slice, size, [2, 3])?;
            if slice.operand(0) != Some(blocks.x) || std::mem::replace(&mut seen[place], true) {
                return None;
            }
            for channel in 0..blocks.channels {
                blocks.from[slot * blocks.channels + channel] = place * blocks.channels + channel;
            }
            blocks.nodes.push(slice.id());
        }
        Some(blocks)
    }
}

/// Which pixel of each block of `size` along two axes a `Slice` of a value of four takes, row by row.
///
/// All pixels together are of one shape, as a `Concat` of them demands, only where blocks are whole.
pub fn pixel(slice: &CallView<'_>, size: usize, [rows, columns]: [i64; 2]) -> Option<usize> {
    let cuts = cuts(slice)?;
    let dims = slice.dims(0)?;
    let start = |axis: i64| {
        let cut = cuts.iter().find(|c| c.axis == axis)?;
        let known = usize::try_from(axis).ok().and_then(|a| dims.get(a)?.known());
        let to_the_end = cut.end >= UNBOUNDED || known.is_some_and(|n| cut.end >= n);
        let start = usize::try_from(cut.start).ok().filter(|&s| s < size)?;
        (to_the_end && usize::try_from(cut.step) == Ok(size)).then_some(start)
    };
    (cuts.len() == 2 && dims.len() == 4).then(|| Some(start(rows)? * size + start(columns)?))?
}

/// Whether a call of `op` may be what [`Blocks::of`] reads.
pub const SPELLINGS: &[OpKind] = &[SpaceToDepth, Gather, Reshape, Concat];
