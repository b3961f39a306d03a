//! `Slice` of a `Concat` that takes exactly one of the joined parts is that part.

use crate::ir::OpKind::{Concat, Slice};
use crate::rewrite::{Exactness, Rule, Skip, applies, call};
use crate::rules::support::parts::{axis, operands, size};
use crate::rules::support::slices::{UNBOUNDED, cuts};

pub fn rule() -> Rule {
    let (slice, concat) = (call("slice"), call("concat"));
    let pattern = Slice.any().on(Concat.any().bind(concat)).bind(slice);
    Rule::new("drop-slice-of-concat", Exactness::Bitwise, pattern, move |m| {
        let (slice, concat) = (m.call(slice), m.call(concat));
        let cuts = cuts(&slice).ok_or(Skip::NotThis)?;
        let [cut] = cuts[..] else { return Err(Skip::NotThis) };
        let along = axis(&concat).ok_or(Skip::NotThis)?;
        applies(cut.step == 1 && usize::try_from(cut.axis) == Ok(along))?;
        let joined = operands(&concat).ok_or(Skip::NotThis)?;
        let sizes: Vec<Option<i64>> = joined.iter().map(|&v| size(&concat, v, along).and_then(|s| s.known())).collect();
        // Positions from the front need the sizes before them, positions from the back those behind.
        let front = running(sizes.iter().copied());
        let mut back = running(sizes.iter().rev().copied());
        back.reverse();
        let (before, behind) = (|i: usize| front[i], |i: usize| back[i]);
        let starts_at =
            |i: usize| before(i) == Some(cut.start) || cut.start < 0 && behind(i) == cut.start.checked_neg();
        let ends_at = |i: usize| {
            let last = i == joined.len();
            before(i) == Some(cut.end)
                || last && cut.end >= UNBOUNDED
                || last && before(i).is_some_and(|n| cut.end >= n)
                || cut.end < 0 && cut.end.checked_neg() == behind(i)
        };
        let part = (0..joined.len()).find(|&i| starts_at(i) && ends_at(i + 1)).ok_or(Skip::NotThis)?;
        Ok(joined[part])
    })
    .even_if_shared()
}

/// The sum of the sizes before each position, and of all; `None` from where one is not known or the sum overflows.
fn running(sizes: impl Iterator<Item = Option<i64>>) -> Vec<Option<i64>> {
    let mut sum = Some(0i64);
    let mut sums = vec![sum];
    sums.extend(sizes.map(|size| {
        sum = sum.zip(size).and_then(|(sum, size)| sum.checked_add(size));
        sum
    }));
    sums
}

#[cfg(test)]
mod tests {
    use super::running;

    #[test]
    fn sums_end_where_they_are_not_known() {
        assert_eq!(running([Some(2), Some(3)].into_iter()), [Some(0), Some(2), Some(5)]);
        assert_eq!(running([Some(2), None, Some(3)].into_iter()), [Some(0), Some(2), None, None]);
        assert_eq!(running([Some(i64::MAX), Some(1), Some(1)].into_iter()), [Some(0), Some(i64::MAX), None, None]);
    }
}
