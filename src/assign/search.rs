//! Finds the assignment: the front of what losses and costs of layers sum up to, and the point on it that keeps the
//! bound when the whole model runs.
//!
//! Sums of losses order assignments well, and how much is lost exactly is nearly proportional to them, so each whole
//! model that is run says where on the front the bound is: the next one is run there, and few are enough. Where there is
//! room, layers then get fewer bits one by one, as far as the same proportion promises anything. What is found is run on
//! all samples as it is written; where it does not keep the bound, the proportion says how far to go back.

use std::collections::{BTreeMap, BTreeSet};

use crate::assign::realize::{Depth, Realized};
use crate::assign::units::{Choice, Costs, Unit, kind};
use crate::assign::verdict::{Verdict, Verifier};
use crate::assign::{AssignError, Assigner, Cost};
use crate::knapsack::{self, Border, Front};
use crate::quality::Bounds;
use crate::sensitivity::{Measured, Precision};

/// Whole models that are tried on the front before it is only halved.
const GUESSES: usize = 6;

/// What uses so much of what may be lost is near enough to it.
const ENOUGH: f64 = 0.85;

/// Whole models that are tried for better ones after the front was searched.
const PROBES: usize = 4;

/// What is predicted to lose so many times what it may is not tried.
const PROMISING: f64 = 1.1;

/// The part of what may be lost that is aimed at, where what was found did not keep the bound.
const AIM: f64 = 0.9;

/// How often what keeps the bound with room to spare as it is written is made cheaper.
const FURTHER: usize = 3;

/// What is looked for between what keeps bounds and what does not is so far from either at the least, as a part.
const NEITHER: f64 = 0.1;

/// Bounds are aimed at from so far below at a time at the most: how losses add up is known less well far off.
const STRIDE: f64 = 4.0;

/// What a search works on.
pub(super) struct Search<'a> {
    pub assigner: &'a Assigner,
    pub measured: &'a Measured,
    pub units: &'a [Unit],
    pub costs: &'a Costs<'a>,
    pub cost: Cost,
    pub verifier: &'a Verifier<'a>,
    /// The same on fewer samples, while it goes on.
    pub few: &'a Verifier<'a>,
    /// Verdicts by assignment, so that none is asked for twice.
    pub judged: BTreeMap<Vec<usize>, Verdict>,
    /// How many models were run on samples to verify on.
    pub verdicts: usize,
    /// How many runs on one sample that took.
    pub judged_runs: usize,
}

/// A choice for each unit.
pub(super) type Picks = Vec<usize>;

/// What keeps bounds.
pub(super) struct Kept {
    pub found: (Realized, Verdict, Picks),
    /// What the last one that did not was predicted to lose, and has lost beside what it may.
    pub lost: Option<[f64; 2]>,
}

/// What sums of losses are to be next, where one of `kept` keeps bounds with room to spare and one of `lost` does not: both
/// have what was predicted and what was lost beside what may be. In the middle, where that of `lost` lost as much as one
/// before it.
fn aimed(kept: [f64; 2], lost: Option<[f64; 2]>, as_before: bool) -> f64 {
    let [predicted, excess] = kept;
    let straight = predicted * (AIM / excess).min(STRIDE);
    let Some([most, too_much]) = lost.filter(|[most, _]| *most > predicted && predicted > 0.0) else { return straight };
    // Between two points what is lost grows as a power of what is predicted.
    let part = if !as_before && too_much.is_finite() && excess > 0.0 {
        (AIM / excess).ln() / (too_much / excess).ln()
    } else {
        0.5
    };
    predicted * (most / predicted).powf(part.clamp(NEITHER, 1.0 - NEITHER))
}

impl Search<'_> {
    /// What each unit may be.
    fn items(&self) -> Vec<Vec<knapsack::Choice>> {
        let of = |unit: &Unit| -> Vec<knapsack::Choice> {
            let cost = |choice: &Choice| {
                unit.layers
                    .iter()
                    .map(|&l| self.costs.layer(l, choice.precision, self.cost))
                    .fold(0, u64::saturating_add)
            };
            unit.choices.iter().map(|c| knapsack::Choice { loss: c.loss, cost: cost(c) }).collect()
        };
        self.units.iter().map(of).collect()
    }

    /// The front of sums over units.
    pub(super) fn front(&self) -> Front {
        knapsack::front(&self.items())
    }

    /// The front of sums over units and what lies between these.
    pub(super) fn bordered(&self) -> Front {
        let types: BTreeSet<_> = Precision::ALL.into_iter().map(kind).collect();
        let place = |choice: &Choice| types.range(..kind(choice.precision)).count() as u8;
        let kinds: Vec<Vec<u8>> = self.units.iter().map(|unit| unit.choices.iter().map(place).collect()).collect();
        let unit_of = self.units_of_layers();
        let mut costs: BTreeMap<[usize; 2], u64> = BTreeMap::new();
        for (layers, cost) in self.costs.borders(self.cost) {
            let mut units = layers.map(|layer| unit_of[layer]);
            units.sort_unstable();
            // The layers of a unit have one type.
            if units[0] != units[1] && cost > 0 {
                let sum = costs.entry(units).or_default();
                *sum = sum.saturating_add(cost);
            }
        }
        let borders: Vec<Border> = costs.into_iter().map(|(items, cost)| Border { items, cost }).collect();
        knapsack::bordered(&self.items(), &kinds, &borders)
    }

    /// The unit of each layer.
    fn units_of_layers(&self) -> Vec<usize> {
        let mut unit_of = vec![0; self.measured.layers.len()];
        for (index, unit) in self.units.iter().enumerate() {
            for &layer in &unit.layers {
                unit_of[layer] = index;
            }
        }
        unit_of
    }

    /// By layer.
    pub(super) fn precisions(&self, picks: &[usize]) -> Vec<Precision> {
        let mut precisions = vec![Precision::Fp32; self.measured.layers.len()];
        for (unit, &pick) in self.units.iter().zip(picks) {
            for &layer in &unit.layers {
                precisions[layer] = unit.choices[pick].precision;
            }
        }
        precisions
    }

    /// The sum of losses.
    pub(super) fn predicted(&self, picks: &[usize]) -> f64 {
        self.units.iter().zip(picks).map(|(unit, &pick)| unit.choices[pick].loss).sum()
    }

    /// What the layers cost, and what lies between them.
    pub(super) fn price(&self, picks: &[usize]) -> u64 {
        self.costs.whole(&self.precisions(picks), self.cost)
    }

    /// The runs since this was asked for last.
    pub(super) fn take_runs(&mut self) -> f64 {
        std::mem::take(&mut self.judged_runs) as f64
    }

    /// How good the model is with these, on few samples.
    ///
    /// # Errors
    /// When it cannot be made or run.
    pub(super) fn judge(&mut self, picks: &[usize]) -> Result<Verdict, AssignError> {
        match self.judged.get(picks) {
            Some(verdict) => Ok(verdict.clone()),
            None => Ok(self.tried(picks, Depth::Tried)?.1),
        }
    }

    /// The same, with the model.
    ///
    /// # Errors
    /// When it cannot be made or run.
    pub(super) fn tried(&mut self, picks: &[usize], depth: Depth) -> Result<(Realized, Verdict), AssignError> {
        let realized = self.assigner.realize(self.measured, &self.precisions(picks), depth)?;
        let verdict = self.few.judge(&realized.rehearsal, depth == Depth::Learned)?;
        self.verdicts += 1;
        self.judged_runs += self.few.runs(depth == Depth::Learned);
        self.judged.insert(picks.to_vec(), verdict.clone());
        Ok((realized, verdict))
    }

    /// The model as it is written, and how good it is on all samples.
    ///
    /// # Errors
    /// When it cannot be made or run.
    pub(super) fn verified(&mut self, picks: &[usize]) -> Result<(Realized, Verdict), AssignError> {
        self.best(&self.precisions(picks))
    }

    /// The same for precisions by layer. Integers of few bits that were found on samples are taken where they lose less
    /// than those that weights alone tell. Corrections make noise less, and not always what a bound is about: where it is
    /// not kept with them, the better of both ways.
    ///
    /// # Errors
    /// When it cannot be made or run.
    pub(super) fn best(&mut self, precisions: &[Precision]) -> Result<(Realized, Verdict), AssignError> {
        let (assigner, bounds) = (self.assigner, self.assigner.bounds);
        let mut way = |depth: Depth| -> Result<(Realized, Verdict), AssignError> {
            let realized = assigner.realize(self.measured, precisions, depth)?;
            let verdict = self.full_verdict(&realized, depth == Depth::Learned)?;
            Ok((realized, verdict))
        };
        let lost = |verdict: &Verdict| match bounds == Bounds::default() {
            true => verdict.loss,
            false => verdict.excess(&bounds),
        };
        let mut best = way(Depth::Corrected)?;
        if assigner.learns(precisions) {
            let learned = way(Depth::Learned)?;
            if lost(&learned.1) < lost(&best.1) {
                best = learned;
            }
        }
        if best.1.meets(&bounds) || best.0.corrections.iter().all(|step| !step.kept) {
            return Ok(best);
        }
        let written = way(Depth::Written)?;
        Ok(if lost(&written.1) < lost(&best.1) { written } else { best })
    }

    /// How good a model is on all samples, whether or not its weights were `found` on some.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) fn full_verdict(&mut self, realized: &Realized, found: bool) -> Result<Verdict, AssignError> {
        self.verdicts += 1;
        self.judged_runs += self.verifier.runs(found) + realized.runs;
        Ok(self.verifier.judge(&realized.rehearsal, found)?)
    }

    /// The cheapest on the front that keeps the bounds, made cheaper where there is room; what is found on the `plain`
    /// one, of sums without what lies between, where that costs less: where many layers have to do with each other not
    /// all borders are in the front. What some assignments were predicted to lose, and have lost beside what they may, is
    /// `known`.
    ///
    /// # Errors
    /// When a model cannot be run.
    pub(super) fn within_bounds(
        &mut self,
        front: &Front,
        plain: &Front,
        known: &[[f64; 2]],
    ) -> Result<Picks, AssignError> {
        let bounds = self.assigner.bounds;
        let points = front.points();
        // What sums of losses may be: as one says that loses about what it may.
        let allowed = |&[predicted, excess]: &[f64; 2]| Some(predicted / excess).filter(|a| a.is_normal());
        let distance = |&&[_, excess]: &&[f64; 2]| excess.ln().abs();
        let known = known.iter().filter(|known| allowed(known).is_some());
        let mut allowed_sum = known.min_by(|a, b| distance(a).total_cmp(&distance(b))).and_then(allowed);
        // The last loses nothing but where nothing is to be had without.
        let (mut low, mut high) = (0, points.len().saturating_sub(1));
        let (mut turns, mut is_kept, mut too_much) = (0, false, None);
        while low < high && !(is_kept && turns >= GUESSES) {
            let at = match allowed_sum.filter(|_| turns < GUESSES) {
                Some(sum) => front.losing(sum).unwrap_or(high).clamp(low, high - 1),
                None => low + (high - low) / 2,
            };
            turns += 1;
            let excess = self.judge(&front.picks(at))?.excess(&bounds);
            allowed_sum = allowed(&[points[at].loss, excess]).or(allowed_sum);
            if excess <= 1.0 {
                (high, is_kept) = (at, true);
                if excess >= ENOUGH {
                    break;
                }
            } else {
                low = at + 1;
                // One sample that changes its class does so until much less is lost: no proportion says where.
                allowed_sum = allowed_sum.filter(|_| too_much != Some(excess));
                too_much = Some(excess);
            }
        }
        let mut picks = self.merged(front.picks(high), |_| true);
        if self.price(&picks) < self.price(&front.picks(high)) && !self.judge(&picks)?.meets(&bounds) {
            picks = front.picks(high);
        }
        if let Some(point) = plain.losing(points[high].loss) {
            let other = self.merged(plain.picks(point), |_| true);
            if self.price(&other) < self.price(&picks) && self.judge(&other)?.meets(&bounds) {
                picks = other;
            }
        }
        self.demoted(picks, &bounds)
    }

    /// What was found, or what is cheaper on the front and keeps the bounds as it is written: corrections and integers of
    /// few bits that are found on samples lose less than a search reckons with, and all samples say it more nearly than
    /// few. What lost too much, last, says with what did not how far to go.
    ///
    /// # Errors
    /// When a model cannot be made or run.
    pub(super) fn further(&mut self, front: &Front, found: Kept) -> Result<(Realized, Verdict, Picks), AssignError> {
        let bounds = self.assigner.bounds;
        let Kept { mut found, mut lost } = found;
        let mut as_before = false;
        for _ in 0..FURTHER {
            let excess = found.1.excess(&bounds);
            if excess > ENOUGH {
                break;
            }
            let predicted = self.predicted(&found.2);
            let aimed_at = front.losing(aimed([predicted, excess], lost, as_before));
            // Points may be further apart than what is aimed at: the next one then. Sums in another order differ in the last
            // digits.
            let next_one = front.losing(predicted * (1.0 + 1e-9)).and_then(|point| point.checked_sub(1));
            let Some(point) = aimed_at.zip(next_one).map(|(aimed_at, next_one)| aimed_at.min(next_one)) else { break };
            if lost.is_some_and(|[most, _]| front.points()[point].loss >= most) {
                break;
            }
            let next = self.merged(front.picks(point), |_| true);
            if self.price(&next) >= self.price(&found.2) {
                break;
            }
            let (realized, verdict) = self.verified(&next)?;
            match verdict.meets(&bounds) {
                true => found = (realized, verdict, next),
                false => {
                    let excess = verdict.excess(&bounds);
                    as_before = lost.is_some_and(|[_, before]| before == excess);
                    lost = Some([self.predicted(&next), excess]);
                }
            }
        }
        Ok(found)
    }

    /// Make units cheaper one by one, as long as the bound is kept: those first that save the most for what they lose.
    fn demoted(&mut self, mut picks: Picks, bounds: &Bounds) -> Result<Picks, AssignError> {
        let mut tried = 0;
        let mut excess = self.judge(&picks)?.excess(bounds);
        let mut moves = self.moves(&picks);
        while tried < PROBES && excess <= 1.0 {
            let Some((unit, pick)) = moves.pop() else { break };
            let mut next = picks.clone();
            next[unit] = pick;
            let (now, then) = (self.predicted(&picks), self.predicted(&next));
            let promised = if now > 0.0 { excess * then / now } else { 0.0 };
            if promised > PROMISING || self.price(&next) >= self.price(&picks) {
                continue;
            }
            tried += 1;
            let found = self.judge(&next)?.excess(bounds);
            if found <= 1.0 {
                (picks, excess) = (next, found);
                moves = self.moves(&picks);
            }
        }
        Ok(picks)
    }

    /// Cheaper choices of units, the best last.
    fn moves(&self, picks: &[usize]) -> Vec<(usize, usize)> {
        let mut found: Vec<(f64, usize, usize)> = Vec::new();
        for (index, unit) in self.units.iter().enumerate() {
            let now = unit.choices[picks[index]];
            let price = |precision: Precision| -> u64 {
                unit.layers.iter().map(|&l| self.costs.layer(l, precision, self.cost)).fold(0, u64::saturating_add)
            };
            for (pick, choice) in unit.choices.iter().enumerate() {
                let saved = price(now.precision).saturating_sub(price(choice.precision));
                if saved > 0 {
                    let lost = (choice.loss - now.loss).max(1e-12);
                    found.push((saved as f64 / lost, index, pick));
                }
            }
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)).then(b.2.cmp(&a.2)));
        found.into_iter().map(|(_, unit, pick)| (unit, pick)).collect()
    }

    /// Have units be as a neighbour is, where that costs less with what lies between them and loses no more together.
    pub(super) fn merged(&self, mut picks: Picks, allowed: impl Fn(&Picks) -> bool) -> Picks {
        let unit_of = self.units_of_layers();
        // Each turn costs less, and there is an end to it; this many are enough for all that was seen.
        for _ in 0..4 {
            let mut changed = false;
            for (index, unit) in self.units.iter().enumerate() {
                let near = unit.layers.iter().flat_map(|&layer| self.costs.neighbours(layer)).map(|l| unit_of[l]);
                let near: Vec<Precision> = near.map(|u| self.units[u].choices[picks[u]].precision).collect();
                for (pick, choice) in unit.choices.iter().enumerate() {
                    if !near.contains(&choice.precision) || choice.loss > unit.choices[picks[index]].loss {
                        continue;
                    }
                    let mut next = picks.clone();
                    next[index] = pick;
                    if self.price(&next) < self.price(&picks) && allowed(&next) {
                        picks = next;
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
        }
        picks
    }

    /// These, or the first of the front that loses less and keeps the bounds as it is written: corrected, and with
    /// integers where the target takes them.
    ///
    /// # Errors
    /// When a model cannot be run, and when nothing keeps them.
    pub(super) fn kept(&mut self, front: &Front, mut picks: Picks) -> Result<Kept, AssignError> {
        let bounds = self.assigner.bounds;
        let points = front.points();
        let (mut from, mut lost) = (0, None);
        loop {
            let (realized, verdict) = self.verified(&picks)?;
            let excess = verdict.excess(&bounds);
            if excess <= 1.0 {
                return Ok(Kept { found: (realized, verdict, picks), lost });
            }
            let now = self.predicted(&picks);
            lost = Some([now, excess]);
            let mut aim = if excess.is_finite() { AIM * now / excess } else { 0.0 };
            // Few samples say first whether it is worth running all.
            let next = loop {
                let next = front.losing(aim).unwrap_or(points.len()).max(from);
                from = next + 1;
                if next >= points.len() || self.judge(&front.picks(next))?.meets(&bounds) {
                    break next;
                }
                aim = AIM * points[next].loss;
            };
            let float = vec![0; self.units.len()];
            picks = match next < points.len() && points[next].loss < now {
                true => self.merged(front.picks(next), |_| true),
                // Nothing on the front loses less than what was tried: all stays as it was.
                false if picks != float => float,
                false => {
                    bounds.check(&verdict.outputs).map_err(AssignError::Bounds)?;
                    return Ok(Kept { found: (realized, verdict, picks), lost });
                }
            };
        }
    }
}
