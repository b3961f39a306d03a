//! Where a size that becomes open stands in what a `Reshape` makes of it.

use crate::ir::{Atom, Int};

/// A size that becomes open.
pub(super) struct Open {
    /// What stands for it.
    pub(super) atom: Atom,
    /// What it was.
    pub(super) old: i64,
}

impl Open {
    /// Whether `size` depends on it.
    pub(super) fn is_in(&self, size: &Int) -> bool {
        size.mentions(&|atom| *atom == self.atom)
    }

    /// What `size` was before.
    pub(super) fn before(&self, size: &Int) -> Option<Int> {
        size.substitute(&|atom| (*atom == self.atom).then(|| Int::from(self.old)))
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
        self.atom.to_string()
    }
}

fn product(sizes: &[Int]) -> Option<Int> {
    sizes.iter().try_fold(Int::from(1), |n, d| n.checked_mul(d))
}

/// The sizes that a `Reshape` of `dims` to `target` makes when the open size is not the old one any more, and how much
/// of the axis that the size went into lies within it.
///
/// A reshape keeps the order of the elements. So what lies before the open size in `dims` lies before it in the
/// result: the entry of the target that begins there was a multiple of the old size. Where a size of 1 leaves several
/// entries to choose from, it is the first that held nothing but the size, then one that it was the outermost part of;
/// but the last axis, which holds the features that weights are made for, comes after all others.
///
/// `inner` says for an axis of `dims` how much of it lies within the open size; without it, all that is not the size.
/// `None` when no entry can have held the size.
pub(super) fn reshaped(
    open: &Open,
    dims: &[Int],
    target: &[Int],
    allowzero: bool,
    inner: Option<&(usize, Int)>,
) -> Option<(Vec<Int>, Option<(usize, Int)>)> {
    let mut now: Vec<Int> = dims.iter().map(|d| open.before(d)).collect::<Option<_>>()?;
    let mut made = resolved(open, &now, target, allowzero)?;
    let mut placed = None;
    for (axis, dim) in dims.iter().enumerate().filter(|(_, d)| open.is_in(d)) {
        let mut before = product(&now[..axis])?;
        // A multiple of the size by itself, or all that is computed from it.
        let times = dim.exact_div(&Int::atom(open.atom.clone())).filter(|k| !open.is_in(k));
        let (old, new) = match times {
            Some(times) => {
                let within = inner.filter(|(at, _)| *at == axis).map_or(&times, |(_, within)| within);
                before = before.checked_mul(&times.exact_div(within)?)?;
                (Int::from(open.old), Int::atom(open.atom.clone()))
            }
            None => (now[axis].clone(), dim.clone()),
        };
        let (place, outside, within) = place(&made, &before, &old)?;
        made[place] = outside.checked_mul(&new)?.checked_mul(&within)?;
        placed = Some((place, within));
        now[axis] = dim.clone();
    }
    let all = product(&made)?;
    (Some(all) == product(dims)).then_some((made, placed))
}

/// The entry of `made` in which a factor `old` begins behind `before` elements, and what lies outside and within it in
/// that entry.
fn place(made: &[Int], before: &Int, old: &Int) -> Option<(usize, Int, Int)> {
    let one = Int::from(1);
    let mut best: Option<(u8, usize, Int, Int)> = None;
    for (axis, size) in made.iter().enumerate() {
        let Some(outside) = product(&made[..axis]).and_then(|p| before.exact_div(&p)) else { continue };
        let Some(within) = outside.checked_mul(old).and_then(|k| size.exact_div(&k)) else { continue };
        let rank = match (outside == one, within == one) {
            (true, true) => 0,
            (true, false) if axis + 1 < made.len() => 1,
            (false, _) => 2,
            (true, false) => 3,
        };
        if best.as_ref().is_none_or(|(least, ..)| rank < *least) {
            best = Some((rank, axis, outside, within));
        }
    }
    best.map(|(_, axis, outside, within)| (axis, outside, within))
}

/// The sizes that `target` makes of `dims`.
fn resolved(open: &Open, dims: &[Int], target: &[Int], allowzero: bool) -> Option<Vec<Int>> {
    let mut made = Vec::with_capacity(target.len());
    let mut inferred = None;
    for (axis, entry) in target.iter().enumerate() {
        made.push(match entry.known() {
            Some(0) if !allowzero => dims.get(axis)?.clone(),
            Some(-1) => {
                inferred = Some(axis);
                Int::from(1)
            }
            _ => open.before(entry)?,
        });
    }
    let all = product(dims)?;
    if let Some(axis) = inferred {
        made[axis] = all.exact_div(&product(&made)?)?;
    }
    (product(&made)? == all).then_some(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `reshaped` of sizes such as `12n`, with `n` becoming open; the result as text.
    fn made(old: i64, dims: &str, target: &str) -> Option<String> {
        made_within(old, dims, target, None)
    }

    fn made_within(old: i64, dims: &str, target: &str, inner: Option<(usize, i64)>) -> Option<String> {
        let int = |text: &str| match text.strip_suffix('n') {
            Some("") => Int::named("n"),
            Some(times) => &Int::named("n") * times.parse::<i64>().unwrap(),
            None => text.parse::<i64>().map_or_else(|_| Int::named(text), Int::from),
        };
        let ints = |text: &str| text.split(' ').map(int).collect::<Vec<_>>();
        let open = Open { atom: Atom::Named("n".into()), old };
        let inner = inner.map(|(axis, n)| (axis, Int::from(n)));
        let (made, _) = reshaped(&open, &ints(dims), &ints(target), false, inner.as_ref())?;
        Some(made.iter().map(Int::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_size_stays_where_it_is_among_the_elements() {
        for (old, dims, target, result) in [
            (1, "n 197 768", "1 197 12 64", "n 197 12 64"),
            (1, "n 197 768", "1 197 -1", "n 197 768"),
            (1, "n 12 197 64", "12 197 64", "12*n 197 64"),
            (1, "n 1000", "1 -1", "n 1000"),
            (1, "n 1000", "-1", "1000*n"),
            (1, "n 8 7 8 7 96", "64 49 96", "64*n 49 96"),
            (1, "64n 3 49 49", "1 64 3 49 49", "n 64 3 49 49"),
            // The sequence first, as in torch.nn.MultiheadAttention.
            (1, "197 n 768", "197 12 64", "197 12*n 64"),
            (1, "197 n 12 64", "197 768", "197*n 768"),
            (1, "12n 197 64", "1 12 197 64", "n 12 197 64"),
            (1, "n 1 28 28", "1 784", "n 784"),
            (1, "n s 768", "1 -1 12 64", "n s 12 64"),
            (1, "n s 768", "0 0 12 64", "n s 12 64"),
            (4, "n 6", "4 2 3", "n 2 3"),
            (4, "n 6", "24", "6*n"),
            (4, "n 6", "2 12", "?"),
            (1, "n 6", "1 5", "?"),
        ] {
            assert_eq!(made(old, dims, target).unwrap_or("?".into()), result, "[{dims}] to [{target}], n = {old}");
        }
    }

    #[test]
    fn what_lies_within_an_axis_is_remembered() {
        // Heads before samples: [12, n, 197] as [12*n, 197].
        assert_eq!(made_within(1, "12n 197", "12 1 197", Some((0, 1))).as_deref(), Some("12 n 197"));
        assert_eq!(made_within(1, "12n 197", "1 12 197", Some((0, 12))).as_deref(), Some("n 12 197"));
        assert_eq!(made_within(1, "12n 197", "12 1 197", Some((0, 12))).as_deref(), Some("12*n 1 197"));
    }

    #[test]
    fn sizes_computed_from_the_open_one_move_as_a_whole() {
        let open = Open { atom: Atom::Named("h".into()), old: 224 };
        let h = Int::named("h").floor_div(&Int::from(32)).unwrap();
        let dims = [Int::from(1), Int::from(64), h.clone(), Int::from(7)];
        let target = [1, 64, 49].map(Int::from);
        let (made, _) = reshaped(&open, &dims, &target, false, None).unwrap();
        assert_eq!(made, [Int::from(1), Int::from(64), &h * 7]);
        assert!(reshaped(&open, &dims, &[1, 64, 48].map(Int::from), false, None).is_none());
    }
}
