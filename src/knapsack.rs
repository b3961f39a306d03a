//! One choice of each of several items, of the least loss within a budget: the multiple-choice knapsack.
//!
//! Items are taken one after another. Of the sums that the choices so far can have, only those stay that no other
//! undercuts in cost and in loss at once, so the answer is exact and holds for every budget: what stays at the end is
//! the whole front. Costs are never rounded. Where more than a few thousand sums would stay, the least loss of each of so
//! many equal ranges of cost does: what is then found within a budget costs no more than that, and loses no more than
//! the best within a budget that is smaller by one range's width per item.
//!
//! Where two items of different kinds stand side by side, that may cost more ([`Border`]). Sums are then told apart by the
//! kinds of those items so far that have a neighbour to come: an item's choice asks for no more of what came before, so
//! the answer stays exact. In a chain that is one item, in a tree or where branches meet a few. Where too many are open at
//! once, borders of those that cost least are left out, and what is found is the front of a cost that is too low by these.
//!
//! Sources: Kellerer, Pferschy, Pisinger, Knapsack Problems (2004), sections 3.4 (lists of undominated states) and 11.5
//! (multiple choice); Bertelè, Brioschi, Nonserial Dynamic Programming (1972), chapter 3 (eliminating one variable after
//! another).

/// One of the things that may be chosen for an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// What it loses; a choice whose loss is not a finite number is never picked.
    pub loss: f64,
    /// What it costs.
    pub cost: u64,
}

/// Two items that stand side by side: the kinds of their choices may differ, for a price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Border {
    /// Their places, two different ones.
    pub items: [usize; 2],
    /// What it costs when they differ.
    pub cost: u64,
}

/// Kinds of open items that are told apart at the most.
const KINDS: usize = 64;

/// Items that are open at the most. Each has so many bits for its kind.
const OPEN: usize = 16;
const BITS: usize = 4;

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
    up_to(items, &[], &[], u64::MAX)
}

/// The same with what lies between items. Each choice has a kind, a number below 16.
///
/// # Panics
/// When an item has another number of kinds than of choices, and for borders of items that there are not.
pub fn bordered(items: &[Vec<Choice>], kinds: &[Vec<u8>], borders: &[Border]) -> Front {
    assert!(items.len() == kinds.len() && items.iter().zip(kinds).all(|(item, kinds)| item.len() == kinds.len()));
    assert!(borders.iter().all(|border| border.items[0] != border.items[1]), "an item has no border with itself");
    up_to(items, kinds, borders, u64::MAX)
}

/// The choice of each item, as a place in its list, of the least loss that costs no more than `budget` together;
/// `None` where nothing does.
pub fn solve(items: &[Vec<Choice>], budget: u64) -> Option<Vec<usize>> {
    let front = up_to(items, &[], &[], budget);
    Some(front.picks(front.within(budget)?))
}

/// A sum after some items: the kinds of those that are open, the sum, the one before it and what was chosen.
type Sum = (u64, Choice, (u32, u32));

/// Items that have a neighbour to come, in order, and the borders that are not paid yet.
struct Open<'b> {
    items: Vec<usize>,
    borders: Vec<&'b Border>,
}

impl Open<'_> {
    /// The kind of the open item at `place`, in `kinds`.
    fn kind(kinds: u64, place: usize) -> u8 {
        (kinds >> (BITS * place)) as u8 & ((1 << BITS) - 1)
    }

    /// What `item` pays for its kind beside those that are open, by their places.
    fn paid(&self, item: usize) -> Vec<(usize, u64)> {
        let other = |border: &&&Border| border.items.contains(&item);
        let pay = |border: &&Border| {
            let [a, b] = border.items;
            let place = self.items.iter().position(|&open| open == if a == item { b } else { a })?;
            Some((place, border.cost))
        };
        self.borders.iter().filter(other).filter_map(pay).collect()
    }

    /// Open `item`, and close those that have no neighbour to come. Returns the places that stay, with `item` last.
    fn advance(&mut self, item: usize) -> Vec<usize> {
        let is_open = |open: &usize| self.items.contains(open) || *open == item;
        self.borders.retain(|border| !border.items.iter().all(is_open));
        self.items.push(item);
        let waits = |open: &usize| self.borders.iter().any(|border| border.items.contains(open));
        let stays: Vec<usize> = (0..self.items.len()).filter(|&place| waits(&self.items[place])).collect();
        self.items = stays.iter().map(|&place| self.items[place]).collect();
        stays
    }

    /// Forget the item whose borders to come cost least. Returns the places that stay.
    fn forget(&mut self) -> Vec<usize> {
        let costs = |item: usize| {
            let of = self.borders.iter().filter(|border| border.items.contains(&item));
            of.fold(0, |sum: u64, border| sum.saturating_add(border.cost))
        };
        let least = (0..self.items.len()).min_by_key(|&place| (costs(self.items[place]), place));
        if let Some(item) = least.map(|place| self.items[place]) {
            self.borders.retain(|border| !border.items.contains(&item));
        }
        let stays: Vec<usize> = (0..self.items.len()).filter(|&place| Some(place) != least).collect();
        self.items = stays.iter().map(|&place| self.items[place]).collect();
        stays
    }
}

/// The kinds at these places, in order.
fn at_places(kinds: u64, places: &[usize]) -> u64 {
    places.iter().enumerate().fold(0, |found, (to, &from)| found | u64::from(Open::kind(kinds, from)) << (BITS * to))
}

/// The front as far as it costs no more than `budget`. Items without kinds are all of one.
fn up_to(items: &[Vec<Choice>], kinds: &[Vec<u8>], borders: &[Border], budget: u64) -> Front {
    let most = (ALL_STATES / items.len().max(1)).clamp(FEWEST_STATES, STATES);
    // What the items from here on cost at the least.
    let mut rest: Vec<u64> = vec![0; items.len() + 1];
    for (index, item) in items.iter().enumerate().rev() {
        let least = usable(item).map(|(_, choice)| choice.cost).min().unwrap_or(u64::MAX);
        rest[index] = rest[index + 1].saturating_add(least);
    }
    let mut points = vec![(0, Choice { loss: 0.0, cost: 0 })];
    let mut steps = Vec::with_capacity(items.len());
    let mut open = Open { items: Vec::new(), borders: borders.iter().collect() };
    for (place, (item, &rest)) in items.iter().zip(&rest[1..]).enumerate() {
        let mut sums: Vec<Sum> = Vec::with_capacity(points.len() * item.len());
        let paid = open.paid(place);
        let before = open.items.len();
        let stays = open.advance(place);
        for (chosen, choice) in usable(item) {
            let kind = kinds.get(place).map_or(0, |kinds| kinds[chosen]) & ((1 << BITS) - 1);
            sums.extend(points.iter().enumerate().filter_map(|(from, &(kinds, point))| {
                let differs = paid.iter().filter(|(place, _)| Open::kind(kinds, *place) != kind);
                let between = differs.fold(0, |sum: u64, (_, cost)| sum.saturating_add(*cost));
                let cost = point.cost.checked_add(choice.cost)?.checked_add(between)?;
                let loss = point.loss + choice.loss;
                let fits = cost.checked_add(rest).is_some_and(|cost| cost <= budget) && loss.is_finite();
                let kinds = at_places(kinds | u64::from(kind) << (BITS * before), &stays);
                fits.then_some((kinds, Choice { loss, cost }, (index(from), index(chosen))))
            }));
        }
        let mut different = undercut(&mut sums);
        while different > KINDS || open.items.len() >= OPEN {
            let stays = open.forget();
            sums.iter_mut().for_each(|sum| sum.0 = at_places(sum.0, &stays));
            different = undercut(&mut sums);
        }
        if sums.len() > most {
            thin(&mut sums, most / different.max(1));
        }
        points = sums.iter().map(|&(kinds, sum, _)| (kinds, sum)).collect();
        steps.push(sums.into_iter().map(|(_, _, step)| step).collect());
    }
    Front { points: points.into_iter().map(|(_, sum)| sum).collect(), steps }
}

/// Keep of each kinds the sums that no other undercuts, the cheapest first. Returns how many kinds there are.
fn undercut(sums: &mut Vec<Sum>) -> usize {
    // The first of equal sums stays, so that the answer does not depend on how sorting goes about it.
    sums.sort_unstable_by(|(kinds, a, from), (others, b, other)| {
        kinds.cmp(others).then(a.cost.cmp(&b.cost)).then(a.loss.total_cmp(&b.loss)).then(from.cmp(other))
    });
    let (mut different, mut last, mut least) = (0, None, f64::INFINITY);
    sums.retain(|(kinds, sum, _)| {
        if last != Some(*kinds) {
            (different, last, least) = (different + 1, Some(*kinds), f64::INFINITY);
        }
        let stays = sum.loss < least;
        least = least.min(sum.loss);
        stays
    });
    different
}

/// What may be picked, with its place.
fn usable(item: &[Choice]) -> impl Iterator<Item = (usize, &Choice)> {
    item.iter().enumerate().filter(|(_, choice)| choice.loss.is_finite())
}

/// A place in a list: there are no more sums than [`STATES`], and choices are few.
fn index(place: usize) -> u32 {
    u32::try_from(place).expect("lists of choices are short")
}

/// Keep of each kinds the least loss of each of `most` equal ranges of cost, and the cheapest of all.
fn thin(sums: &mut Vec<Sum>, most: usize) {
    let costs = || sums.iter().map(|(_, sum, _)| sum.cost);
    let (low, high) = (costs().min().unwrap_or(0), costs().max().unwrap_or(0));
    let width = ((high - low) / (most.max(2) as u64 - 1)).saturating_add(1);
    let ranges: Vec<(u64, u64)> = sums.iter().map(|(kinds, sum, _)| (*kinds, (sum.cost - low) / width)).collect();
    let mut index = 0;
    sums.retain(|_| {
        // Losses fall, so the last of a range has the least.
        let is_first = index == 0 || ranges[index - 1].0 != ranges[index].0;
        let stays = is_first || ranges.get(index + 1) != Some(&ranges[index]);
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

    #[test]
    fn what_lies_between_is_paid_where_kinds_differ() {
        // To lose nothing at all the one in the middle would have to be of another kind than both beside it.
        let item = |losses: [f64; 2]| vec![choice(losses[0], 4), choice(losses[1], 1)];
        let items = [item([0.0, 0.0]), item([0.0, 1.0]), item([0.0, 0.0])];
        let kinds = vec![vec![0, 1]; 3];
        let borders = [[0, 1], [1, 2]].map(|items| Border { items, cost: 5 });
        let front = bordered(&items, &kinds, &borders);
        let points: Vec<(u64, f64)> = front.points().iter().map(|p| (p.cost, p.loss)).collect();
        assert_eq!(points, [(3, 1.0), (12, 0.0)]);
        assert_eq!(front.picks(1), [0, 0, 0]);
        assert_eq!(bordered(&items, &kinds, &[]).points()[1].cost, 6);
    }

    #[test]
    fn too_many_open_items_are_not_told_apart() {
        // Every item has a border with every other one.
        let count = 40;
        let items: Vec<Vec<Choice>> = (0..count).map(|i| vec![choice(0.0, 40 + i), choice(1.0, 20)]).collect();
        let kinds = vec![vec![0, 1]; items.len()];
        let all = (0..items.len()).flat_map(|a| (0..a).map(move |b| [b, a]));
        let borders: Vec<Border> = all.map(|items| Border { items, cost: 1 }).collect();
        let front = bordered(&items, &kinds, &borders);
        let all_alike = front.points().first().unwrap();
        assert_eq!((all_alike.cost, all_alike.loss), (20 * count, count as f64));
        assert!(front.points().windows(2).all(|two| two[0].cost < two[1].cost && two[0].loss > two[1].loss));
    }

    /// What is paid between picks.
    fn between(picks: &[usize], kinds: &[Vec<u8>], borders: &[Border]) -> u64 {
        let kind = |item: usize| kinds[item][picks[item]];
        borders.iter().filter(|b| kind(b.items[0]) != kind(b.items[1])).map(|b| b.cost).sum()
    }

    fn side_by_side() -> impl Strategy<Value = (Vec<Vec<(Choice, u8)>>, Vec<Border>)> {
        let one = (0_u32..12, 0_u64..12, 0_u8..3).prop_map(|(loss, cost, kind)| (choice(f64::from(loss), cost), kind));
        let items = proptest::collection::vec(proptest::collection::vec(one, 1..4), 2..6);
        items.prop_flat_map(|items| {
            let (count, far) = (items.len(), 1..items.len());
            let border = (0..count, far, 0_u64..9)
                .prop_map(move |(a, far, cost)| Border { items: [a, (a + far) % count], cost });
            (Just(items), proptest::collection::vec(border, 0..8))
        })
    }

    proptest! {
        #[test]
        fn with_what_lies_between_nothing_that_fits_loses_less(
            (items, borders) in side_by_side(),
            budget in 0_u64..60,
        ) {
            let (items, kinds): (Vec<Vec<Choice>>, Vec<Vec<u8>>) =
                items.into_iter().map(|item| item.into_iter().unzip()).unzip();
            let whole = |way: &[usize]| {
                let Choice { loss, cost } = sum(&items, way);
                choice(loss, cost + between(way, &kinds, &borders))
            };
            let front = bordered(&items, &kinds, &borders);
            for (index, &point) in front.points().iter().enumerate() {
                prop_assert_eq!(whole(&front.picks(index)), point);
            }
            let best = all(&items).iter().map(|way| whole(way)).filter(|sum| sum.cost <= budget)
                .map(|sum| sum.loss).min_by(f64::total_cmp);
            prop_assert_eq!(front.within(budget).map(|point| front.points()[point].loss), best);
        }

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
