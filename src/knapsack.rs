//! One choice of each of several items, of the least loss within a budget: the multiple-choice knapsack.
//!
//! Items are taken one after another. Of the sums that the choices so far can have, only those stay that no other
//! undercuts in cost and in loss at once, so the answer is exact and holds for every budget: what stays at the end is
//! the whole front. Costs are never rounded. Where more than a few thousand sums would stay, the least loss of each of so
//! many equal ranges of cost does: what is then found within a budget costs no more than that, and loses no more than
//! the best within a budget that is smaller by one range's width per item.
//!
//! Source: Kellerer, Pferschy, Pisinger, Knapsack Problems (2004), sections 3.4 (lists of undominated states) and 11.5
//! (multiple choice).

/// One of the things that may be chosen for an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What it loses; a choice whose loss is not a finite number is never picked.
    pub loss: f64,
    /// What it costs.
    pub cost: u64,
}

/// Sums that stay after an item at the most; fewer where there are many items, see [`ALL_STATES`].
const STATES: usize = 1 << 15;

/// Sums that stay after all items together at the most: each takes sixteen bytes until the end.
const ALL_STATES: usize = 1 << 22;

/// Sums that stay after an item at the least, however many items there are.
const FEWEST_STATES: usize = 1 << 10;

/// The sums of loss and cost that nothing undercuts, the cheapest first; the one after costs more and loses less.
#[derive(Clone, Debug)]
pub struct Front {
    points: Vec<Choice>,
    /// For each item and each sum after it: the sum before it, and what is chosen.
    steps: Vec<Vec<(u32, u32)>>,
}

impl Front {
    /// All sums that nothing undercuts.
    pub fn points(&self) -> &[Choice] {
        &self.points
    }

    /// Which choice of each item makes the sum at `point`.
    ///
    /// # Panics
    /// When there is no such point.
    pub fn picks(&self, point: usize) -> Vec<usize> {
        let mut at = point;
        assert!(at < self.points.len(), "the front has {} points", self.points.len());
        let mut picks = vec![0; self.steps.len()];
        for (pick, step) in picks.iter_mut().zip(&self.steps).rev() {
            let (before, chosen) = step[at];
            (at, *pick) = (before as usize, chosen as usize);
        }
        picks
    }

    /// The point of the least loss that costs no more than `budget`.
    pub fn within(&self, budget: u64) -> Option<usize> {
        self.points.partition_point(|point| point.cost <= budget).checked_sub(1)
    }

    /// The cheapest point that loses no more than `bound`.
    pub fn losing(&self, bound: f64) -> Option<usize> {
        let at = self.points.partition_point(|point| point.loss > bound);
        (at < self.points.len()).then_some(at)
    }
}

/// What the choices of all items sum up to; no point where an item has nothing to choose from.
pub fn front(items: &[Vec<Choice>]) -> Front {
    up_to(items, u64::MAX)
}

/// The choice of each item, as a place in its list, of the least loss that costs no more than `budget` together;
/// `None` where nothing does.
pub fn solve(items: &[Vec<Choice>], budget: u64) -> Option<Vec<usize>> {
    let front = up_to(items, budget);
    Some(front.picks(front.within(budget)?))
}

/// The front as far as it costs no more than `budget`.
fn up_to(items: &[Vec<Choice>], budget: u64) -> Front {
    let most = (ALL_STATES / items.len().max(1)).clamp(FEWEST_STATES, STATES);
    // What the items from here on cost at the least.
    let mut rest: Vec<u64> = vec![0; items.len() + 1];
    for (index, item) in items.iter().enumerate().rev() {
        let least = usable(item).map(|(_, choice)| choice.cost).min().unwrap_or(u64::MAX);
        rest[index] = rest[index + 1].saturating_add(least);
    }
    let mut points = vec![Choice { loss: 0.0, cost: 0 }];
    let mut steps = Vec::with_capacity(items.len());
    for (item, &rest) in items.iter().zip(&rest[1..]) {
        let mut sums: Vec<(Choice, (u32, u32))> = Vec::with_capacity(points.len() * item.len());
        for (chosen, choice) in usable(item) {
            sums.extend(points.iter().enumerate().filter_map(|(before, point)| {
                let cost = point.cost.checked_add(choice.cost)?;
                let loss = point.loss + choice.loss;
                let fits = cost.checked_add(rest).is_some_and(|cost| cost <= budget) && loss.is_finite();
                fits.then_some((Choice { loss, cost }, (index(before), index(chosen))))
            }));
        }
        // The first of equal sums stays, so that the answer does not depend on how sorting goes about it.
        sums.sort_unstable_by(|(a, from), (b, other)| {
            a.cost.cmp(&b.cost).then(a.loss.total_cmp(&b.loss)).then(from.cmp(other))
        });
        let mut least = f64::INFINITY;
        sums.retain(|(sum, _)| {
            let stays = sum.loss < least;
            least = least.min(sum.loss);
            stays
        });
        if sums.len() > most {
            thin(&mut sums, most);
        }
        points = sums.iter().map(|&(sum, _)| sum).collect();
        steps.push(sums.into_iter().map(|(_, step)| step).collect());
    }
    Front { points, steps }
}

/// What may be picked, with its place.
fn usable(item: &[Choice]) -> impl Iterator<Item = (usize, &Choice)> {
    item.iter().enumerate().filter(|(_, choice)| choice.loss.is_finite())
}

/// A place in a list: there are no more sums than [`STATES`], and choices are few.
fn index(place: usize) -> u32 {
    u32::try_from(place).expect("lists of choices are short")
}

/// Keep the least loss of each of `most` equal ranges of cost, and the cheapest of all.
fn thin(sums: &mut Vec<(Choice, (u32, u32))>, most: usize) {
    let (low, high) = (sums[0].0.cost, sums[sums.len() - 1].0.cost);
    let width = ((high - low) / (most as u64 - 1).max(1)).saturating_add(1);
    let range = |sum: &Choice| (sum.cost - low) / width;
    let mut index = 0;
    let ranges: Vec<u64> = sums.iter().map(|(sum, _)| range(sum)).collect();
    sums.retain(|_| {
        // Losses fall, so the last of a range has the least.
        let stays = index == 0 || ranges.get(index + 1) != Some(&ranges[index]);
        index += 1;
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn choice(loss: f64, cost: u64) -> Choice {
        Choice { loss, cost }
    }

    fn sum(items: &[Vec<Choice>], picks: &[usize]) -> Choice {
        items
            .iter()
            .zip(picks)
            .fold(choice(0.0, 0), |sum, (item, &pick)| choice(sum.loss + item[pick].loss, sum.cost + item[pick].cost))
    }

    /// Every way to choose.
    fn all(items: &[Vec<Choice>]) -> Vec<Vec<usize>> {
        items.iter().fold(vec![Vec::new()], |ways, item| {
            let longer = |way: &Vec<usize>| -> Vec<Vec<usize>> {
                (0..item.len()).map(|pick| [&way[..], &[pick]].concat()).collect()
            };
            ways.iter().flat_map(longer).collect()
        })
    }

    #[test]
    fn the_front_has_a_point_for_every_budget() {
        let items = [vec![choice(0.0, 8), choice(3.0, 2)], vec![choice(0.0, 4), choice(1.0, 2), choice(5.0, 3)]];
        let front = front(&items);
        let points: Vec<(u64, f64)> = front.points().iter().map(|p| (p.cost, p.loss)).collect();
        assert_eq!(points, [(4, 4.0), (6, 3.0), (10, 1.0), (12, 0.0)]);
        assert_eq!(front.picks(2), [0, 1]);
        assert_eq!(front.within(3), None);
        assert_eq!(front.within(9), Some(1));
        assert_eq!(front.losing(1.5), Some(2));
        assert_eq!(front.losing(-1.0), None);
    }

    #[test]
    fn nothing_to_choose_from_is_no_answer() {
        assert_eq!(solve(&[], 0), Some(Vec::new()));
        assert_eq!(solve(&[vec![choice(0.0, 1)], Vec::new()], 10), None);
        assert_eq!(solve(&[vec![choice(f64::NAN, 0), choice(1.0, 1)]], 10), Some(vec![1]));
        assert_eq!(solve(&[vec![choice(f64::NAN, 0)]], 10), None);
        assert_eq!(solve(&[vec![choice(f64::MAX, 1)], vec![choice(f64::MAX, 1)]], 10), None);
        assert_eq!(solve(&[vec![choice(0.0, u64::MAX)], vec![choice(0.0, 1)]], u64::MAX), None);
    }

    #[test]
    fn many_sums_are_thinned_and_the_budget_still_holds() {
        // Powers of two: no two sums are the same, and none undercuts another.
        let items: Vec<Vec<Choice>> =
            (0..24).map(|bit| vec![choice(0.0, 1 << bit), choice(f64::from(1 << bit), 0)]).collect();
        let all_cost = (1_u64 << 24) - 1;
        let front = front(&items);
        assert!(front.points().len() <= STATES + 1);
        let width = all_cost.div_ceil(STATES as u64) + 1;
        for budget in [0, 1, 12_345, 1 << 20, all_cost] {
            let picked = sum(&items, &front.picks(front.within(budget).unwrap()));
            assert!(picked.cost <= budget);
            let allowed = (all_cost - budget) as f64 + (24 * width) as f64;
            assert!(picked.loss <= allowed, "{budget}: {} > {allowed}", picked.loss);
        }
    }

    fn items() -> impl Strategy<Value = Vec<Vec<Choice>>> {
        // Few different numbers, so that there are ties.
        let one = (0_u32..12, 0_u64..12).prop_map(|(loss, cost)| choice(f64::from(loss), cost));
        proptest::collection::vec(proptest::collection::vec(one, 1..5), 0..6)
    }

    proptest! {
        #[test]
        fn nothing_that_fits_loses_less(items in items(), budget in 0_u64..60) {
            let best = all(&items).iter().map(|way| sum(&items, way)).filter(|sum| sum.cost <= budget)
                .map(|sum| sum.loss).min_by(f64::total_cmp);
            let found = solve(&items, budget).map(|picks| sum(&items, &picks));
            prop_assert!(found.is_none_or(|sum| sum.cost <= budget));
            prop_assert_eq!(found.map(|sum| sum.loss), best);
        }

        #[test]
        fn every_point_of_the_front_is_what_its_picks_sum_up_to(items in items()) {
            let front = front(&items);
            for (index, &point) in front.points().iter().enumerate() {
                prop_assert_eq!(sum(&items, &front.picks(index)), point);
            }
            let falls = front.points().windows(2).all(|two| two[0].cost < two[1].cost && two[0].loss > two[1].loss);
            prop_assert!(falls);
            for way in all(&items) {
                let sum = sum(&items, &way);
                let best = front.points()[front.within(sum.cost).unwrap()];
                prop_assert!(best.loss <= sum.loss);
            }
        }
    }
}
