//! `SequenceAt` of a `SplitToSequence` is a `Slice`, and a `Gather` where the axis goes.
//!
//! Few runtimes have sequences; `turn-slices-into-split` makes one `Split` of all that is taken. Where the axis is of
//! unknown size it is one result of a `Split` from the start, which checks the sum of the sizes as well.
//!
//! Declines where it is not known which elements the part has: the position, the sizes, or how many there are is computed.

use crate::ir::OpKind::{Gather, SequenceAt, Slice, Split, SplitToSequence};
use crate::ir::Tensor;
use crate::ops::sequence::{AXIS, KEEPDIMS};
use crate::ops::normalize_axis;
use crate::rewrite::{Exactness, Replacement, Rule, Skip, applies, call};

pub fn rule() -> Rule {
    let split = call("split");
    let pattern = SequenceAt.any().on(SplitToSequence.any().bind(split));
    Rule::new("turn-sequence-into-slice", Exactness::Bitwise, pattern, move |m| -> Result<Replacement, Skip> {
        let (at, split) = (m.root(), m.call(split));
        let x = split.operand(0).ok_or(Skip::NotThis)?;
        let unknown = Skip::Unsuitable("which part is taken is not known");
        let position = at.constant(1).and_then(Tensor::integer).ok_or(unknown)?;
        let rank = split.rank(0).ok_or(Skip::Unsuitable("its number of axes is not known"))?;
        let axis = normalize_axis(AXIS.of(split.node()), rank).ok_or(Skip::NotThis)?;
        let along = i64::try_from(axis).map_err(|_| Skip::NotThis)?;
        let size = split.dims(0).and_then(|dims| dims.get(axis)?.known());
        if !split.has(1) && !KEEPDIMS.of(split.node()) {
            let taken = Gather.emit([x.into(), Tensor::scalar(position).into()]).with("axis", along);
            return Ok(taken.named_like(at).into());
        }
        let sizes = match split.has(1) {
            true => split.constant(1).ok_or(Skip::Unsuitable("the sizes of the parts are not known"))?,
            false => &Tensor::scalar(1),
        };
        let [start, end] = match (sizes.rank(), size) {
            (1, Some(_)) => of_listed(&listed(sizes)?, position)?,
            (1, None) => {
                let sizes = listed(sizes)?;
                let part = normalize_axis(position, sizes.len()).ok_or(Skip::NotThis)?;
                let split = Split.emit([x.into(), Tensor::vector(&sizes).into()]).with("axis", along);
                return split.results(sizes.len()).into_iter().nth(part).ok_or(Skip::NotThis).map(Into::into);
            }
            (_, Some(size)) => of_equal(sizes, size, position)?,
            (_, None) => return Err(Skip::Unsuitable("how many parts there are is not known")),
        };
        let operands = [start, end, along].map(|n| Tensor::vector(&[n]).into());
        Ok(Slice.emit([x.into()].into_iter().chain(operands)).named_like(at).into())
    })
    .even_if_shared()
}

/// Parts are listed one by one up to here.
const MOST_PARTS: usize = 1024;

fn listed(sizes: &Tensor) -> Result<Vec<i64>, Skip> {
    applies(sizes.len() <= MOST_PARTS)?;
    sizes.integers().filter(|sizes| sizes.iter().all(|&n| n >= 0)).ok_or(Skip::NotThis)
}

/// Where the part of listed sizes begins and ends.
fn of_listed(sizes: &[i64], position: i64) -> Result<[i64; 2], Skip> {
    let part = normalize_axis(position, sizes.len()).ok_or(Skip::NotThis)?;
    let sum = |sizes: &[i64]| sizes.iter().try_fold(0i64, |sum, n| sum.checked_add(*n)).ok_or(Skip::NotThis);
    Ok([sum(&sizes[..part])?, sum(&sizes[..=part])?])
}

/// Where one of equal parts begins and ends.
fn of_equal(sizes: &Tensor, size: i64, position: i64) -> Result<[i64; 2], Skip> {
    let each = sizes.integer().filter(|&n| n > 0).ok_or(Skip::NotThis)?;
    // The last part is what remains.
    let count = usize::try_from(size / each + i64::from(size % each != 0)).map_err(|_| Skip::NotThis)?;
    let part = normalize_axis(position, count).ok_or(Skip::NotThis)?;
    let start = i64::try_from(part).ok().and_then(|part| part.checked_mul(each)).ok_or(Skip::NotThis)?;
    Ok([start, start.saturating_add(each).min(size)])
}
