//! Strided views: one way to say transpose, slice, broadcast, tile and space-to-depth.

use smallvec::SmallVec;

use crate::exec::exact::Unable;
use crate::exec::exact::args::{Args, count};
use crate::exec::exact::lanes::{Lane, common_splat, per_lane};
use crate::ir::{Data, Dims, Tensor};

/// Where the elements of a result stand in an operand: `start + Σ indexᵢ · strideᵢ`.
#[derive(Clone, Debug)]
pub(super) struct View {
    dims: SmallVec<[usize; 6]>,
    strides: SmallVec<[isize; 6]>,
    start: isize,
}

/// As a step; sizes beyond it span no element that could be visited.
fn step(size: usize) -> isize {
    isize::try_from(size).unwrap_or(isize::MAX)
}

impl View {
    /// All elements in row-major order.
    pub(super) fn of(dims: &[usize]) -> View {
        let mut strides: SmallVec<[isize; 6]> = SmallVec::from_elem(1, dims.len());
        for axis in (1..dims.len()).rev() {
            // Wraps only beside a zero, where nothing is visited.
            strides[axis - 1] = strides[axis].wrapping_mul(step(dims[axis]));
        }
        View { dims: dims.into(), strides, start: 0 }
    }

    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// Axis `i` of the result is axis `axes[i]`.
    pub(super) fn permuted(&self, axes: &[usize]) -> View {
        View {
            dims: axes.iter().map(|&a| self.dims[a]).collect(),
            strides: axes.iter().map(|&a| self.strides[a]).collect(),
            start: self.start,
        }
    }

    /// `count` positions of `axis` from `first` on, `by` apart.
    pub(super) fn stepped(&self, axis: usize, first: usize, by: isize, count: usize) -> View {
        let mut view = self.clone();
        view.start = view.start.wrapping_add(view.strides[axis].wrapping_mul(step(first)));
        view.strides[axis] = view.strides[axis].wrapping_mul(by);
        view.dims[axis] = count;
        view
    }

    /// A new axis before `axis`, along which nothing changes.
    pub(super) fn repeated(&self, axis: usize, times: usize) -> View {
        let mut view = self.clone();
        view.dims.insert(axis, times);
        view.strides.insert(axis, 0);
        view
    }

    /// Broadcast to `dims`, aligned at the last axis; `None` where that is not possible.
    pub(super) fn broadcast(&self, dims: &[usize]) -> Option<View> {
        let lead = dims.len().checked_sub(self.dims.len())?;
        let mut strides: SmallVec<[isize; 6]> = SmallVec::from_elem(0, dims.len());
        for (axis, (&size, &stride)) in self.dims.iter().zip(&self.strides).enumerate() {
            match dims[lead + axis] {
                d if d == size => strides[lead + axis] = if size == 1 { 0 } else { stride },
                _ if size == 1 => {}
                _ => return None,
            }
        }
        Some(View { dims: dims.into(), strides, start: self.start })
    }

    pub(super) fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// The range of elements that the view visits in order, when it visits a range.
    fn range(&self) -> Option<std::ops::Range<usize>> {
        let nest = Nest::new(&self.dims, [&self.strides]);
        let start = usize::try_from(self.start).ok()?;
        let run = match (&nest.dims[..], &nest.strides[..]) {
            ([], _) => 1,
            ([n], [[1]]) => *n,
            _ => return None,
        };
        Some(start..start.checked_add(run)?)
    }
}

/// Nested loops over `N` strided operands, with axes merged where all operands allow it.
pub(super) struct Nest<const N: usize> {
    dims: SmallVec<[usize; 6]>,
    strides: SmallVec<[[isize; N]; 6]>,
}

impl<const N: usize> Nest<N> {
    /// Loops over `dims`; operand `k` advances by `strides[k][axis]`.
    pub(super) fn new(dims: &[usize], strides: [&[isize]; N]) -> Nest<N> {
        let mut nest = Nest { dims: SmallVec::new(), strides: SmallVec::new() };
        for (axis, &size) in dims.iter().enumerate() {
            if size == 1 {
                continue;
            }
            let here: [isize; N] = std::array::from_fn(|k| strides[k][axis]);
            if let (Some(last), Some(outer)) = (nest.dims.last_mut(), nest.strides.last_mut()) {
                let joins = (0..N).all(|k| outer[k] == here[k].wrapping_mul(step(size)));
                if joins && let Some(merged) = last.checked_mul(size) {
                    *last = merged;
                    *outer = here;
                    continue;
                }
            }
            nest.dims.push(size);
            nest.strides.push(here);
        }
        nest
    }

    /// How long a row is, and each operand's step within it.
    pub(super) fn row(&self) -> (usize, [isize; N]) {
        match (self.dims.last(), self.strides.last()) {
            (Some(&n), Some(&s)) => (n, s),
            _ => (1, [1; N]),
        }
    }

    /// Call `f` with each operand's offset at the start of every row, in row-major order.
    pub(super) fn rows(&self, start: [isize; N], mut f: impl FnMut([isize; N])) {
        if self.dims.contains(&0) {
            return;
        }
        let outer = self.dims.len().saturating_sub(1);
        let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer);
        let mut at = start;
        loop {
            f(at);
            let mut axis = outer;
            loop {
                let Some(next) = axis.checked_sub(1) else { return };
                axis = next;
                index[axis] += 1;
                let steps = &self.strides[axis];
                if index[axis] < self.dims[axis] {
                    for k in 0..N {
                        at[k] += steps[k];
                    }
                    break;
                }
                for k in 0..N {
                    at[k] -= steps[k] * step(self.dims[axis] - 1);
                }
                index[axis] = 0;
            }
        }
    }
}

/// An offset as an index. Views only visit elements of their operand.
pub(super) fn at(offset: isize) -> usize {
    debug_assert!(offset >= 0, "a view stays within its operand");
    offset.cast_unsigned()
}

/// The elements that `view` visits, in order.
pub(super) fn read<T: Lane>(source: &[T], view: &View) -> Vec<T> {
    let n = count(&view.dims).unwrap_or(0);
    if n == 0 {
        return Vec::new();
    }
    let nest = Nest::new(&view.dims, [&view.strides]);
    let (len, [by]) = nest.row();
    // Two axes of which the outer one is contiguous in the operand are moved in blocks that stay in the cache.
    let unit = nest.strides.iter().position(|s| s[0] == 1);
    if let Some(axis) = unit
        && axis + 1 < nest.dims.len()
        && by != 0
    {
        return read_blocked(source, view.start, &nest, axis, n);
    }
    let mut out = Vec::with_capacity(n);
    nest.rows([view.start], |[start]| match by {
        1 => out.extend_from_slice(&source[at(start)..at(start) + len]),
        0 => out.resize(out.len() + len, source[at(start)].clone()),
        _ => out.extend((0..step(len)).map(|i| source[at(start + i * by)].clone())),
    });
    out
}

/// As [`read`], where `unit` is the axis along which the operand is contiguous and the last axis is another.
fn read_blocked<T: Lane>(source: &[T], start: isize, nest: &Nest<1>, unit: usize, n: usize) -> Vec<T> {
    const BLOCK: usize = 32;
    let mut out = vec![T::default(); n];
    let rank = nest.dims.len();
    let target = View::of(&nest.dims);
    // The loops around the two axes of a block.
    let around: SmallVec<[usize; 6]> = (0..rank - 1).filter(|&a| a != unit).collect();
    let mut dims: SmallVec<[usize; 6]> = around.iter().map(|&a| nest.dims[a]).collect();
    let mut from: SmallVec<[isize; 6]> = around.iter().map(|&a| nest.strides[a][0]).collect();
    let mut to: SmallVec<[isize; 6]> = around.iter().map(|&a| target.strides[a]).collect();
    // A row of the outer loops is a single block.
    dims.push(1);
    from.push(0);
    to.push(0);
    let outer = Nest { dims, strides: from.iter().zip(&to).map(|(&f, &t)| [f, t]).collect() };
    let (rows, columns) = (nest.dims[unit], nest.dims[rank - 1]);
    let (by, down) = (nest.strides[rank - 1][0], at(target.strides[unit]));
    outer.rows([start, 0], |[from, to]| {
        let to = at(to);
        for top in (0..rows).step_by(BLOCK) {
            for left in (0..columns).step_by(BLOCK) {
                for r in top..rows.min(top + BLOCK) {
                    for c in left..columns.min(left + BLOCK) {
                        out[to + r * down + c] = source[at(from + step(r) + step(c) * by)].clone();
                    }
                }
            }
        }
    });
    out
}

/// The tensor with `dims` whose elements are those of `source` that `view` visits.
///
/// A splat stays one, and a range of whole bytes is shared, not copied.
pub(super) fn pull(args: &Args<'_>, source: &Tensor, view: &View, dims: &[usize]) -> Result<Tensor, Unable> {
    let dtype = source.dtype();
    if let Some(e) = common_splat(&[source]) {
        return args.splat(dtype, dims, &e);
    }
    if let Data::Raw(bytes) = source.data()
        && let Some(range) = view.range()
        && count(&view.dims) != Some(0)
    {
        let (from, to) = (range.start.checked_mul(dtype.bits()), range.end.checked_mul(dtype.bits()));
        if let (Some(from), Some(to)) = (from, to)
            && from % 8 == 0
            && (to % 8 == 0 || to.div_ceil(8) == bytes.len())
            && to.div_ceil(8) <= bytes.len()
        {
            return Tensor::raw(dtype, dims, bytes.slice(from / 8..to.div_ceil(8)))
                .map_err(|e| Unable::malformed(e.to_string()));
        }
    }
    args.room_for(dtype, dims)?;
    per_lane!(dtype, T => T::write(dtype, dims, read::<T>(&T::read(args, source)?, view)))
}

/// The numpy broadcast of several shapes.
pub(super) fn broadcast_dims(shapes: &[&[usize]]) -> Result<Dims, Unable> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut dims: Dims = SmallVec::from_elem(1, rank);
    for shape in shapes {
        let lead = rank - shape.len();
        for (axis, &size) in shape.iter().enumerate() {
            let d = &mut dims[lead + axis];
            match (*d, size) {
                (_, 1) => {}
                (1, _) => *d = size,
                (d, size) if d == size => {}
                _ => {
                    let shapes: Vec<String> = shapes.iter().map(|s| format!("{s:?}")).collect();
                    return Err(Unable::malformed(format!("{} do not broadcast", shapes.join(" and "))));
                }
            }
        }
    }
    Ok(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(n: u8) -> Vec<[u8; 1]> {
        (0..n).map(|i| [i]).collect()
    }

    fn flat(lanes: &[[u8; 1]]) -> Vec<u8> {
        lanes.as_flattened().to_vec()
    }

    #[test]
    fn a_permuted_view_transposes() {
        let view = View::of(&[2, 3]).permuted(&[1, 0]);
        assert_eq!(flat(&read(&lanes(6), &view)), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn blocks_cover_sizes_that_are_no_multiple() {
        let (r, c) = (70usize, 45usize);
        let source: Vec<[u8; 2]> = (0..r * c).map(|i| u16::try_from(i).unwrap().to_le_bytes()).collect();
        let out = read(&source, &View::of(&[r, c]).permuted(&[1, 0]));
        for i in 0..r {
            for j in 0..c {
                assert_eq!(out[j * r + i], source[i * c + j]);
            }
        }
    }

    #[test]
    fn axes_merge_where_every_operand_is_contiguous() {
        let (a, b) = (View::of(&[2, 3, 4]), View::of(&[2, 3, 4]));
        let nest = Nest::new(&[2, 3, 4], [a.strides(), b.strides()]);
        assert_eq!(nest.row(), (24, [1, 1]));
    }

    #[test]
    fn a_reversed_axis_is_read_backwards() {
        let view = View::of(&[4]).stepped(0, 3, -2, 2);
        assert_eq!(flat(&read(&lanes(4), &view)), [3, 1]);
    }

    #[test]
    fn an_empty_view_reads_nothing() {
        let view = View::of(&[0, 3]).broadcast(&[5, 0, 3]).unwrap();
        assert_eq!(read(&lanes(0), &view), Vec::<[u8; 1]>::new());
    }
}
