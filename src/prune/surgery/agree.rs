//! Whether what a cut leaves of a call's operands and results belongs together.
//!
//! The operator's ties say what does. An axis that no tie names cannot lose anything, so a call of which nothing is
//! known keeps all that it has.

use std::collections::BTreeSet;
use std::ops::Range;

use smallvec::SmallVec;

use crate::ir::{OpKind, count};
use crate::ops::{End, Port, Tie};
use crate::prune::Refused;
use crate::prune::call::{Call, name};
use crate::prune::view::segments;

/// Check the cut of one call.
///
/// # Errors
/// When an axis loses something on its own, or another loses something else.
pub(super) fn check(call: &Call<'_>) -> Result<(), Refused> {
    let ties = call.ties();
    let cut = call.ends();
    for end in &cut {
        if !ties.iter().any(|tie| names(tie, *end)) && !is_uniform(call, *end) {
            let why = format!("{} cannot lose anything", name(*end));
            return Err(call.refuse(why, "protect the tensors around this node from pruning"));
        }
    }
    for tie in &ties {
        if let Err(end) = holds(call, tie, &cut) {
            let why = format!("{} does not lose what belongs to the rest", name(end));
            return Err(call.refuse(why, "protect the tensors around this node from pruning"));
        }
    }
    Ok(())
}

/// Whether every index of a result is like every other: any of them may go.
fn is_uniform(call: &Call<'_>, end: End) -> bool {
    call.view.node().op == OpKind::ConstantOfShape && end.port == Port::Result(0)
}

/// Whether a tie is about `end`.
fn names(tie: &Tie, end: End) -> bool {
    let mut ends = Vec::new();
    match tie {
        Tie::Same(a, b) | Tie::Contracted(a, b) => ends.extend([*a, *b]),
        Tie::Summed(a) => ends.push(*a),
        Tie::Picked { from, to, .. } => ends.extend([*from, *to]),
        Tie::Joined { whole, parts } => {
            ends.push(*whole);
            ends.extend(parts);
        }
        Tie::Runs { ends: all, .. } => ends.extend(all),
        Tie::Grouped { wide, narrow, other, .. } => {
            ends.extend(wide);
            ends.extend([*narrow, *other]);
        }
        Tie::View => return [Port::Operand(0), Port::Result(0)].contains(&end.port),
    }
    ends.contains(&end)
}

/// Whether the cut keeps a tie; where it does not, an axis that breaks it.
fn holds(call: &Call<'_>, tie: &Tie, cut: &[End]) -> Result<(), End> {
    let is_cut = |end: &End| cut.contains(end);
    let there = |ends: &[End]| -> SmallVec<[End; 4]> {
        ends.iter().copied().filter(|end| call.value(end.port).is_some()).collect()
    };
    match tie {
        Tie::Summed(_) => Ok(()),
        Tie::Same(a, b) | Tie::Contracted(a, b) => match &there(&[*a, *b])[..] {
            [a, b] if is_cut(a) || is_cut(b) => same(call, *a, *b),
            _ => Ok(()),
        },
        Tie::Picked { from, to, indices } => match &there(&[*from, *to])[..] {
            [from, to] if is_cut(from) || is_cut(to) => picked(call, *from, *to, indices),
            _ => Ok(()),
        },
        Tie::Joined { whole, parts } => {
            if is_cut(whole) || parts.iter().any(is_cut) {
                joined(call, *whole, parts)
            } else {
                Ok(())
            }
        }
        Tie::Runs { ends, count } => {
            let ends = there(ends);
            if ends.iter().any(is_cut) { runs(call, &ends, *count) } else { Ok(()) }
        }
        Tie::Grouped { groups, wide, narrow, other } => {
            let wide = there(wide);
            if wide.iter().chain([narrow, other]).any(is_cut) {
                grouped(call, *groups, &wide, *narrow, *other)
            } else {
                Ok(())
            }
        }
        Tie::View => match cut.iter().find(|end| [Port::Operand(0), Port::Result(0)].contains(&end.port)) {
            Some(end) => view(call).ok_or(*end),
            None => Ok(()),
        },
    }
}

/// Larger axes, and segments of views, are not looked through.
const MAX_ELEMENTS: usize = 1 << 27;

/// What remains of an axis, spelled out.
fn rest(call: &Call<'_>, end: End) -> Option<Vec<usize>> {
    match call.kept(end) {
        Some(kept) => Some(kept.to_vec()),
        None => Some((0..call.size(end).filter(|&size| size <= MAX_ELEMENTS)?).collect()),
    }
}

fn same(call: &Call<'_>, a: End, b: End) -> Result<(), End> {
    if call.size(a).is_some() && call.size(a) == call.size(b) && call.kept(a) == call.kept(b) { Ok(()) } else { Err(b) }
}

fn picked(call: &Call<'_>, from: End, to: End, indices: &[usize]) -> Result<(), End> {
    let all: BTreeSet<usize> = rest(call, from).ok_or(from)?.into_iter().collect();
    let wanted: Vec<usize> = (0..indices.len()).filter(|&i| all.contains(&indices[i])).collect();
    let fits = call.size(to) == Some(indices.len()) && rest(call, to).as_ref() == Some(&wanted);
    if fits { Ok(()) } else { Err(to) }
}

fn joined(call: &Call<'_>, whole: End, parts: &[End]) -> Result<(), End> {
    let all = rest(call, whole).ok_or(whole)?;
    let size = call.size(whole).ok_or(whole)?;
    let mut sizes = parts.iter().filter_map(|&part| call.size(part));
    let known = sizes.try_fold(0, usize::checked_add).filter(|&known| known <= size).ok_or(whole)?;
    let mut start = 0;
    let mut open = false;
    for &part in parts {
        let part_size = match call.size(part) {
            Some(size) => size,
            // One part may be left out: it is what the others leave.
            None if !open && call.value(part.port).is_none() => {
                open = true;
                size.checked_sub(known).ok_or(part)?
            }
            None => return Err(part),
        };
        if call.value(part.port).is_some() {
            let wanted = within(&all, start..start + part_size);
            if rest(call, part).ok_or(part)? != wanted {
                return Err(part);
            }
        }
        start += part_size;
    }
    if start == size { Ok(()) } else { Err(whole) }
}

/// The members of `all` in `range`, counted from its start.
fn within(all: &[usize], range: Range<usize>) -> Vec<usize> {
    all.iter().filter(|i| range.contains(i)).map(|i| i - range.start).collect()
}

fn runs(call: &Call<'_>, ends: &[End], count: usize) -> Result<(), End> {
    let mut agreed: Option<Vec<usize>> = None;
    for &end in ends {
        let size = call.size(end).filter(|size| count > 0 && size % count == 0).ok_or(end)?;
        let kept = whole_runs(&rest(call, end).ok_or(end)?, size / count, count).ok_or(end)?;
        if agreed.get_or_insert_with(|| kept.clone()) != &kept {
            return Err(end);
        }
    }
    Ok(())
}

/// The runs of `length` that `kept` has all of, when it has nothing else.
fn whole_runs(kept: &[usize], length: usize, count: usize) -> Option<Vec<usize>> {
    let per_run = per_run(kept, length, count)?;
    let whole: Vec<usize> = (0..count).filter(|&run| per_run[run].len() == length).collect();
    (whole.len() * length == kept.len()).then_some(whole)
}

/// The places within each run of `length` that are kept.
fn per_run(kept: &[usize], length: usize, count: usize) -> Option<Vec<Vec<usize>>> {
    let mut runs = vec![Vec::new(); count];
    for &index in kept {
        runs.get_mut(index.checked_div(length)?)?.push(index % length);
    }
    Some(runs)
}

/// Groups of channels go as a whole, or each loses as many: of the channels that `narrow` counts the same ones, as all
/// groups share its rows.
fn grouped(call: &Call<'_>, groups: usize, wide: &[End], narrow: End, other: End) -> Result<(), End> {
    let places = |end: End| {
        let size = call.size(end).filter(|size| groups > 0 && size % groups == 0)?;
        Some((size, per_run(&rest(call, end)?, size / groups, groups)?))
    };
    let (_, others) = places(other).ok_or(other)?;
    let shared = rest(call, narrow).ok_or(narrow)?;
    let alive = |run: &Vec<usize>| !run.is_empty();
    if others.iter().filter(|run| alive(run)).any(|run| *run != shared) {
        return Err(narrow);
    }
    let mut agreed: Option<(usize, Vec<Vec<usize>>)> = None;
    for &end in wide {
        let found = places(end).ok_or(end)?;
        let counts: BTreeSet<usize> = found.1.iter().filter(|run| alive(run)).map(Vec::len).collect();
        let fits = counts.len() == 1 && found.1.iter().map(alive).eq(others.iter().map(alive));
        if !fits || agreed.get_or_insert_with(|| found.clone()) != &found {
            return Err(end);
        }
    }
    Ok(())
}

/// Whether the operand's elements that are left are the result's.
fn view(call: &Call<'_>) -> Option<()> {
    let (before, after) = (call.view.dims(0)?, call.view.result_dims(0)?);
    for segment in segments(before, after)? {
        let side = |port: Port, axes: Range<usize>| -> Vec<End> { axes.map(|axis| End { port, axis }).collect() };
        let (left, right) = (side(Port::Operand(0), segment.before), side(Port::Result(0), segment.after));
        if left.iter().chain(&right).all(|&end| call.kept(end).is_none()) {
            continue;
        }
        let (left, right) = (Rest::of(call, &left)?, Rest::of(call, &right)?);
        let is_same = left.count == right.count && (0..left.count).all(|n| left.element(n) == right.element(n));
        is_same.then_some(())?;
    }
    Some(())
}

/// What is left of the axes of a segment, in row-major order.
struct Rest<'a> {
    /// The size and the kept indices of each axis, from the last on.
    axes: SmallVec<[(usize, Option<&'a [usize]>); 4]>,
    count: usize,
}

impl<'a> Rest<'a> {
    fn of(call: &Call<'a>, ends: &[End]) -> Option<Rest<'a>> {
        let axes: SmallVec<[(usize, Option<&[usize]>); 4]> =
            ends.iter().rev().map(|&end| Some((call.size(end)?, call.kept(end)))).collect::<Option<_>>()?;
        let sizes: SmallVec<[usize; 4]> = axes.iter().map(|(size, _)| *size).collect();
        count(&sizes).filter(|&all| (1..=MAX_ELEMENTS).contains(&all))?;
        let count = axes.iter().map(|(size, kept)| kept.map_or(*size, <[usize]>::len)).product();
        Some(Rest { axes, count })
    }

    /// Which of all elements the one in place `n` of those left is.
    fn element(&self, mut n: usize) -> usize {
        let (mut element, mut stride) = (0, 1);
        for (size, kept) in &self.axes {
            let length = kept.map_or(*size, <[usize]>::len);
            element += kept.map_or(n % length, |kept| kept[n % length]) * stride;
            n /= length;
            stride *= size;
        }
        element
    }
}
