//! How much of each group is kept within a budget for the whole model, so that the least is lost in sum.
//!
//! What a group's channels cost depends on its neighbours: a layer's multiplications are those of the channels it reads
//! times those it makes. So the choice is found in rounds. Each takes the groups as they are, says of every group what
//! it would cost if the others stayed so, and solves the knapsack that this is; what is then over or under the budget,
//! because several changed at once, goes or comes back where that is best. The first choice takes step by step what
//! costs least for what it gives.

use crate::knapsack::{Choice, solve};
use crate::prune::meter::Meter;

/// A number of classes that a group may keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub kept: usize,
    /// What is lost then.
    pub loss: f64,
}

/// Rounds at the most; mostly few change anything.
const ROUNDS: usize = 12;

/// The whole of a measure in the knapsack's units.
const WHOLE: f64 = 1e7;

/// How far a group goes in one round, in parts of its size: farther on, what it costs is something else.
const REACH: f64 = 0.2;

/// For each group of these sizes, which of its levels, the most kept first, and the share of the measure that is left
/// then: no more than `share` where that is possible.
pub(super) fn balanced(whole: Meter, sizes: &[usize], levels: &[Vec<Level>], share: f64) -> (Vec<usize>, f64) {
    let mut meter = whole;
    for (group, levels) in levels.iter().enumerate() {
        meter.remove(group, apart(sizes[group], levels[0].kept));
    }
    let mut best = State { levels, chosen: vec![0; levels.len()], meter };
    best.lower(share);
    for _ in 0..ROUNDS {
        let Some(chosen) = best.knapsack(sizes, share) else { break };
        let mut next = best.clone();
        next.choose(&chosen);
        next.lower(share);
        next.raise(share);
        if next.meter.share() > share || next.loss() >= best.loss() {
            break;
        }
        best = next;
    }
    (best.chosen, best.meter.share())
}

/// A choice, and what is left with it.
#[derive(Clone)]
struct State<'a> {
    levels: &'a [Vec<Level>],
    chosen: Vec<usize>,
    meter: Meter,
}

impl State<'_> {
    fn at(&self, group: usize) -> Level {
        self.levels[group][self.chosen[group]]
    }

    fn loss(&self) -> f64 {
        (0..self.chosen.len()).map(|group| self.at(group).loss).sum()
    }

    fn set(&mut self, group: usize, level: usize) {
        let before = self.at(group).kept;
        self.chosen[group] = level;
        self.meter.remove(group, apart(before, self.at(group).kept));
    }

    fn choose(&mut self, chosen: &[usize]) {
        for (group, &level) in chosen.iter().enumerate() {
            self.set(group, level);
        }
    }

    /// What is lost more, and what is left less of the measure, at another level of a group.
    fn step(&self, group: usize, level: usize) -> Option<(f64, f64)> {
        let (now, then) = (self.at(group), self.levels[group].get(level)?);
        Some((then.loss - now.loss, self.meter.gain(group, apart(now.kept, then.kept))))
    }

    /// Take what costs least for what it gives until the budget is met, or nothing is left to take.
    fn lower(&mut self, share: f64) {
        while self.meter.share() > share {
            let price = |group: usize| {
                let (loss, gain) = self.step(group, self.chosen[group] + 1)?;
                (gain > 0.0).then(|| (loss / gain, group))
            };
            let steps = (0..self.chosen.len()).filter_map(price);
            let Some((_, group)) = steps.min_by(|a, b| a.0.total_cmp(&b.0)) else { break };
            self.set(group, self.chosen[group] + 1);
        }
    }

    /// Put back what is worth most for what it takes as long as the budget holds.
    fn raise(&mut self, share: f64) {
        let room = |state: &Self| (share - state.meter.share()) * state.meter.whole();
        loop {
            let worth = |group: usize| {
                let (loss, gain) = self.step(group, self.chosen[group].checked_sub(1)?)?;
                (loss < 0.0 && -gain <= room(self)).then(|| (loss / gain.min(-f64::MIN_POSITIVE), group))
            };
            let steps = (0..self.chosen.len()).filter_map(worth);
            let Some((_, group)) = steps.max_by(|a, b| a.0.total_cmp(&b.0)) else { break };
            self.set(group, self.chosen[group] - 1);
        }
    }

    /// The best choice near this one if what a group costs did not depend on the others.
    fn knapsack(&self, sizes: &[usize], share: f64) -> Option<Vec<usize>> {
        let whole = self.meter.whole();
        let mut firsts = Vec::with_capacity(sizes.len());
        let mut items: Vec<Vec<Choice>> = Vec::with_capacity(sizes.len());
        // What is to go more than now, and what would if every group were at its cheapest.
        let mut room = share * whole - self.meter.share() * whole;
        for (group, levels) in self.levels.iter().enumerate() {
            let now = self.at(group).kept;
            let reach = ((sizes[group] as f64 * REACH) as usize).max(1);
            let near =
                |level: usize| levels[level].kept.abs_diff(now) <= reach || level.abs_diff(self.chosen[group]) <= 1;
            let near: Vec<usize> = (0..levels.len()).filter(|&level| near(level)).collect();
            let gains: Vec<f64> =
                near.iter().map(|&level| self.meter.gain(group, apart(now, levels[level].kept))).collect();
            let most = gains.iter().copied().fold(0.0, f64::max);
            room += most;
            let cost = |gain: f64| ((most - gain) / whole * WHOLE).ceil() as u64;
            let choice = |(&level, &gain): (&usize, &f64)| Choice { loss: levels[level].loss, cost: cost(gain) };
            items.push(near.iter().zip(&gains).map(choice).collect());
            firsts.push(near);
        }
        let picks = solve(&items, (room / whole * WHOLE).max(0.0) as u64)?;
        Some(picks.into_iter().zip(&firsts).map(|(pick, near)| near[pick]).collect())
    }
}

/// How many classes fewer.
fn apart(from: usize, to: usize) -> isize {
    from.cast_signed() - to.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::infer_declared;
    use crate::prune::{Choices, Colouring, Groups, Measure};
    use crate::text::parse;

    /// A chain of three groups of eight, with losses that grow by the square of what goes, times these.
    fn chain(weights: [f64; 3]) -> (Meter, Vec<Vec<Level>>) {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]> g (float[4,8] x) => (float[4,8] y)
            <float[8,8] a, float[8,8] b, float[8,8] c, float[8,8] d>
            { p = MatMul(x, a)  q = MatMul(p, b)  r = MatMul(q, c)  y = MatMul(r, d) }"#,
        )
        .unwrap();
        infer_declared(&mut model.graph);
        let groups = Groups::of(&model.graph, Colouring::of(&model.graph, &Choices::default()));
        let level = |weight: f64| move |gone: usize| Level { kept: 8 - gone, loss: weight * (gone * gone) as f64 };
        let levels = weights.iter().map(|&weight| (0..7).map(level(weight)).collect()).collect();
        (Meter::of(&model.graph, &groups, Measure::Macs), levels)
    }

    fn kept(levels: &[Vec<Level>], chosen: &[usize]) -> Vec<usize> {
        levels.iter().zip(chosen).map(|(levels, &chosen)| levels[chosen].kept).collect()
    }

    #[test]
    fn no_other_choice_loses_less() {
        for (weights, share) in
            [([1.0, 1.0, 1.0], 0.5), ([1.0, 9.0, 2.0], 0.4), ([5.0, 1.0, 0.1], 0.6), ([0.3, 0.3, 7.0], 0.25)]
        {
            let (meter, levels) = chain(weights);
            let (chosen, left) = balanced(meter, &[8; 3], &levels, share);
            assert!(left <= share, "{left} of {share}");
            let loss = |chosen: &[usize]| chosen.iter().zip(&levels).map(|(&c, levels)| levels[c].loss).sum::<f64>();
            let macs = |k: &[usize]| (8 * k[0] + k[0] * k[1] + k[1] * k[2] + 8 * k[2]) as f64 / 256.0;
            assert!((macs(&kept(&levels, &chosen)) - left).abs() < 1e-9);
            let all = (0..343).map(|i| [i / 49, i / 7 % 7, i % 7]).filter(|c| macs(&kept(&levels, c)) <= share);
            let best = all.map(|c| loss(&c)).fold(f64::INFINITY, f64::min);
            assert!(loss(&chosen) <= best * 1.1, "{chosen:?} loses {}, and {best} is possible", loss(&chosen));
        }
    }

    #[test]
    fn what_cannot_be_met_is_met_as_far_as_it_can() {
        let (meter, levels) = chain([1.0; 3]);
        let (chosen, left) = balanced(meter, &[8; 3], &levels, 0.01);
        assert_eq!(kept(&levels, &chosen), [2, 2, 2]);
        assert!(left > 0.01);
        let (meter, mut levels) = chain([1.0; 3]);
        levels[1].truncate(1);
        let (chosen, _) = balanced(meter, &[8; 3], &levels, 0.5);
        assert_eq!(chosen[1], 0, "a group with one level has no other");
    }
}
