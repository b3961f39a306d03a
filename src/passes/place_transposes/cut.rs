//! The cheapest way to part a network between a source and a sink, by shortest augmenting paths (Dinic, 1970).

/// Capacity that is never cut.
pub(super) const NEVER: u64 = u64::MAX / 4;

/// A place in the network.
pub(super) type Place = usize;

/// What is on the source's side pays for each pipe to the sink's side.
pub(super) struct Network {
    pipes: Vec<Pipe>,
    from: Vec<Vec<usize>>,
}

struct Pipe {
    to: Place,
    left: u64,
}

impl Network {
    pub(super) const SOURCE: Place = 0;
    pub(super) const SINK: Place = 1;

    /// Source and sink, and nothing between them.
    pub(super) fn new() -> Network {
        Network { pipes: Vec::new(), from: vec![Vec::new(), Vec::new()] }
    }

    pub(super) fn add_place(&mut self) -> Place {
        self.from.push(Vec::new());
        self.from.len() - 1
    }

    pub(super) fn add_pipe(&mut self, from: Place, to: Place, capacity: u64) {
        for (at, to, left) in [(from, to, capacity), (to, from, 0)] {
            self.from[at].push(self.pipes.len());
            self.pipes.push(Pipe { to, left });
        }
    }

    /// Which places are on the source's side of the cheapest cut: of several, the one with the fewest. `None` when that
    /// is not found in `rounds` rounds.
    pub(super) fn cut(mut self, rounds: usize) -> Option<Vec<bool>> {
        for _ in 0..rounds {
            let levels = self.levels();
            if levels[Network::SINK] == usize::MAX {
                return Some(levels.into_iter().map(|level| level != usize::MAX).collect());
            }
            let mut next = vec![0; self.from.len()];
            while self.augment(&levels, &mut next) {}
        }
        None
    }

    /// Pipes from the source to each place.
    fn levels(&self) -> Vec<usize> {
        let mut levels = vec![usize::MAX; self.from.len()];
        levels[Network::SOURCE] = 0;
        let mut queue = std::collections::VecDeque::from([Network::SOURCE]);
        while let Some(at) = queue.pop_front() {
            for &pipe in &self.from[at] {
                let Pipe { to, left } = self.pipes[pipe];
                if left > 0 && levels[to] == usize::MAX {
                    levels[to] = levels[at] + 1;
                    queue.push_back(to);
                }
            }
        }
        levels
    }

    /// Fill one shortest path. `next` is the first pipe of each place that may still lead to the sink.
    fn augment(&mut self, levels: &[usize], next: &mut [usize]) -> bool {
        let mut path: Vec<usize> = Vec::new();
        let mut at = Network::SOURCE;
        while at != Network::SINK {
            let Some(&pipe) = self.from[at].get(next[at]) else {
                // A dead end: step back, and do not come again.
                let Some(last) = path.pop() else { return false };
                at = self.pipes[last ^ 1].to;
                next[at] += 1;
                continue;
            };
            let Pipe { to, left } = self.pipes[pipe];
            if left > 0 && levels[to] == levels[at] + 1 {
                path.push(pipe);
                at = to;
            } else {
                next[at] += 1;
            }
        }
        let flow = path.iter().map(|&pipe| self.pipes[pipe].left).min().unwrap_or(0);
        for pipe in path {
            self.pipes[pipe].left -= flow;
            self.pipes[pipe ^ 1].left = self.pipes[pipe ^ 1].left.saturating_add(flow);
        }
        flow > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheapest_pipes_are_cut() {
        let mut network = Network::new();
        let [a, b] = [network.add_place(), network.add_place()];
        network.add_pipe(Network::SOURCE, a, 5);
        network.add_pipe(Network::SOURCE, b, 1);
        network.add_pipe(a, b, 2);
        network.add_pipe(a, Network::SINK, 1);
        network.add_pipe(b, Network::SINK, NEVER);
        assert_eq!(network.cut(10), Some(vec![true, false, true, false]));
    }

    #[test]
    fn without_a_path_nothing_is_cut() {
        let mut network = Network::new();
        let a = network.add_place();
        network.add_pipe(Network::SOURCE, a, 3);
        assert_eq!(network.cut(1), Some(vec![true, false, true]));
        let mut network = Network::new();
        network.add_pipe(Network::SOURCE, Network::SINK, 3);
        assert_eq!(network.cut(0), None);
    }
}
