//! From statistics to what the integers of each tensor are worth.

use std::collections::BTreeMap;

use crate::calibrate::{Gathered, Method, Range, Statistics, careful, observed, range};
use crate::ir::{Graph, ValueId};
use crate::quantize::{Grid, Group, Plan, Scaling};

/// There are no statistics of a tensor that gets integers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no statistics of \"{tensor}\"")]
pub struct NoStatistics {
    /// The tensor.
    pub tensor: String,
}

/// How ranges are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ranges {
    /// By this method.
    Method(Method),
    /// Where the expected squared error is least, that of elements which are cut off counting this many times.
    Careful(f64),
}

impl From<Method> for Ranges {
    fn from(method: Method) -> Ranges {
        Ranges::Method(method)
    }
}

impl Ranges {
    /// The range for a tensor of these statistics.
    pub fn of(self, statistics: &Statistics, grid: Grid) -> Range {
        match self {
            Ranges::Method(method) => range(statistics, method, grid.levels()),
            Ranges::Careful(weight) => careful(statistics, weight, grid.levels()),
        }
    }
}

/// Scale and zero point of every group of tensors in `plan`.
///
/// # Errors
/// For a tensor that `gathered` does not know.
pub fn scales(
    graph: &Graph,
    plan: &Plan,
    gathered: &Gathered,
    ranges: impl Into<Ranges>,
) -> Result<BTreeMap<Group, Scaling>, NoStatistics> {
    let ranges = ranges.into();
    let mut groups: BTreeMap<Group, (Statistics, Grid)> = BTreeMap::new();
    let names: BTreeMap<ValueId, String> = observed(graph).into_iter().collect();
    for site in &plan.sites {
        let tensor = names.get(&site.value).cloned().unwrap_or_default();
        let Some(statistics) = gathered.tensors.get(&tensor) else { return Err(NoStatistics { tensor }) };
        groups
            .entry(site.group)
            .and_modify(|(all, _)| all.merge(statistics))
            .or_insert_with(|| (statistics.clone(), site.grid));
    }
    let scaling = |(statistics, grid): (Statistics, Grid)| grid.scaling(ranges.of(&statistics, grid));
    Ok(groups.into_iter().map(|(group, seen)| (group, scaling(seen))).collect())
}
