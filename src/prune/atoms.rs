//! Indices of axes that stand or fall together, as disjoint sets.

/// An index of an axis of a tensor, or several that were found to be one. [`FIXED`] is what no index may be removed
/// with.
pub type Atom = u32;

/// The indices that stay.
pub const FIXED: Atom = 0;

/// Disjoint sets of atoms: union by size, with paths halved on the way, so that long chains of joins stay shallow.
/// [`FIXED`] is always the root of its set.
#[derive(Clone, Debug)]
pub struct Atoms {
    parents: Vec<Atom>,
    sizes: Vec<u32>,
}

impl Default for Atoms {
    fn default() -> Atoms {
        Atoms { parents: vec![FIXED], sizes: vec![1] }
    }
}

impl Atoms {
    /// `count` atoms that nothing is tied to yet. None where there would be more than a number can count.
    pub fn fresh(&mut self, count: usize) -> Option<std::ops::Range<Atom>> {
        let first = Atom::try_from(self.parents.len()).ok()?;
        let end = first.checked_add(Atom::try_from(count).ok()?)?;
        self.parents.extend(first..end);
        self.sizes.resize(self.parents.len(), 1);
        Some(first..end)
    }

    /// The atom that stands for all that `atom` is one with.
    pub fn find(&mut self, mut atom: Atom) -> Atom {
        while self.parents[atom as usize] != atom {
            let above = self.parents[self.parents[atom as usize] as usize];
            self.parents[atom as usize] = above;
            atom = above;
        }
        atom
    }

    /// Make two sets one.
    pub fn unite(&mut self, a: Atom, b: Atom) {
        let (mut root, mut other) = (self.find(a), self.find(b));
        if root == other {
            return;
        }
        if other == FIXED || (root != FIXED && self.sizes[other as usize] > self.sizes[root as usize]) {
            std::mem::swap(&mut root, &mut other);
        }
        self.parents[other as usize] = root;
        self.sizes[root as usize] = self.sizes[root as usize].saturating_add(self.sizes[other as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_wins_whichever_set_is_larger() {
        let mut atoms = Atoms::default();
        let some: Vec<Atom> = atoms.fresh(5).unwrap().collect();
        for pair in some.windows(2) {
            atoms.unite(pair[0], pair[1]);
        }
        assert_eq!(atoms.find(some[0]), atoms.find(some[4]));
        assert_ne!(atoms.find(some[0]), FIXED);
        atoms.unite(FIXED, some[2]);
        assert!(some.iter().all(|&a| atoms.find(a) == FIXED));
    }

    #[test]
    fn long_chains_are_joined_in_any_order() {
        let mut atoms = Atoms::default();
        let some: Vec<Atom> = atoms.fresh(200_000).unwrap().collect();
        for pair in some.windows(2).rev() {
            atoms.unite(pair[1], pair[0]);
        }
        let root = atoms.find(some[0]);
        assert!(some.iter().all(|&a| atoms.find(a) == root));
    }
}
