//! Finds the assignment: the front of what losses and costs of layers sum up to, and the point on it that keeps the
//! bound when the whole model runs.
//!
//! Sums of losses order assignments well and say little of how much is lost exactly, so where a bound is to be kept the
//! front is halved again and again with the whole model run at each point. What is found is then mended: layers go back
//! to more bits, the ones that lose the most for their cost first, until the bound is kept; and where there is room, to
//! fewer.

use std::collections::BTreeMap;

use crate::assign::units::{Choice, Costs, Unit};
use crate::assign::verdict::{Verdict, Verifier};
use crate::assign::{AssignError, Assigner, Cost};
use crate::knapsack::{self, Front};
use crate::quality::Bounds;
use crate::sensitivity::{Measured, Precision};

/// Whole models that are tried for better ones after the front was searched.
const PROBES: usize = 12;

/// Layers that go back to more bits before everything does.
const PROMOTIONS: usize = 24;

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

impl Search<'_> {
    /// The front of sums over units.
    pub(super) fn front(&self) -> Front {
        let of = |unit: &Unit| -> Vec<knapsack::Choice> {
            let cost = |choice: &Choice| {
                unit.layers
                    .iter()
                    .map(|&l| self.costs.layer(l, choice.precision, self.cost))
                    .fold(0, u64::saturating_add)
            };
            unit.choices.iter().map(|c| knapsack::Choice { loss: c.loss, cost: cost(c) }).collect()
        };
        knapsack::front(&self.units.iter().map(of).collect::<Vec<_>>())
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
    fn price(&self, picks: &[usize]) -> u64 {
        let precisions = self.precisions(picks);
        self.costs.all(&precisions, self.cost).saturating_add(self.costs.between(&precisions, self.cost))
    }

    /// How good the model is with these.
    ///
    /// # Errors
    /// When it cannot be made or run.
    pub(super) fn judge(&mut self, picks: &[usize]) -> Result<Verdict, AssignError> {
        if let Some(verdict) = self.judged.get(picks) {
            return Ok(verdict.clone());
        }
        let realized = self.assigner.realize(self.measured, &self.precisions(picks), false)?;
        let verdict = self.few.judge(&realized.rehearsal)?;
        self.verdicts += 1;
        self.judged_runs += self.few.samples();
        self.judged.insert(picks.to_vec(), verdict.clone());
        Ok(verdict)
    }

    /// The cheapest on the front that keeps `bounds`, made cheaper where there is room.
    ///
    /// # Errors
    /// When a model cannot be run.
    pub(super) fn within_bounds(&mut self, front: &Front, bounds: &Bounds) -> Result<Picks, AssignError> {
        let points = front.points().len();
        // The last loses nothing but where nothing is to be had without.
        let (mut low, mut high) = (0, points.saturating_sub(1));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.judge(&front.picks(middle))?.meets(bounds) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        let mut picks = self.merged(front.picks(high), |_| true);
        if !self.judge(&picks)?.meets(bounds) {
            picks = front.picks(high);
        }
        self.demoted(picks, bounds)
    }

    /// Make units cheaper one by one, as long as the bound is kept: those first that save the most for what they lose.
    fn demoted(&mut self, mut picks: Picks, bounds: &Bounds) -> Result<Picks, AssignError> {
        let mut tried = 0;
        let mut moves = self.moves(&picks);
        while tried < PROBES {
            let Some((unit, pick)) = moves.pop() else { break };
            let mut next = picks.clone();
            next[unit] = pick;
            if self.price(&next) >= self.price(&picks) {
                continue;
            }
            tried += 1;
            if self.judge(&next)?.meets(bounds) {
                picks = next;
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
        let mut unit_of = vec![0; self.measured.layers.len()];
        for (index, unit) in self.units.iter().enumerate() {
            for &layer in &unit.layers {
                unit_of[layer] = index;
            }
        }
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

    /// One unit less that loses much for what it saves: the next of more bits. `None` where all have all bits.
    pub(super) fn promoted(&self, picks: &[usize]) -> Option<Picks> {
        let mut best: Option<(f64, usize, usize)> = None;
        for (index, unit) in self.units.iter().enumerate() {
            let now = unit.choices[picks[index]];
            let price = |precision: Precision| -> u64 {
                unit.layers.iter().map(|&l| self.costs.layer(l, precision, self.cost)).fold(0, u64::saturating_add)
            };
            for (pick, choice) in unit.choices.iter().enumerate() {
                let gained = now.loss - choice.loss;
                if gained <= 0.0 {
                    continue;
                }
                let paid = price(choice.precision).saturating_sub(price(now.precision)).max(1);
                let worth = gained / paid as f64;
                if best.is_none_or(|(most, ..)| worth > most) {
                    best = Some((worth, index, pick));
                }
            }
        }
        let (_, unit, pick) = best?;
        let mut next = picks.to_vec();
        next[unit] = pick;
        Some(next)
    }

    /// The first of these and of what they become with more bits, unit by unit, that keeps `bounds` as it is written:
    /// corrected, and with integers where the target takes them.
    ///
    /// # Errors
    /// When a model cannot be run.
    pub(super) fn kept(
        &mut self,
        mut picks: Picks,
        bounds: &Bounds,
    ) -> Result<(super::realize::Realized, Verdict, Picks), AssignError> {
        let mut promotions = 0;
        loop {
            let realized = self.assigner.realize(self.measured, &self.precisions(&picks), true)?;
            let verdict = self.verifier.judge(&realized.rehearsal)?;
            self.verdicts += 1;
            self.judged_runs += self.verifier.samples();
            let next = self.promoted(&picks);
            match next {
                _ if verdict.meets(bounds) => return Ok((realized, verdict, picks)),
                None => {
                    bounds.check(&verdict.outputs).map_err(AssignError::Bounds)?;
                    return Ok((realized, verdict, picks));
                }
                // More at a time, the longer it takes.
                Some(next) => {
                    picks = next;
                    promotions += 1;
                    for _ in 0..promotions.min(PROMOTIONS) / 4 {
                        match self.promoted(&picks) {
                            Some(next) => picks = next,
                            None => break,
                        }
                    }
                }
            }
        }
    }
}
