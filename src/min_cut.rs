//! The cheapest way to part a network in two, by the greatest flow through it: the minimum cut.
//!
//! Source: Dinitz, Algorithm for solution of a problem of maximum flow in networks with power estimation (1970): flow is
//! sent along shortest ways until none is left.

use std::collections::VecDeque;

/// More than anything costs.
pub(crate) const NEVER: u64 = 1 << 50;

/// A network of arcs that may be cut, each at a price.
pub(crate) struct Network {
    arcs: Vec<Arc>,
    /// The arcs of each node; every second one is the way back.
    of: Vec<Vec<usize>>,
}

struct Arc {
    to: usize,
    left: u64,
}

/// The node from which flow comes; it is on one side.
pub(crate) const SOURCE: usize = 0;
/// The node to which flow goes; it is on the other side.
pub(crate) const SINK: usize = 1;

/// Steps that are taken for each arc, on average, before a network counts as too knotted.
const STEPS: usize = 1 << 12;

impl Network {
    /// One without arcs: of both sides, and so many other nodes.
    pub(crate) fn new(others: usize) -> Network {
        Network { arcs: Vec::new(), of: vec![Vec::new(); others + 2] }
    }

    /// One more node.
    pub(crate) fn node(&mut self) -> usize {
        self.of.push(Vec::new());
        self.of.len() - 1
    }

    /// This is paid where `from` is on the side of [`SOURCE`] and `to` on that of [`SINK`].
    pub(crate) fn arc(&mut self, from: usize, to: usize, price: u64) {
        for (from, to, left) in [(from, to, price.min(NEVER)), (to, from, 0)] {
            self.of[from].push(self.arcs.len());
            self.arcs.push(Arc { to, left });
        }
    }

    /// For each node, whether it is on the side of [`SOURCE`] when as little is paid as can be; of several such ways, the
    /// one with the most nodes there. `None` for a network that takes too long.
    pub(crate) fn part(mut self) -> Option<Vec<bool>> {
        self.fill()?;
        Some(self.without_way_to_sink())
    }

    /// As [`Network::part`]; of several such ways, the one with the fewest nodes on the side of [`SOURCE`].
    pub(crate) fn part_with_fewest(mut self) -> Option<Vec<bool>> {
        Some(self.fill()?.into_iter().map(|far| far != usize::MAX).collect())
    }

    /// Send as much as there is room for. Returns how far nodes are from [`SOURCE`] then.
    fn fill(&mut self) -> Option<Vec<usize>> {
        let mut budget = STEPS.saturating_mul(self.arcs.len() + 1);
        loop {
            let far = self.far();
            if far[SINK] == usize::MAX {
                return Some(far);
            }
            self.saturate(&far, &mut budget)?;
        }
    }

    /// How far each node is from [`SOURCE`], along arcs that have something left.
    fn far(&self) -> Vec<usize> {
        let mut far = vec![usize::MAX; self.of.len()];
        far[SOURCE] = 0;
        let mut queue = VecDeque::from([SOURCE]);
        while let Some(at) = queue.pop_front() {
            for &arc in &self.of[at] {
                let Arc { to, left } = self.arcs[arc];
                if left > 0 && far[to] == usize::MAX {
                    far[to] = far[at] + 1;
                    queue.push_back(to);
                }
            }
        }
        far
    }

    /// Send as much as goes along shortest ways.
    fn saturate(&mut self, far: &[usize], budget: &mut usize) -> Option<()> {
        let mut next = vec![0; self.of.len()];
        let mut way: Vec<usize> = Vec::new();
        let mut at = SOURCE;
        loop {
            *budget = budget.checked_sub(1)?;
            if at == SINK {
                let most = way.iter().map(|&arc| self.arcs[arc].left).min().unwrap_or(0);
                for &arc in &way {
                    self.arcs[arc].left -= most;
                    self.arcs[arc ^ 1].left += most;
                }
                // Back to before the first arc that has nothing left.
                let full = way.iter().position(|&arc| self.arcs[arc].left == 0).unwrap_or(0);
                at = self.arcs[way[full] ^ 1].to;
                way.truncate(full);
                continue;
            }
            match self.of[at].get(next[at]) {
                Some(&arc) if self.arcs[arc].left > 0 && far[self.arcs[arc].to] == far[at] + 1 => {
                    way.push(arc);
                    at = self.arcs[arc].to;
                }
                Some(_) => next[at] += 1,
                None => match way.pop() {
                    Some(arc) => {
                        at = self.arcs[arc ^ 1].to;
                        next[at] += 1;
                    }
                    None => return Some(()),
                },
            }
        }
    }

    /// The nodes from which nothing more can be sent to [`SINK`].
    fn without_way_to_sink(&self) -> Vec<bool> {
        let mut is_source = vec![true; self.of.len()];
        is_source[SINK] = false;
        let mut open = vec![SINK];
        while let Some(at) = open.pop() {
            for &arc in &self.of[at] {
                let from = self.arcs[arc].to;
                if self.arcs[arc ^ 1].left > 0 && is_source[from] {
                    is_source[from] = false;
                    open.push(from);
                }
            }
        }
        is_source
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is paid for these sides.
    fn price(arcs: &[(usize, usize, u64)], is_source: &[bool]) -> u64 {
        arcs.iter().filter(|(from, to, _)| is_source[*from] && !is_source[*to]).map(|(.., price)| price).sum()
    }

    #[test]
    fn nothing_cheaper_is_there() {
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..200 {
            let nodes = 2 + random(6) as usize;
            let arcs: Vec<(usize, usize, u64)> = (0..random(24))
                .map(|_| (random(nodes as u64) as usize, random(nodes as u64) as usize, random(9)))
                .filter(|(from, to, _)| from != to)
                .collect();
            let build = || {
                let mut network = Network::new(nodes - 2);
                for &(from, to, price) in &arcs {
                    network.arc(from, to, price);
                }
                network
            };
            let found = build().part().unwrap();
            let ways = (0..1usize << (nodes - 2)).map(|bits| {
                let mut sides = vec![true, false];
                sides.extend((0..nodes - 2).map(|i| bits >> i & 1 == 1));
                sides
            });
            let least = ways.clone().map(|sides| price(&arcs, &sides)).min().unwrap();
            assert_eq!(price(&arcs, &found), least, "{arcs:?}");
            let most =
                ways.clone().filter(|s| price(&arcs, s) == least).map(|s| s.iter().filter(|&&i| i).count()).max();
            assert_eq!(Some(found.iter().filter(|&&i| i).count()), most, "{arcs:?}");
            let found = build().part_with_fewest().unwrap();
            assert_eq!(price(&arcs, &found), least, "{arcs:?}");
            let fewest = ways.filter(|s| price(&arcs, s) == least).map(|s| s.iter().filter(|&&i| i).count()).min();
            assert_eq!(Some(found.iter().filter(|&&i| i).count()), fewest, "{arcs:?}");
        }
    }

    #[test]
    fn long_chains_are_parted() {
        let n = 20_000;
        let mut network = Network::new(n);
        for i in 2..n + 2 {
            network.arc(SOURCE, i, if i % 2 == 0 { 10 } else { 3 });
            network.arc(i, SINK, if i % 2 == 0 { 2 } else { 5 });
            if i > 2 {
                network.arc(i - 1, i, 4);
                network.arc(i, i - 1, 4);
            }
        }
        assert!(network.part().unwrap()[2..].iter().all(|&is_source| is_source));
    }
}
