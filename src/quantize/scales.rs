//! From statistics to what the integers of each tensor are worth.

use std::collections::BTreeMap;

use crate::calibrate::{Gathered, Method, Statistics, observed, range};
use crate::ir::{Graph, ValueId};
use crate::quantize::{Grid, Group, Plan, Scaling};

/// There are no statistics of a tensor that gets integers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no statistics of \"{tensor}\"")]
pub struct NoStatistics {
    /// The tensor.
    pub tensor: String,
}

/// Scale and zero point of every group of tensors in `plan`.
///
/// # Errors
/// For a tensor that `gathered` does not know.
pub fn scales(
    graph: &Graph,
    plan: &Plan,
    gathered: &Gathered,
    method: Method,
) -> Result<BTreeMap<Group, Scaling>, NoStatistics> {
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
    let scaling = |(statistics, grid): (Statistics, Grid)| grid.scaling(range(&statistics, method, grid.levels()));
    Ok(groups.into_iter().map(|(group, seen)| (group, scaling(seen))).collect())
}
