//! How many classes of each group go.

use std::fmt;
use std::str::FromStr;

use rustc_hash::FxHashMap;

use crate::ir::Graph;
use crate::prune::balance::{Level, balanced};
use crate::prune::colour::Class;
use crate::prune::groups::{Group, Groups};
use crate::prune::importance::Ranking;
use crate::prune::meter::{Measure, Meter};

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
        let meter = Meter::of(graph, groups, measure);
        let least = |plan: &Plan| ((plan.size as f64 * (1.0 - rules.max_ratio)).ceil() as usize).max(plan.least);
        let levels = plans.iter().enumerate().map(|(i, plan)| match &rankings[i] {
            Some(ranking) if !ratios.contains_key(&i) => {
                levels(&Plan { least: least(plan), ..plan.clone() }, &ranking.costs)
            }
            _ => vec![Level { kept: kept[i], loss: 0.0 }],
        });
        let levels: Vec<Vec<Level>> = levels.collect();
        let (chosen, share) = balanced(meter, &plans.iter().map(|plan| plan.size).collect::<Vec<_>>(), &levels, share);
        kept = levels.iter().zip(chosen).map(|(levels, chosen)| levels[chosen].kept).collect();
        left = Some(share);
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

/// The numbers of classes that a group may keep, the most first, and what is lost then.
fn levels(plan: &Plan, costs: &[f64]) -> Vec<Level> {
    let mut levels = vec![Level { kept: plan.size, loss: 0.0 }];
    while let Some(&Level { kept, loss }) = levels.last()
        && let Some(next) = plan.below(kept, plan.size / 16)
        && let Some(costs) = costs.get(plan.size - kept..plan.size - next)
    {
        levels.push(Level { kept: next, loss: loss + costs.iter().map(|cost| cost.max(0.0)).sum::<f64>() });
    }
    levels
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
