//! How many classes of each group go.

use std::fmt;
use std::str::FromStr;

use rustc_hash::FxHashMap;

use crate::ir::Graph;
use crate::prune::colour::{Axis, Class};
use crate::prune::groups::{Group, Groups};
use crate::prune::importance::Ranking;

/// What is to become less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Multiply-accumulates of a run.
    Macs,
    /// Elements of constants.
    Params,
    /// Bytes of constants.
    Bytes,
}

/// How much is removed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Budget {
    /// This share of the classes of every group.
    Ratio(f64),
    /// As much, from where it costs least, as leaves this share of a measure.
    Keep(Measure, f64),
    /// As much as bounds on quality allow.
    Auto,
}

impl Budget {
    /// What is spent after a part of all stages, so that each takes the same share of what the one before left.
    pub fn part(self, part: f64) -> Budget {
        match self {
            Budget::Ratio(ratio) => Budget::Ratio(1.0 - (1.0 - ratio).powf(part)),
            Budget::Keep(measure, share) => Budget::Keep(measure, share.powf(part)),
            Budget::Auto => Budget::Auto,
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Budget::Ratio(ratio) => write!(f, "{ratio}"),
            Budget::Keep(Measure::Macs, share) => write!(f, "macs={share}"),
            Budget::Keep(Measure::Params, share) => write!(f, "params={share}"),
            Budget::Keep(Measure::Bytes, share) => write!(f, "bytes={share}"),
            Budget::Auto => f.write_str("auto"),
        }
    }
}

/// A share from 0 to 1, both aside.
fn share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|&share: &f64| share > 0.0 && share < 1.0)
}

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        let wrong =
            || format!("{text} is not RATIO, macs=SHARE, params=SHARE, bytes=SHARE or auto, with numbers below 1");
        if text == "auto" {
            return Ok(Budget::Auto);
        }
        let Some((measure, left)) = text.split_once('=') else {
            return share(text).map(Budget::Ratio).ok_or_else(wrong);
        };
        let measure = match measure {
            "macs" => Measure::Macs,
            "params" => Measure::Params,
            "bytes" => Measure::Bytes,
            _ => return Err(wrong()),
        };
        share(left).map(|left| Budget::Keep(measure, left)).ok_or_else(wrong)
    }
}

/// What holds for every group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Kept channels are a multiple of this; a group of no more channels than this is left alone.
    pub align: usize,
    /// The largest share of a group that a budget over the whole model takes.
    pub max_ratio: f64,
    /// Classes that are kept of every group.
    pub min_classes: usize,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { align: 1, max_ratio: 0.7, min_classes: 1 }
    }
}

/// One group as a budget sees it: how many classes may go at most, and the numbers of classes that may be kept.
#[derive(Clone, Debug)]
struct Plan {
    size: usize,
    step: usize,
    least: usize,
}

impl Plan {
    /// The numbers of kept classes that alignment allows, nearest to `kept`.
    fn aligned(&self, kept: f64) -> usize {
        if self.size <= self.step {
            return self.size;
        }
        let steps = (kept / self.step as f64).round().max(1.0);
        ((steps as usize).saturating_mul(self.step)).clamp(self.least, self.size)
    }

    /// The next smaller number of kept classes, by no less than `chunk`; `None` below the least.
    fn below(&self, kept: usize, chunk: usize) -> Option<usize> {
        if self.size <= self.step {
            return None;
        }
        let next = kept.checked_sub(chunk.max(1))? / self.step * self.step;
        (next >= self.least.max(1) && next < kept).then_some(next)
    }
}

/// What each group keeps, and how many classes of the budget could not be spent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    /// Which classes go, by number.
    pub removed: Vec<bool>,
    /// The share of the measure that is left, where one was asked for.
    pub left: Option<f64>,
}

/// Choose what goes. `ratios` are those of groups that have one of their own; a group without a ranking is left alone.
pub fn allocate(
    graph: &Graph,
    groups: &Groups,
    rankings: &[Option<Ranking>],
    budget: Budget,
    rules: &Rules,
    ratios: &FxHashMap<usize, f64>,
) -> Allocation {
    let plans: Vec<Plan> = groups.groups.iter().map(|group| plan(group, rules)).collect();
    let mut kept: Vec<usize> = plans.iter().map(|plan| plan.size).collect();
    for (i, plan) in plans.iter().enumerate() {
        let ratio = match (ratios.get(&i), budget) {
            (Some(&own), _) => own,
            (None, Budget::Ratio(ratio)) => ratio,
            (None, _) => continue,
        };
        if rankings[i].is_some() && ratio > 0.0 {
            kept[i] = plan.aligned(plan.size as f64 - (plan.size as f64 * ratio).floor());
        }
    }
    let mut left = None;
    if let Budget::Keep(measure, share) = budget {
        let mut meter = Meter::of(graph, groups, measure);
        for (i, plan) in plans.iter().enumerate() {
            meter.remove(i, plan.size - kept[i]);
        }
        let least = |plan: &Plan| ((plan.size as f64 * (1.0 - rules.max_ratio)).ceil() as usize).max(plan.least);
        let plans: Vec<Plan> = plans.iter().map(|plan| Plan { least: least(plan), ..plan.clone() }).collect();
        while meter.share() > share {
            let step = |i: usize| {
                let (plan, ranking) = (&plans[i], rankings[i].as_ref()?);
                if ratios.contains_key(&i) {
                    return None;
                }
                let next = plan.below(kept[i], plan.size / 16)?;
                let gone = plan.size - kept[i]..plan.size - next;
                let cost: f64 = ranking.costs.get(gone)?.iter().sum();
                let gain = meter.gain(i, kept[i] - next);
                (gain > 0.0).then(|| (cost.max(0.0) / gain, i, next))
            };
            let Some((_, i, next)) = (0..plans.len()).filter_map(step).min_by(|a, b| a.0.total_cmp(&b.0)) else {
                break;
            };
            meter.remove(i, kept[i] - next);
            kept[i] = next;
        }
        left = Some(meter.share());
    }
    let mut removed = groups.nothing();
    for (i, ranking) in rankings.iter().enumerate() {
        let Some(ranking) = ranking else { continue };
        for &class in ranking.order.iter().take(plans[i].size - kept[i]) {
            removed[class as usize] = true;
        }
    }
    // A part of a tensor may hold classes that all are the least of their group.
    while let Some((value, axis)) = groups.emptied(&removed) {
        let Some(classes) = groups.colouring.classes_of(value, axis) else { break };
        let last = |class: &Class| rankings.iter().flatten().find_map(|r| r.order.iter().position(|c| c == class));
        match classes.iter().filter(|&&class| removed[class as usize]).max_by_key(|class| last(class)) {
            Some(&class) => removed[class as usize] = false,
            None => break,
        }
    }
    Allocation { removed, left }
}

fn plan(group: &Group, rules: &Rules) -> Plan {
    let size = group.classes.len();
    // As many channels as a class has where it has fewest: a head has all of its size.
    let slices = group.members.iter().map(|member| member.slices).min().unwrap_or(1).max(1);
    let step = rules.align.max(1) / gcd(rules.align.max(1), slices);
    Plan { size, step, least: rules.min_classes.max(step).min(size) }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A measure of a model that follows as classes go.
struct Meter {
    parts: Vec<Part>,
    /// Where each group's classes count: part, axis of the part, and how many indices a class has there.
    places: Vec<Vec<(usize, usize, usize)>>,
    total: f64,
    now: f64,
}

/// A product of the sizes of axes.
struct Part {
    amount: f64,
    axes: Vec<(usize, usize)>,
}

impl Part {
    fn left(&self) -> f64 {
        self.axes.iter().fold(self.amount, |n, &(kept, size)| n * kept as f64 / size.max(1) as f64)
    }
}

impl Meter {
    fn of(graph: &Graph, groups: &Groups, measure: Measure) -> Meter {
        let mut amounts: Vec<(f64, Vec<std::sync::Arc<[Class]>>)> = Vec::new();
        match measure {
            Measure::Macs => amounts.extend(groups.work().map(|(macs, axes)| (macs, axes.to_vec()))),
            Measure::Params | Measure::Bytes => {
                for value in graph.values() {
                    let Some(tensor) = graph.constant(value) else { continue };
                    let amount = if measure == Measure::Params { tensor.len() } else { tensor.stored_bytes() };
                    let axes = groups.colouring.axes(value).iter().filter_map(|axis| match axis {
                        Axis::Of(classes) => Some(classes.clone()),
                        Axis::Fixed => None,
                    });
                    amounts.push((amount as f64, axes.collect()));
                }
            }
        }
        let mut of_class: FxHashMap<Class, usize> = FxHashMap::default();
        for (i, group) in groups.groups.iter().enumerate() {
            of_class.extend(group.classes.iter().map(|&class| (class, i)));
        }
        let mut places = vec![Vec::new(); groups.groups.len()];
        let mut parts = Vec::with_capacity(amounts.len());
        for (at, (amount, axes)) in amounts.into_iter().enumerate() {
            for (axis, classes) in axes.iter().enumerate() {
                let mut counts: FxHashMap<usize, usize> = FxHashMap::default();
                for class in &**classes {
                    if let Some(&group) = of_class.get(class) {
                        *counts.entry(group).or_default() += 1;
                    }
                }
                for (group, count) in counts {
                    places[group].push((at, axis, (count / groups.groups[group].classes.len()).max(1)));
                }
            }
            parts.push(Part { amount, axes: axes.iter().map(|axis| (axis.len(), axis.len())).collect() });
        }
        places.iter_mut().for_each(|places: &mut Vec<(usize, usize, usize)>| places.sort_unstable());
        let total = parts.iter().map(|part| part.amount).sum();
        Meter { parts, places, total, now: total }
    }

    /// What is left, as a share.
    fn share(&self) -> f64 {
        if self.total == 0.0 { 1.0 } else { self.now / self.total }
    }

    /// How much less it would be without `count` more classes of a group.
    fn gain(&self, group: usize, count: usize) -> f64 {
        let mut gain = 0.0;
        let mut places = self.places[group].iter().peekable();
        while let Some(&(at, axis, slices)) = places.next() {
            let part = &self.parts[at];
            let mut axes = part.axes.clone();
            axes[axis].0 = axes[axis].0.saturating_sub(count * slices);
            while let Some(&&(same, axis, slices)) = places.peek() {
                if same != at {
                    break;
                }
                axes[axis].0 = axes[axis].0.saturating_sub(count * slices);
                places.next();
            }
            gain += part.left() - Part { amount: part.amount, axes }.left();
        }
        gain
    }

    fn remove(&mut self, group: usize, count: usize) {
        self.now -= self.gain(group, count);
        for &(at, axis, slices) in &self.places[group] {
            let kept = &mut self.parts[at].axes[axis].0;
            *kept = kept.saturating_sub(count * slices);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_as_they_are_written() {
        for text in ["0.3", "macs=0.5", "params=0.25", "bytes=0.9", "auto"] {
            assert_eq!(text.parse::<Budget>().unwrap().to_string(), text);
        }
        for wrong in ["", "0", "1", "2", "-0.5", "macs", "macs=", "macs=1", "flops=0.5", "nan"] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn kept_channels_are_a_multiple() {
        let plan = |size, step| Plan { size, step, least: step };
        assert_eq!(plan(64, 8).aligned(35.0), 32);
        assert_eq!(plan(64, 8).aligned(1.0), 8);
        assert_eq!(plan(8, 8).aligned(4.0), 8);
        assert_eq!(plan(20, 8).aligned(19.9), 16);
        assert_eq!(plan(12, 1).aligned(6.0), 6);
        assert_eq!(plan(64, 8).below(64, 4), Some(56));
        assert_eq!(plan(20, 8).below(20, 1), Some(16));
        assert_eq!(plan(64, 8).below(8, 1), None);
        assert_eq!(plan(8, 8).below(8, 1), None);
    }
}
