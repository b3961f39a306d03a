//! In which order the classes of each group go, told from samples.
//!
//! The layers that sum over a group say what its channels are worth: what their results lose without one, in parts of
//! their energy. One run of the dense model meets every layer once; its second moments are held until the groups that
//! it reads are ranked.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::Array2;
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::exec::stepper::{Stepper, held_bytes};
use crate::exec::{Cannot, Executor};
use crate::gram::layer::WEIGHT;
use crate::gram::{Layer, Patches, Removal, Sums, by_energy, by_least_loss, order};
use crate::ir::{Graph, NodeId, ScopeId, Tensor};
use crate::model::Model;
use crate::prune::{Class, Groups};

/// How to rank.
#[derive(Clone, Debug)]
pub struct Ranker {
    /// Layers that read more columns are not asked what others can make up for: see [`By::Energy`].
    pub columns: usize,
    /// Nor are layers beyond what second moments of so many bytes are of.
    pub moments: usize,
    /// Rows of patches that a layer is looked at with at most.
    pub rows: usize,
    /// Bytes that the tensors of all samples may take; with more, fewer samples are used.
    pub bytes: u128,
    /// What is added to the diagonal of second moments, in parts of its mean.
    pub damping: f64,
    /// Which rows are picked.
    pub seed: u64,
}

impl Default for Ranker {
    fn default() -> Ranker {
        let rows = crate::gram::patches::MOST_ROWS;
        Ranker { columns: 4096, moments: 1 << 30, rows, bytes: 1 << 30, damping: 1e-3, seed: 1 }
    }
}

/// The classes of a group, the one that goes first first.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// What was asked.
    pub by: By,
    /// All classes of the group but one, in order, with what each costs as it goes.
    pub order: Vec<(Class, f64)>,
}

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// What is lost although all that remains makes up for it as well as it can.
    LeastLoss,
    /// What is lost when nothing makes up for it.
    Energy,
    /// Nothing: no layer with a constant weight sums over the group.
    Nothing,
}

/// A layer that sums over classes.
struct Reader {
    layer: Layer,
    /// The groups that it reads.
    groups: Vec<usize>,
    /// The class of each channel.
    channels: Arc<[Class]>,
    /// Whether it is asked for second moments.
    is_narrow: bool,
}

/// Rank the classes of every group; `samples` are of `dense`, which `groups` are of. `progress` hears how many layers of
/// how many are done.
///
/// # Errors
/// When the engine cannot run the model on the samples.
pub fn rank<S: std::ops::Deref<Target = [(String, Tensor)]>>(
    dense: &Model,
    groups: &Groups,
    samples: &[S],
    engine: &dyn Executor,
    ranker: &Ranker,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<Ranking>, Cannot> {
    let graph = &dense.graph;
    let readers = readers(graph, groups, ranker);
    let mut left: Vec<usize> = vec![0; groups.groups.len()];
    let mut is_narrow = vec![true; groups.groups.len()];
    for reader in &readers {
        for &group in &reader.groups {
            left[group] += 1;
            is_narrow[group] &= reader.is_narrow;
        }
    }
    let samples = thinned(dense, samples, ranker);
    let mut rankings: Vec<Ranking> =
        groups.groups.iter().map(|group| in_order(group.classes.iter().map(|&c| (c, 0.0)), By::Nothing)).collect();
    let mut pending: BTreeMap<usize, Pending> = BTreeMap::new();
    let mut stepper = Stepper::new(dense, &samples, engine)?;
    progress(0, readers.len());
    for (done, reader) in readers.iter().enumerate() {
        let layer = &reader.layer;
        stepper.advance_to(dense, layer.node)?;
        let read = stepper.operand(dense, layer.node, 0);
        let patches = read.and_then(|read| Patches::of(layer, read, ranker.rows, ranker.seed));
        let weight = graph.operand(layer.node, WEIGHT).and_then(|w| layer.matrix(graph.constant(w)?));
        if let (Some(patches), Some(weight)) = (patches, weight) {
            let square = reader.groups.iter().any(|&group| is_narrow[group]).then(|| Arc::new(square(&patches)));
            let wide = Arc::new(weight.mapv(f64::from));
            for &group in &reader.groups {
                let classes = columns(layer, &reader.channels, &groups.groups[group].classes);
                let pending = pending.entry(group).or_default();
                match &square {
                    Some(square) if is_narrow[group] => {
                        let (weight, square) = (Arc::clone(&wide), Arc::clone(square));
                        pending.sinks.push(order::Sink { weight, square, classes });
                    }
                    _ => pending.costs.extend(by_energy(&patches, 0, weight.view(), &classes)),
                }
            }
        }
        for &group in &reader.groups {
            left[group] -= 1;
            if left[group] == 0
                && let Some(pending) = pending.remove(&group)
                && let Some(ranking) = pending.ranking(&groups.groups[group].classes, ranker)
            {
                rankings[group] = ranking;
            }
        }
        progress(done + 1, readers.len());
    }
    Ok(rankings)
}

/// What is known of a group so far.
#[derive(Default)]
struct Pending {
    sinks: Vec<order::Sink>,
    /// What each class costs, for each layer.
    costs: Vec<Vec<f64>>,
}

impl Pending {
    fn ranking(self, classes: &[Class], ranker: &Ranker) -> Option<Ranking> {
        if !self.sinks.is_empty() {
            let removals = by_least_loss(self.sinks, ranker.damping, classes.len().saturating_sub(1))?;
            let order = removals.iter().map(|&Removal { class, cost }| (classes[class], cost)).collect();
            return Some(Ranking { by: By::LeastLoss, order });
        }
        if self.costs.is_empty() {
            return None;
        }
        let cost = |i: usize| self.costs.iter().map(|costs| costs.get(i).copied().unwrap_or(0.0)).sum();
        Some(in_order(classes.iter().enumerate().map(|(i, &class)| (class, cost(i))), By::Energy))
    }
}

/// Cheapest first; the dearest stays.
fn in_order(costs: impl Iterator<Item = (Class, f64)>, by: By) -> Ranking {
    let mut order: Vec<(Class, f64)> = costs.collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    order.pop();
    Ranking { by, order }
}

/// The layers that sum over groups, in the order in which they run.
fn readers(graph: &Graph, groups: &Groups, ranker: &Ranker) -> Vec<Reader> {
    let mut group_of: FxHashMap<Class, usize> = FxHashMap::default();
    for (index, group) in groups.groups.iter().enumerate() {
        group_of.extend(group.classes.iter().map(|&class| (class, index)));
    }
    let sinks: std::collections::BTreeSet<NodeId> = groups.sinks().iter().map(|sink| sink.node).collect();
    let mut readers = Vec::new();
    let mut bytes = 0usize;
    for node in graph.schedule(ScopeId::MAIN).into_iter().filter(|node| sinks.contains(node)) {
        let Ok(layer) = Layer::of(graph, node) else { continue };
        let classes = graph.operand(node, 0).and_then(|v| groups.colouring.classes_of(v, layer.input_axis));
        let Some(channels) = classes.filter(|c| layer.groups == 1 && c.len() == layer.channels).cloned() else {
            continue;
        };
        let mut read: Vec<usize> = channels.iter().filter_map(|class| group_of.get(class).copied()).collect();
        read.sort_unstable();
        read.dedup();
        if read.is_empty() {
            continue;
        }
        let size = layer.columns().saturating_mul(layer.columns()).saturating_mul(size_of::<f64>());
        let is_narrow = layer.columns() <= ranker.columns && bytes.saturating_add(size) <= ranker.moments;
        if is_narrow {
            bytes += size;
        }
        readers.push(Reader { layer, groups: read, channels, is_narrow });
    }
    readers
}

/// The columns that each class has in the patches of a layer.
fn columns(layer: &Layer, channels: &[Class], classes: &[Class]) -> Vec<Vec<usize>> {
    let place: FxHashMap<Class, usize> = classes.iter().enumerate().map(|(i, &class)| (class, i)).collect();
    let mut columns = vec![Vec::new(); classes.len()];
    for (channel, class) in channels.iter().enumerate() {
        if let Some(&i) = place.get(class) {
            columns[i].extend(channel * layer.taps..(channel + 1) * layer.taps);
        }
    }
    columns
}

/// The covariance of what a layer reads.
fn square(patches: &Patches<'_>) -> Array2<f64> {
    let mut sums: Option<Sums> = None;
    for rows in patches.blocks() {
        let x = patches.block(rows, 0);
        let beside = Array2::zeros((x.nrows(), 0));
        sums.get_or_insert_with(|| Sums::new(x.ncols(), 0)).add(x, beside.view());
    }
    sums.map_or_else(|| Array2::zeros((0, 0)), |sums| sums.moments().square)
}

/// As many samples as fit.
fn thinned<'s, S: std::ops::Deref<Target = [(String, Tensor)]>>(
    dense: &Model,
    samples: &'s [S],
    ranker: &Ranker,
) -> Vec<&'s [(String, Tensor)]> {
    let Some(first) = samples.first() else { return Vec::new() };
    let room = usize::try_from(ranker.bytes / held_bytes(dense, first).max(1)).unwrap_or(usize::MAX).max(1);
    let most = samples.len().min(room);
    (0..most).map(|i| &*samples[i * samples.len() / most]).collect()
}
