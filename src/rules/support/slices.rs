//! Slices with constant bounds, and their composition.

use crate::ops::{CallView, normalize_axis};

/// An end from here on means the end of the axis, whatever its size.
pub const UNBOUNDED: i64 = i32::MAX as i64;

/// What a `Slice` does along one axis, as the file says it: negative positions count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The axis; from the front where the rank is known.
    pub axis: i64,
    /// The first element.
    pub start: i64,
    /// The element to stop before.
    pub end: i64,
    /// The distance between elements.
    pub step: i64,
}

/// The cuts of a `Slice` all of whose bounds are constant.
pub fn cuts(slice: &CallView<'_>) -> Option<Vec<Cut>> {
    let (starts, ends) = (slice.known_ints(1)?, slice.known_ints(2)?);
    let n = starts.len();
    let axes = if slice.has(3) { slice.known_ints(3)? } else { (0..).take(n).collect() };
    let steps = if slice.has(4) { slice.known_ints(4)? } else { vec![1; n] };
    if ends.len() != n || axes.len() != n || steps.len() != n {
        return None;
    }
    (0..n)
        .map(|i| {
            let axis = match slice.rank(0) {
                Some(rank) => i64::try_from(normalize_axis(axes[i], rank)?).ok()?,
                None => axes[i],
            };
            Some(Cut { axis, start: starts[i], end: ends[i], step: steps[i] })
        })
        .collect()
}

impl Cut {
    /// This cut and then `next` along the same axis, of `size` elements where that is known; `None` where the two are
    /// not one cut, or that depends on the run.
    pub fn then(self, next: Cut, size: Option<i64>) -> Option<Cut> {
        if self.step <= 0 || next.step <= 0 {
            return None;
        }
        if let Some(size) = size {
            let (start, count) = self.within(size);
            let (offset, count) = next.within(count);
            let step = self.step.checked_mul(next.step)?;
            let start = start.checked_add(offset.checked_mul(self.step)?)?;
            let end =
                if count == 0 { start } else { (count - 1).checked_mul(step)?.checked_add(start)?.checked_add(1)? };
            return Some(Cut { start, end, step, ..self });
        }
        if (self.step, next.step) != (1, 1) || self.start < 0 || next.start < 0 {
            return None;
        }
        let start = self.start.checked_add(next.start)?;
        let end = match (self.end, next.end) {
            (end, open) if open >= UNBOUNDED => end,
            (open, end) if open >= UNBOUNDED && end < 0 => end,
            (open, end) if open >= UNBOUNDED => self.start.checked_add(end)?,
            (a, b) if a >= 0 && b >= 0 => a.min(self.start.checked_add(b)?),
            (a, b) if a < 0 && b < 0 => a.checked_add(b)?,
            _ => return None,
        };
        Some(Cut { start, end, ..self })
    }

    /// The first element and the number of elements along an axis of `size`.
    pub fn within(self, size: i64) -> (i64, i64) {
        let place = |p: i64| if p < 0 { p.saturating_add(size) } else { p }.clamp(0, size);
        let (start, end) = (place(self.start), place(self.end));
        // Going backward is nobody's question here.
        let (span, step) = ((end - start).max(0), self.step.max(1));
        (start, span / step + i64::from(span % step != 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(cut: Cut, x: &[i64]) -> Vec<i64> {
        let (start, count) = cut.within(x.len() as i64);
        (0..count).map(|i| x[(start + i * cut.step) as usize]).collect()
    }

    #[test]
    fn two_cuts_are_one() {
        let bounds = [-9, -3, -1, 0, 1, 2, 4, 7, 99, UNBOUNDED, i64::MAX];
        let mut seen = 0;
        for size in 0..7 {
            let x: Vec<i64> = (0..size).collect();
            for a in bounds {
                for b in bounds {
                    for c in bounds {
                        for d in bounds {
                            for (s, t) in [(1, 1), (2, 1), (1, 3), (2, 2)] {
                                let first = Cut { axis: 0, start: a, end: b, step: s };
                                let second = Cut { axis: 0, start: c, end: d, step: t };
                                for known in [None, Some(size)] {
                                    let Some(both) = first.then(second, known) else { continue };
                                    seen += 1;
                                    assert_eq!(
                                        apply(both, &x),
                                        apply(second, &apply(first, &x)),
                                        "{first:?} {second:?}"
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
        assert!(seen > 100_000);
    }
}
