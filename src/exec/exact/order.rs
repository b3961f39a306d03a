//! The largest and the smallest, and where they stand.

use std::cmp::Ordering;

use crate::exec::exact::args::{Args, count};
use crate::exec::exact::cumulate::each_line;
use crate::exec::exact::lanes::{Lane, per_lane};
use crate::exec::exact::number::{Number, numbers, per_number};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Dims, Key, OpKind, Tensor};

const NAN: Unable = Unable::Undefined("there is no order among elements that are not numbers");

fn compare<T: PartialOrd>(a: T, b: T) -> Ordering {
    a.partial_cmp(&b).unwrap_or(Ordering::Equal)
}

fn index(i: usize) -> [u8; 8] {
    i64::try_from(i).unwrap_or(i64::MAX).to_le_bytes()
}

/// Operand 0 with no NaN in it.
fn ordered<T: Number>(args: &Args<'_>, data: &Tensor) -> Result<Vec<T>, Unable> {
    let elements: Vec<T> = numbers(args, data)?;
    if elements.iter().any(|x| x.is_nan()) { Err(NAN) } else { Ok(elements) }
}

/// `ArgMax` and `ArgMin`.
pub(super) fn arg(args: &Args<'_>) -> Result<Folded, Unable> {
    const AXIS: Key<i64> = Key::new("axis", 0);
    const KEEP_DIMS: Key<bool> = Key::new("keepdims", true);
    const LAST: Key<bool> = Key::new("select_last_index", false);
    let data = args.tensor(0)?;
    let along = args.axis(AXIS, data.rank())?;
    let mut dims = Dims::from(data.dims());
    if dims[along] == 0 {
        return Err(Unable::malformed("there is no largest of nothing"));
    }
    dims[along] = 1;
    args.room_for(DType::I64, &dims)?;
    args.room(data.dtype(), data.len())?;
    let (is_max, last) = (args.op() == OpKind::ArgMax, LAST.of(args.node()));
    let mut found: Vec<[u8; 8]> = Vec::new();
    // `each_line` visits lines in the order of the result: axes before the line's, then axes after it.
    per_number!(data.dtype(), T => {
        let elements = ordered::<T>(args, data)?;
        each_line(data, along, |line| {
            let mut best: Option<(usize, T)> = None;
            for (i, at) in line.enumerate() {
                let x = elements[at];
                let order = best.map_or(Ordering::Greater, |(_, b)| if is_max { compare(x, b) } else { compare(b, x) });
                if order.is_gt() || (last && order.is_eq()) {
                    best = Some((i, x));
                }
            }
            found.push(index(best.map_or(0, |(i, _)| i)));
        });
    }, else => return Err(Unable::NoKernel));
    if !KEEP_DIMS.of(args.node()) {
        dims.remove(along);
    }
    <[u8; 8]>::write(DType::I64, &dims, found).map(Folded::from)
}

/// `TopK`: in order, whether asked to or not; of equals, the one that comes first.
pub(super) fn top_k(args: &Args<'_>) -> Result<Folded, Unable> {
    const AXIS: Key<i64> = Key::new("axis", -1);
    const LARGEST: Key<bool> = Key::new("largest", true);
    let data = args.tensor(0)?;
    let along = args.axis(AXIS, data.rank())?;
    let k = usize::try_from(args.int(1)?).ok().filter(|&k| k <= data.dims()[along]);
    let k = k.ok_or_else(|| Unable::malformed(format!("more than the {} elements there are", data.dims()[along])))?;
    let largest = LARGEST.of(args.node());
    let mut dims = Dims::from(data.dims());
    dims[along] = k;
    let n = args.room_for(DType::I64, &dims)?;
    args.room(DType::I64, data.len())?;
    if n == 0 {
        let values = per_lane!(data.dtype(), T => T::write(data.dtype(), &dims, Vec::new()))?;
        return Ok(Folded::bitwise(vec![values, <[u8; 8]>::write(DType::I64, &dims, Vec::new())?]));
    }
    per_number!(data.dtype(), T => {
        let elements = ordered::<T>(args, data)?;
        let mut values = vec![T::ZERO.put(); n];
        let mut indices = vec![[0u8; 8]; values.len()];
        let inner = count(&data.dims()[along + 1..]).unwrap_or(0);
        let mut order: Vec<(usize, T)> = Vec::with_capacity(data.dims()[along]);
        let mut lines = 0;
        each_line(data, along, |line| {
            order.clear();
            order.extend(line.enumerate().map(|(i, at)| (i, elements[at])));
            order.sort_unstable_by(|(i, a), (j, b)| {
                let by_value = if largest { compare(*b, *a) } else { compare(*a, *b) };
                by_value.then(i.cmp(j))
            });
            let first = lines / inner * k * inner + lines % inner;
            for (rank, (i, x)) in order.iter().take(k).enumerate() {
                values[first + rank * inner] = x.put();
                indices[first + rank * inner] = index(*i);
            }
            lines += 1;
        });
        let values = Lane::write(data.dtype(), &dims, values)?;
        Ok(Folded::bitwise(vec![values, Lane::write(DType::I64, &dims, indices)?]))
    }, else => Err(Unable::NoKernel))
}
