//! Arithmetic on dimensions that several families share.

use crate::ir::Int;

/// The product of sizes; `None` when it overflows.
pub fn product(dims: &[Int]) -> Option<Int> {
    if dims.iter().any(|d| d.known() == Some(0)) {
        return Some(Int::from(0));
    }
    dims.iter().try_fold(Int::from(1), |n, d| n.checked_mul(d))
}

/// The sum of sizes; `None` when it overflows.
pub fn sum<'d>(dims: impl IntoIterator<Item = &'d Int>) -> Option<Int> {
    dims.into_iter().try_fold(Int::from(0), |n, d| n.checked_add(d))
}

/// `∏ over / ∏ under`, of which a run leaves no remainder. Equal factors cancel, whatever they are. `None` where the
/// divisor is 0 or the quotient too large to follow.
pub fn quotient(over: &[Int], under: &[Int]) -> Option<Int> {
    let mut over = over.to_vec();
    let mut rest = Vec::new();
    for d in under {
        match over.iter().position(|o| o == d && o.known() != Some(0)) {
            Some(at) => {
                over.swap_remove(at);
            }
            None => rest.push(d.clone()),
        }
    }
    product(&over)?.floor_div(&product(&rest)?)
}

/// Of several expressions for one size, the one that says most.
pub fn clearest<'d>(dims: impl IntoIterator<Item = &'d Int>) -> Option<&'d Int> {
    dims.into_iter().min_by_key(|d| d.vagueness())
}

/// How many indices `start..end` with a positive or negative `step` selects along an axis of size `dim`, as numpy
/// and ONNX count them: negative ends count from the back, what lies outside is cut off.
///
/// `None` when the signs of the ends are not known, or the step is 0.
pub fn slice_len(dim: &Int, start: &Int, end: &Int, step: i64) -> Option<Int> {
    let zero = Int::from(0);
    if let (Some(dim), Some(start), Some(end)) = (dim.known(), start.known(), end.known()) {
        return known_slice(dim, start, end, step).map(|(_, len)| Int::from(len));
    }
    if step < 0 {
        // Only the whole axis backwards.
        let from_end =
            start.known().is_some_and(|s| s == -1 || s >= FAR) || *start == dim.checked_sub(&Int::from(1))?;
        let to_front = end.known().is_some_and(|e| e <= -FAR);
        if !(from_end && to_front) {
            return None;
        }
        return match step {
            -1 => Some(dim.clone()),
            _ => dim.ceil_div(&Int::from(step.checked_neg()?)),
        };
    }
    if step == 0 {
        return None;
    }
    let end = clamp(dim, end)?;
    // `end ≤ dim`, so a start past the axis leaves nothing, as does a start past the end: no need to cut it off.
    let span = match start.known() {
        Some(0) => end,
        Some(s) if s < 0 => {
            if end == *dim {
                dim.lesser(&Int::from(s.checked_neg()?))
            } else {
                end.checked_sub(&clamp(dim, start)?)?.greater(&zero)
            }
        }
        _ if start.surely_non_negative() => end.checked_sub(start)?.greater(&zero),
        _ => end.checked_sub(&clamp(dim, start)?)?.greater(&zero),
    };
    if step == 1 { Some(span) } else { span.ceil_div(&Int::from(step)) }
}

/// Bounds this far out stand for "to the end" in files, whatever the size.
const FAR: i64 = i32::MAX as i64 - 1;

/// Where the bound `at` of a forward slice falls in `0..=dim`. `None` when its sign is not known.
fn clamp(dim: &Int, at: &Int) -> Option<Int> {
    let zero = Int::from(0);
    match at.known() {
        Some(n) if n >= FAR => return Some(dim.clone()),
        Some(n) if n <= -FAR => return Some(zero),
        Some(n) if n < 0 => return Some(dim.checked_add(at)?.greater(&zero)),
        _ => {}
    }
    if at.surely_non_negative() {
        return Some(at.lesser(dim));
    }
    // `dim − 1` is negative for the empty axis alone, where every bound is 0.
    (dim.checked_sub(at)?.known() == Some(1)).then(|| at.greater(&zero))
}

/// The first index and how many: a slice with known numbers.
pub fn known_slice(dim: i64, start: i64, end: i64, step: i64) -> Option<(i64, i64)> {
    if dim < 0 {
        return None;
    }
    let wrap = |at: i64| if at < 0 { at.saturating_add(dim) } else { at };
    let (start, end) = (wrap(start), wrap(end));
    Some(match step {
        0 => return None,
        1.. => {
            let (start, end) = (start.clamp(0, dim), end.clamp(0, dim));
            let span = (end - start).max(0);
            (start, span / step + i64::from(span % step != 0))
        }
        _ => {
            let (start, end) = (start.clamp(-1, dim - 1), end.clamp(-1, dim - 1));
            let span = (start - end).max(0);
            let step = step.checked_neg().unwrap_or(i64::MAX);
            (start, span / step + i64::from(span % step != 0))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::Atom;

    fn n(name: &str) -> Int {
        Int::named(name)
    }

    fn len(dim: &Int, start: i64, end: i64, step: i64) -> String {
        slice_len(dim, &Int::from(start), &Int::from(end), step).map_or("?".into(), |d| d.to_string())
    }

    #[test]
    fn slices_of_known_sizes_agree_with_counting() {
        for dim in 0..5i64 {
            for start in -7..7 {
                for end in -7..7 {
                    for step in [-3, -2, -1, 1, 2, 3] {
                        let wrap = |at: i64| if at < 0 { at + dim } else { at };
                        // As the definition reads: walk from the cut-off start.
                        let (mut at, end_at) = (wrap(start), wrap(end));
                        at = if step > 0 { at.clamp(0, dim) } else { at.clamp(-1, dim - 1) };
                        let end_at = if step > 0 { end_at.clamp(0, dim) } else { end_at.clamp(-1, dim - 1) };
                        let mut count = 0;
                        while if step > 0 { at < end_at } else { at > end_at } {
                            count += 1;
                            at += step;
                        }
                        assert_eq!(
                            len(&Int::from(dim), start, end, step),
                            count.to_string(),
                            "{dim} {start}:{end}:{step}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn symbolic_slices_agree_with_known_ones() {
        for start in -4..4 {
            for end in [-3, -1, 0, 1, 2, 3, i64::from(i32::MAX), i64::MAX] {
                for step in [1, 2, -1] {
                    let Some(l) = slice_len(&n("n"), &Int::from(start), &Int::from(end), step) else { continue };
                    for dim in 0..6 {
                        let at = l.substitute(&|a| matches!(a, Atom::Named(_)).then(|| Int::from(dim))).unwrap();
                        assert_eq!(
                            at.to_string(),
                            len(&Int::from(dim), start, end, step),
                            "{l} {dim} {start}:{end}:{step}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn slices_by_symbolic_bounds_agree_with_known_ones() {
        let (n, m) = (n("n"), n("m"));
        let bounds = [0, 1, -1, 2, -2, i64::MAX].map(Int::from);
        let bounds: Vec<Int> = bounds
            .into_iter()
            .chain([n.clone(), m.clone(), &n - 1, &n - 2, &m - 1, &n + &m, &n * 2, &n - &m])
            .collect();
        let mut told = 0;
        for dim in [n.clone(), &n + 2, &n * 2, &n + &m, m.clone()] {
            for (start, end) in bounds.iter().flat_map(|s| bounds.iter().map(move |e| (s, e))) {
                for step in [1, 2, -1] {
                    let Some(length) = slice_len(&dim, start, end, step) else { continue };
                    told += 1;
                    for sizes in (0..4).flat_map(|a| (0..4).map(move |b| (a, b))) {
                        let with = |a: &Atom| match a {
                            Atom::Named(name) => Some(Int::from(if **name == *"n" { sizes.0 } else { sizes.1 })),
                            _ => None,
                        };
                        let at = |i: &Int| i.substitute(&with).unwrap();
                        let counted = slice_len(&at(&dim), &at(start), &at(end), step).unwrap();
                        assert_eq!(at(&length), counted, "{length} = {dim}[{start}:{end}:{step}] at {sizes:?}");
                    }
                }
            }
        }
        assert!(told > 300, "{told}");
    }

    #[test]
    fn slices_by_a_size_are_simple() {
        let d = n("d");
        assert_eq!(slice_len(&d, &Int::from(0), &d, 1), Some(d.clone()));
        assert_eq!(slice_len(&(&d + 2), &Int::from(2), &Int::from(i64::MAX), 1), Some(d.clone()));
        assert_eq!(slice_len(&(&d + 2), &Int::from(0), &Int::from(-2), 1), Some(d.clone()));
        assert_eq!(slice_len(&(&d + 2), &Int::from(-2), &Int::from(i64::MAX), 1), Some(Int::from(2)));
        assert_eq!(slice_len(&(&d * 2), &d, &Int::from(i64::MAX), 1), Some(d.clone()));
        assert_eq!(slice_len(&d, &Int::from(-1), &Int::from(i64::MIN), -1), Some(d.clone()));
        assert_eq!(slice_len(&(&d * 2), &Int::from(0), &Int::from(i64::MAX), 2), Some(d.clone()));
        // The sign of `d - e` decides from which side it counts.
        assert_eq!(slice_len(&d, &Int::from(0), &(&d - &n("e")), 1), None);
    }

    #[test]
    fn quotients_cancel_and_divide() {
        let (b, s) = (n("b"), n("s"));
        assert_eq!(quotient(&[b.clone(), &s + 1, Int::from(256)], &[&s + 1, Int::from(64)]), Some(&b * 4));
        assert_eq!(quotient(&[b.clone(), s.clone()], &[Int::from(0)]), None);
        assert_eq!(quotient(&[Int::from(0), s], &[Int::from(0)]), None);
        assert_eq!(quotient(&[b.clone()], &[Int::from(3)]), b.floor_div(&Int::from(3)));
    }
}
