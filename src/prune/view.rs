//! Which indices of the axes of a `Reshape` are one another's.
//!
//! The elements of a tensor and of its view come in the same order, so both shapes are products of common factors: the
//! boundaries between axes of either, as strides, cut the count of elements into factors where each divides the next
//! (`[N, 3·h·d]` and `[N, 3, h, d]` have `3`, `h` and `d` between them). Indices can be removed along one factor: what
//! has coordinate `c` of it, on any axis that contains the factor, is one class. Along which factor is for the rest of
//! the graph to say: other axes fix some of them (heads are picked by `Split`, spatial axes by `Conv`), and where two
//! are left, the outer one is taken (whole heads, not a part of each).

use std::sync::Arc;

use crate::ir::Int;
use crate::prune::atoms::{Atom, Atoms, FIXED};

/// Axes of both shapes between two places where as many elements come before either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The operand's axes.
    pub before: std::ops::Range<usize>,
    /// The result's.
    pub after: std::ops::Range<usize>,
}

/// The segments of a view, from the first axis on. Where sizes are symbols, axes match that are the same expression;
/// `None` where that does not tell how the shapes line up.
pub fn segments(before: &[Int], after: &[Int]) -> Option<Vec<Segment>> {
    let one = Int::from(1);
    let mut found = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < before.len() || j < after.len() {
        let (from, to) = (i, j);
        let (mut a, mut b) = (one.clone(), one.clone());
        // Axes of size 1 go with what follows them.
        loop {
            if i > from && j > to && a == b && a != one {
                break;
            }
            let left = a.known().zip(b.known()).map(|(a, b)| a <= b);
            let takes_left = match (i < before.len(), j < after.len()) {
                (false, false) => break,
                (true, false) => true,
                (false, true) => false,
                (true, true) => left.unwrap_or_else(|| !(b.known() == Some(1) || a.exact_div(&b).is_some())),
            };
            if takes_left {
                a = a.checked_mul(&before[i])?;
                i += 1;
            } else {
                b = b.checked_mul(&after[j])?;
                j += 1;
            }
        }
        if a != b {
            return None;
        }
        found.push(Segment { before: from..i, after: to..j });
    }
    Some(found)
}

/// An axis of a view, whose indices are told by the factors between `stride` and `stride · size`.
#[derive(Clone, Debug)]
struct Side {
    size: usize,
    stride: usize,
    /// `None` for an axis of the result of which nothing is known yet: nothing of it is fixed.
    atoms: Option<Arc<[Atom]>>,
}

/// A segment of known sizes with more than one factor, until it is known along which its indices can be removed.
#[derive(Clone, Debug)]
pub struct Factors {
    /// Each factor's size and stride, from the outermost.
    factors: Vec<(usize, usize)>,
    /// The operand's axes, and the result's, each from the last on.
    sides: Vec<Side>,
    /// How many are the operand's.
    before: usize,
}

impl Factors {
    /// The factors of a segment: the atoms of the operand's axes, and the sizes of the result's. `None` where the shapes
    /// have no common factors.
    pub fn of(before: &[Arc<[Atom]>], after: &[usize]) -> Option<Factors> {
        let (mut sides, mut strides) = (Vec::new(), vec![1usize]);
        let mut add = |size: usize, atoms: Option<&Arc<[Atom]>>, stride: &mut usize| {
            sides.push(Side { size, stride: *stride, atoms: atoms.cloned() });
            *stride = stride.checked_mul(size)?;
            strides.push(*stride);
            Some(())
        };
        let mut stride = 1;
        before.iter().rev().try_for_each(|atoms| add(atoms.len(), Some(atoms), &mut stride))?;
        stride = 1;
        after.iter().rev().try_for_each(|&size| add(size, None, &mut stride))?;
        strides.sort_unstable();
        strides.dedup();
        let pairs = strides.windows(2).rev();
        let factors = pairs.map(|p| (p[0] != 0 && p[1] % p[0] == 0).then(|| (p[1] / p[0], p[0])));
        Some(Factors { factors: factors.collect::<Option<_>>()?, sides, before: before.len() })
    }

    /// Say what the atoms of the result's axes are.
    pub fn know(&mut self, after: &[Arc<[Atom]>]) {
        for (side, atoms) in self.sides[self.before..].iter_mut().zip(after.iter().rev()) {
            side.atoms = Some(atoms.clone());
        }
    }

    /// The coordinate of each index of `side` along a factor; `None` where the axis has only one.
    fn coordinates(&self, side: &Side, factor: usize) -> Option<impl Iterator<Item = usize>> {
        let (size, stride) = self.factors[factor];
        let (low, len) = (side.stride, side.size);
        let contains = low <= stride && stride.checked_mul(size)? <= low.checked_mul(len)?;
        contains.then(move || (0..len).map(move |i| i / (stride / low) % size))
    }

    /// The factors along which at least one index may still be removed, from the outermost.
    pub fn viable(&self, atoms: &mut Atoms) -> Vec<usize> {
        let mut viable = Vec::new();
        for factor in 0..self.factors.len() {
            let mut free = vec![true; self.factors[factor].0];
            for side in &self.sides {
                let Some((coordinates, of_side)) = self.coordinates(side, factor).zip(side.atoms.as_ref()) else {
                    continue;
                };
                for (coordinate, &atom) in coordinates.zip(&**of_side) {
                    if free[coordinate] && atoms.find(atom) == FIXED {
                        free[coordinate] = false;
                    }
                }
            }
            if free.contains(&true) {
                viable.push(factor);
            }
        }
        viable
    }

    /// Tie the indices of all axes along this factor, and fix the axes that do not have it; fix all without a factor.
    /// The atoms of the result's axes that were not known before, `None` where all of them stay.
    pub fn settle(&self, factor: Option<usize>, atoms: &mut Atoms) -> Vec<Option<Arc<[Atom]>>> {
        for side in &self.sides {
            if factor.and_then(|factor| self.coordinates(side, factor)).is_none() {
                side.atoms.iter().flat_map(|of_side| &**of_side).for_each(|&atom| atoms.unite(FIXED, atom));
            }
        }
        let after = self.sides[self.before..].iter().rev();
        let Some(factor) = factor else { return after.map(|_| None).collect() };
        let mut first: Vec<Option<Atom>> = vec![None; self.factors[factor].0];
        for side in &self.sides {
            let Some((coordinates, of_side)) = self.coordinates(side, factor).zip(side.atoms.as_ref()) else {
                continue;
            };
            for (coordinate, &atom) in coordinates.zip(&**of_side) {
                match first[coordinate] {
                    Some(one) if one == atom => {}
                    Some(one) => atoms.unite(one, atom),
                    None => first[coordinate] = Some(atom),
                }
            }
        }
        let of_factor =
            |side: &Side| self.coordinates(side, factor)?.map(|at| first[at]).collect::<Option<Arc<[Atom]>>>();
        after.map(of_factor).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(sizes: &[i64]) -> Vec<Int> {
        sizes.iter().map(|&n| Int::from(n)).collect()
    }

    fn spans(before: &[Int], after: &[Int]) -> Option<Vec<(usize, usize)>> {
        Some(segments(before, after)?.into_iter().map(|s| (s.before.len(), s.after.len())).collect())
    }

    #[test]
    fn shapes_line_up_where_as_many_elements_come_before() {
        assert_eq!(spans(&dims(&[2, 6, 5]), &dims(&[2, 3, 2, 5])), Some(vec![(1, 1), (1, 2), (1, 1)]));
        assert_eq!(spans(&dims(&[1, 8, 1, 4]), &dims(&[8, 4])), Some(vec![(2, 1), (2, 1)]));
        assert_eq!(spans(&dims(&[4, 6]), &dims(&[6, 4])), Some(vec![(2, 2)]));
        assert_eq!(spans(&dims(&[8]), &dims(&[8, 1, 1])), Some(vec![(1, 1), (0, 2)]));
        let n = Int::named("n");
        let with = |rest: &[i64]| [vec![n.clone()], dims(rest)].concat();
        assert_eq!(spans(&with(&[12, 5]), &with(&[3, 4, 5])), Some(vec![(1, 1), (1, 2), (1, 1)]));
        let rows = n.checked_mul(&Int::from(12)).unwrap();
        assert_eq!(spans(&with(&[12, 5]), &[rows, Int::from(5)]), Some(vec![(2, 1), (1, 1)]));
        assert_eq!(spans(&with(&[12]), &dims(&[12])), None);
    }

    fn axes(atoms: &mut Atoms, sizes: &[usize]) -> Vec<Arc<[Atom]>> {
        sizes.iter().map(|&n| atoms.fresh(n).unwrap().collect()).collect()
    }

    #[test]
    fn a_split_axis_is_told_by_either_factor() {
        let mut atoms = Atoms::default();
        let (before, after) = (axes(&mut atoms, &[6]), axes(&mut atoms, &[2, 3]));
        let mut f = Factors::of(&before, &[2, 3]).unwrap();
        f.know(&after);
        assert_eq!(f.viable(&mut atoms), [0, 1]);
        atoms.unite(FIXED, after[0][0]);
        atoms.unite(FIXED, after[0][1]);
        assert_eq!(f.viable(&mut atoms), [1]);
        f.settle(Some(1), &mut atoms);
        let one = |atoms: &mut Atoms, i: usize, j: usize| atoms.find(before[0][i]) == atoms.find(after[1][j]);
        assert!(one(&mut atoms, 0, 0) && one(&mut atoms, 3, 0) && one(&mut atoms, 5, 2) && !one(&mut atoms, 1, 0));
    }

    #[test]
    fn a_result_of_one_factor_has_the_atoms_of_the_operand() {
        let mut atoms = Atoms::default();
        let channels = axes(&mut atoms, &[3]).remove(0);
        let before = [channels.clone(), vec![FIXED; 2].into()];
        let f = Factors::of(&before, &[6]).unwrap();
        assert_eq!(f.viable(&mut atoms), [0]);
        let after = f.settle(Some(0), &mut atoms).remove(0).unwrap();
        assert_eq!(&*after, [0, 0, 1, 1, 2, 2].map(|i| channels[i]));
        let fixed: [Arc<[Atom]>; 1] = [vec![FIXED; 6].into()];
        let f = Factors::of(&fixed, &[3, 2]).unwrap();
        assert_eq!((f.viable(&mut atoms), f.settle(None, &mut atoms)), (vec![], vec![None, None]));
    }

    #[test]
    fn shapes_without_common_factors_have_none() {
        let mut atoms = Atoms::default();
        let before = axes(&mut atoms, &[4, 6]);
        assert!(Factors::of(&before, &[6, 4]).is_none());
    }
}
