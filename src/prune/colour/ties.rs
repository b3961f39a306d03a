//! What each kind of tie makes one.

use std::sync::Arc;

use crate::ir::Int;
use crate::ops::{End, Tie};
use crate::prune::atoms::{Atom, FIXED};
use crate::prune::colour::calling::{Calling, Label};
use crate::prune::colour::painter::Painter;
use crate::prune::colour::{Factor, Grouped};
use crate::prune::view::{Factors, segments};

impl Painter<'_> {
    pub(super) fn tie(&mut self, calling: &mut Calling<'_>, tie: Tie) {
        match tie {
            Tie::Same(a, b) => self.same(calling, a, b),
            Tie::Contracted(a, b) => self.same(calling, a, b),
            Tie::Summed(end) => {
                self.label(calling, end);
            }
            Tie::Picked { from, to, indices } => self.picked(calling, from, to, &indices),
            Tie::Joined { whole, parts } => self.joined(calling, whole, &parts),
            Tie::Runs { ends, count } => self.runs(calling, &ends, count),
            Tie::Grouped { groups, wide, narrow, other } => {
                let per_group = self.size(calling, narrow).unwrap_or(1);
                let within = match self.choices.grouped {
                    Grouped::Whole => false,
                    Grouped::Within => per_group > 1,
                    Grouped::Finer => per_group > groups,
                };
                if !within {
                    let ends: Vec<End> = wide.iter().copied().chain([other]).collect();
                    self.runs(calling, &ends, groups);
                    return;
                }
                self.within.insert(calling.call.id());
                for &end in &wide {
                    self.repeats(calling, end, groups);
                }
                if let Some(&first) = wide.first() {
                    for &end in &wide[1..] {
                        self.same(calling, first, end);
                    }
                }
                let indices: Option<Vec<usize>> =
                    self.size(calling, other).map(|n| (0..n).map(|i| i % per_group.max(1)).collect());
                match indices {
                    Some(indices) if per_group.checked_mul(groups) == Some(indices.len()) => {
                        self.picked(calling, narrow, other, &indices);
                    }
                    _ => self.fix_ends(calling, &[narrow, other]),
                }
            }
            Tie::View => self.view(calling),
        }
    }

    /// Index `i` of the one is index `i` of the other.
    fn same(&mut self, calling: &mut Calling<'_>, a: End, b: End) {
        if !self.is_given(calling, a) || !self.is_given(calling, b) {
            // What is left out ties nothing, but the other is not said to stay by it.
            for end in [a, b] {
                if self.is_given(calling, end) {
                    self.label(calling, end);
                }
            }
            return;
        }
        let (unset_a, unset_b) = (calling.is_unset(a), calling.is_unset(b));
        if unset_b || unset_a {
            let (from, to) = if unset_b { (a, b) } else { (b, a) };
            let label = self.label(calling, from);
            let fits = self.size(calling, from) == self.size(calling, to);
            if fits {
                calling.set(to, label);
                return;
            }
            self.fix(&label);
            calling.set(to, Label::Fixed);
            return;
        }
        let (x, y) = (self.label(calling, a), self.label(calling, b));
        self.unite(&x, &y);
    }

    /// Make two axes one, index by index; fix both where they are not of one length.
    fn unite(&mut self, a: &Label, b: &Label) {
        match (a, b) {
            (Label::Of(a), Label::Of(b)) if a.len() == b.len() => {
                if !Arc::ptr_eq(a, b) {
                    a.iter().zip(&**b).for_each(|(&a, &b)| self.atoms.unite(a, b));
                }
            }
            _ => {
                self.fix(a);
                self.fix(b);
            }
        }
    }

    fn picked(&mut self, calling: &mut Calling<'_>, from: End, to: End, indices: &[usize]) {
        if !self.is_given(calling, from) || !self.is_given(calling, to) {
            return;
        }
        let source = self.label(calling, from);
        let fits = self.size(calling, to) == Some(indices.len()) && self.has_room(indices.len());
        let picked: Option<Arc<[Atom]>> = match &source {
            Label::Of(atoms) if fits => indices.iter().map(|&i| atoms.get(i).copied()).collect(),
            _ => None,
        };
        let picked = match picked {
            Some(atoms) => Label::Of(atoms),
            None => {
                self.fix(&source);
                Label::Fixed
            }
        };
        if calling.is_unset(to) {
            calling.set(to, picked);
        } else {
            let own = self.label(calling, to);
            self.unite(&own, &picked);
        }
    }

    fn joined(&mut self, calling: &mut Calling<'_>, whole: End, parts: &[End]) {
        let parts: Vec<End> = parts.iter().copied().filter(|&end| self.is_given(calling, end)).collect();
        let sizes: Option<Vec<usize>> = parts.iter().map(|&end| self.size(calling, end)).collect();
        let total = sizes.as_ref().and_then(|s| s.iter().try_fold(0usize, |n, &s| n.checked_add(s)));
        let fits = total.is_some() && total == self.size(calling, whole) && self.has_room(total.unwrap_or(0));
        let Some(sizes) = sizes.filter(|_| fits) else {
            self.fix_ends(calling, &parts);
            self.fix_ends(calling, &[whole]);
            return;
        };
        if calling.is_unset(whole) {
            let mut all: Vec<Atom> = Vec::with_capacity(total.unwrap_or(0));
            for (&part, &size) in parts.iter().zip(&sizes) {
                match self.label(calling, part) {
                    Label::Of(atoms) => all.extend(&*atoms),
                    Label::Fixed => all.resize(all.len() + size, FIXED),
                }
            }
            calling.set(whole, Label::Of(all.into()));
            return;
        }
        let source = self.label(calling, whole);
        let mut at = 0;
        for (&part, &size) in parts.iter().zip(&sizes) {
            let label = match &source {
                Label::Of(atoms) => Label::Of(Arc::from(&atoms[at..at + size])),
                Label::Fixed => Label::Fixed,
            };
            at += size;
            if calling.is_unset(part) {
                calling.set(part, label);
            } else {
                let own = self.label(calling, part);
                self.unite(&own, &label);
            }
        }
    }

    /// Run `r` of each axis is one class with run `r` of the others.
    fn runs(&mut self, calling: &mut Calling<'_>, ends: &[End], count: usize) {
        let ends: Vec<End> = ends.iter().copied().filter(|&end| self.is_given(calling, end)).collect();
        let divides = |size: usize| count > 0 && size.is_multiple_of(count);
        if !ends.iter().all(|&end| self.size(calling, end).is_some_and(divides)) {
            self.fix_ends(calling, &ends);
            return;
        }
        let mut firsts: Vec<Option<Atom>> = vec![None; count];
        for end in ends {
            match self.label(calling, end) {
                Label::Fixed => firsts.iter_mut().for_each(|first| match first {
                    Some(first) => self.atoms.unite(FIXED, *first),
                    None => *first = Some(FIXED),
                }),
                Label::Of(atoms) => {
                    let length = (atoms.len() / count).max(1);
                    for (run, first) in atoms.chunks(length).zip(&mut firsts) {
                        for &atom in run {
                            let one = *first.get_or_insert(atom);
                            self.atoms.unite(one, atom);
                        }
                    }
                }
            }
        }
    }

    /// Each of `count` runs of an axis is the same indices.
    fn repeats(&mut self, calling: &mut Calling<'_>, end: End, count: usize) {
        if !self.is_given(calling, end) {
            return;
        }
        if let Label::Of(atoms) = self.label(calling, end) {
            if count == 0 || !atoms.len().is_multiple_of(count) {
                self.fix(&Label::Of(atoms));
                return;
            }
            let length = atoms.len() / count;
            for (i, &atom) in atoms.iter().enumerate().skip(length) {
                self.atoms.unite(atoms[i % length], atom);
            }
        }
    }

    fn view(&mut self, calling: &mut Calling<'_>) {
        let call = calling.call;
        let (Some(before), Some(after)) = (call.dims(0), call.result_dims(0)) else { return };
        let Some(segments) = segments(before, after) else { return };
        for segment in segments {
            let long = |dims: &[Int], axes: std::ops::Range<usize>| -> Vec<usize> {
                axes.filter(|&axis| dims[axis].known() != Some(1)).collect()
            };
            let (from, to) = (long(before, segment.before), long(after, segment.after));
            if let ([from], [to]) = (&from[..], &to[..]) {
                self.same(calling, End::operand(0, *from), End::result(0, *to));
                continue;
            }
            let ends: Vec<End> = from.iter().map(|&a| End::operand(0, a)).collect();
            let results: Vec<End> = to.iter().map(|&a| End::result(0, a)).collect();
            let sizes: Option<usize> = ends.iter().chain(&results).map(|&end| self.size(calling, end)).sum();
            let known = sizes.is_some_and(|sizes| self.has_room(sizes));
            if !known {
                self.fix_ends(calling, &ends);
                self.fix_ends(calling, &results);
                continue;
            }
            let before: Vec<Arc<[Atom]>> = ends.iter().map(|&end| self.spelled(calling, end)).collect();
            let lengths: Vec<usize> = results.iter().map(|&end| self.size(calling, end).unwrap_or(0)).collect();
            let Some(mut factors) = Factors::of(&before, &lengths) else {
                self.fix_ends(calling, &ends);
                self.fix_ends(calling, &results);
                continue;
            };
            let viable = factors.viable(&mut self.atoms);
            if viable.len() <= 1 && results.iter().all(|&end| calling.is_unset(end)) {
                // Nothing of the result can make more of them so: its indices are the operand's.
                let after = factors.settle(viable.first().copied(), &mut self.atoms);
                for (&end, atoms) in results.iter().zip(after) {
                    calling.named.insert(end);
                    calling.set(end, atoms.map_or(Label::Fixed, Label::Of));
                }
                continue;
            }
            let after: Vec<Arc<[Atom]>> = results.iter().map(|&end| self.spelled(calling, end)).collect();
            factors.know(&after);
            self.views.push(factors);
        }
    }

    /// The atoms of an axis: a fixed one has as many fixed atoms as indices, so that factors can be told.
    fn spelled(&mut self, calling: &mut Calling<'_>, end: End) -> Arc<[Atom]> {
        match self.label(calling, end) {
            Label::Of(atoms) => atoms,
            Label::Fixed => vec![FIXED; self.size(calling, end).unwrap_or(0)].into(),
        }
    }

    /// Settle views whose factor the rest of the graph tells, until none is left; then one by choice, and again.
    pub(super) fn settle_views(&mut self) {
        let mut open = std::mem::take(&mut self.views);
        while !open.is_empty() {
            let before = open.len();
            open.retain(|view| {
                let viable = view.viable(&mut self.atoms);
                if viable.len() > 1 {
                    return true;
                }
                view.settle(viable.first().copied(), &mut self.atoms);
                false
            });
            if open.len() == before {
                let view = open.remove(0);
                let viable = view.viable(&mut self.atoms);
                let chosen = match self.choices.factor {
                    Factor::Outer => viable.first(),
                    Factor::Inner => viable.last(),
                };
                view.settle(chosen.copied(), &mut self.atoms);
            }
        }
    }
}
