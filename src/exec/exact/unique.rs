//! `Unique`: the different elements, or slices along an axis.

use std::cmp::Ordering;

use bytes::Bytes;

use crate::exec::exact::args::{Args, axis, count};
use crate::exec::exact::lanes::{Lane, per_lane};
use crate::exec::exact::layout::{View, read};
use crate::exec::exact::number::{Number, numbers, per_number};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Dims, Key, Tensor};
use crate::ops::slice::AXIS;

/// `Unique`
pub(super) fn unique(args: &Args<'_>) -> Result<Folded, Unable> {
    const SORTED: Key<bool> = Key::new("sorted", true);
    let data = args.tensor(0)?;
    if args.room_for(data.dtype(), data.dims())? == 0 {
        // Slices without elements: how many there are is not bounded by the operand's bytes.
        return Err(Unable::Undefined("whether slices without elements differ"));
    }
    let flat;
    let (data, along) = match AXIS.get(args.node()) {
        Some(a) => (data, axis(a, data.rank())?),
        None => {
            flat = data.reshaped(&[data.len()]).map_err(|e| Unable::malformed(e.to_string()))?;
            (&flat, 0)
        }
    };
    let groups = per_number!(data.dtype(), T => {
        let elements: Vec<T> = numbers(args, data)?;
        if elements.iter().any(|x| x.is_nan()) {
            return Err(Unable::Undefined("whether one NaN equals another"));
        }
        group(args, data, along, &elements, |a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal))
    }, else => match data.dtype() {
        DType::Bool => group(args, data, along, &<[u8; 1]>::read(args, data)?, Ord::cmp),
        DType::String => group(args, data, along, &Bytes::read(args, data)?, Ord::cmp),
        _ => Err(Unable::NoKernel),
    })?;
    let mut groups = groups;
    if !SORTED.of(args.node()) {
        groups.sort_unstable_by_key(|g| g.first().copied());
    }
    results(args, data, along, &groups)
}

/// Positions along the axis with equal slices, in the order of the slices; within a group, in order.
fn group<T: Clone + Default + PartialEq>(
    args: &Args<'_>,
    data: &Tensor,
    along: usize,
    elements: &[T],
    compare: impl Fn(&T, &T) -> Ordering,
) -> Result<Vec<Vec<usize>>, Unable> {
    let size = data.dims()[along];
    args.room(DType::I64, size)?;
    let run = count(&data.dims()[..along]).unwrap_or(0) * count(&data.dims()[along + 1..]).unwrap_or(0);
    // Slices stand side by side when their axis comes first.
    let mut axes: Vec<usize> = (0..data.rank()).collect();
    axes.remove(along);
    axes.insert(0, along);
    let order = View::of(data.dims()).permuted(&axes);
    let offsets: Vec<usize> = (0..elements.len()).collect();
    let moved = if along == 0 { offsets } else { permute(&offsets, &order) };
    let slice = |i: usize| moved[i * run..(i + 1) * run].iter().map(|&at| &elements[at]);
    let by_content = |&i: &usize, &j: &usize| {
        slice(i).zip(slice(j)).map(|(a, b)| compare(a, b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    };
    let mut positions: Vec<usize> = (0..size).collect();
    // Stable: equal slices keep their order.
    positions.sort_by(by_content);
    Ok(positions.chunk_by(|i, j| by_content(i, j).is_eq()).map(<[usize]>::to_vec).collect())
}

fn permute(offsets: &[usize], order: &View) -> Vec<usize> {
    let lanes: Vec<[u8; 8]> = offsets.iter().map(|o| o.to_le_bytes().map(|b| b)).collect();
    read(&lanes, order).into_iter().map(usize::from_le_bytes).collect()
}

/// The slices, where each first stands, which group each position is in, and how large each group is.
fn results(args: &Args<'_>, data: &Tensor, along: usize, groups: &[Vec<usize>]) -> Result<Folded, Unable> {
    let long = |i: usize| i64::try_from(i).unwrap_or(i64::MAX);
    let firsts: Vec<usize> = groups.iter().filter_map(|g| g.first().copied()).collect();
    let mut inverse = vec![0i64; data.dims()[along]];
    for (g, members) in groups.iter().enumerate() {
        members.iter().for_each(|&i| inverse[i] = long(g));
    }
    let mut dims = Dims::from(data.dims());
    dims[along] = firsts.len();
    let (outer, inner) = (count(&dims[..along]).unwrap_or(0), count(&dims[along + 1..]).unwrap_or(0));
    let size = data.dims()[along];
    let values = per_lane!(data.dtype(), T => {
        let lanes = T::read(args, data)?;
        let starts = (0..outer).flat_map(|o| firsts.iter().map(move |f| (o * size + f) * inner));
        T::write(data.dtype(), &dims, starts.flat_map(|s| lanes[s..s + inner].iter().cloned()).collect())
    })?;
    let indices: Vec<i64> = firsts.iter().map(|&i| long(i)).collect();
    let counts: Vec<i64> = groups.iter().map(|g| long(g.len())).collect();
    Ok(Folded::bitwise(vec![values, Tensor::vector(&indices), Tensor::vector(&inverse), Tensor::vector(&counts)]))
}
