//! In which order the classes of each group go, told from samples.
//!
//! The layers that sum over a group say what its channels are worth: what their results lose without one, in parts of
//! their energy. One run of the dense model meets every layer once; its second moments are held until the groups that
//! it reads are ranked.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::{Array1, Array2};
use rustc_hash::FxHashMap;

use crate::exec::stepper::{Stepper, held_bytes};
use crate::exec::{Cannot, Executor};
use crate::gram::layer::WEIGHT;
use crate::gram::{Layer, Patches, Removal, Sums, by_energy, by_least_loss, order};
use crate::ir::{Graph, NodeId, ScopeId, Tensor};
use crate::model::Model;
use crate::prune::importance::Ranking;
use crate::prune::importance::trial::{Reading, Trials, rescaled};
use crate::prune::{Class, Groups};

/// How to rank.
#[derive(Clone, Debug)]
pub struct Ranker {
    /// Layers that read more columns are not asked what others can make up for: their energy tells.
    pub columns: usize,
    /// Nor are layers beyond what second moments of so many bytes are of.
    pub moments: usize,
    /// Rows of patches that a layer is looked at with at most.
    pub rows: usize,
    /// Bytes that the tensors of all samples may take; with more, fewer samples are used.
    pub bytes: u128,
    /// What is added to the diagonal of second moments, in parts of its mean: what repair can make up for depends on how
    /// much is added there, so it is as much.
    pub damping: f64,
    /// And where costs of groups are compared.
    pub exact: f64,
    /// Which rows are picked.
    pub seed: u64,
    /// Whether costs are what the outputs lose, as trials tell, and not what the layers lose that read a group.
    pub tries: bool,
}

impl Default for Ranker {
    fn default() -> Ranker {
        let rows = crate::gram::patches::MOST_ROWS;
        let (columns, bytes) = (4096, 1 << 30);
        Ranker { columns, moments: 1 << 30, rows, bytes, damping: 0.1, exact: 1e-3, seed: 1, tries: false }
    }
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

/// Rank the classes of every group; `samples` are of `dense`, which `groups` are of, and so are those that trials are
/// made on. `None` for a group that no layer with a constant weight sums over. `progress` hears how many layers of how
/// many are done.
///
/// # Errors
/// When the engine cannot run the model on the samples.
pub fn rank<S: std::ops::Deref<Target = [(String, Tensor)]>>(
    dense: &Model,
    groups: &Groups,
    (samples, judges): (&[S], &[S]),
    engine: &dyn Executor,
    ranker: &Ranker,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<Option<Ranking>>, Cannot> {
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
    let mut rankings: Vec<Option<Ranking>> = vec![None; groups.groups.len()];
    let mut trials = if ranker.tries { Some(Trials::new(dense, groups, judges, engine)?) } else { None };
    let mut pending: BTreeMap<usize, Pending> = BTreeMap::new();
    let mut stepper = Stepper::new(dense, &samples, engine)?;
    progress(0, readers.len());
    for (done, reader) in readers.iter().enumerate() {
        let layer = &reader.layer;
        stepper.advance_to(dense, layer.node)?;
        if let Some(trials) = &mut trials {
            trials.meet(dense, layer.node, reader.groups.iter().copied().filter(|&group| is_narrow[group]))?;
        }
        let read = stepper.operand(dense, layer.node, 0);
        let patches = read.and_then(|read| Patches::of(layer, read, ranker.rows, ranker.seed));
        let weight = graph.operand(layer.node, WEIGHT).and_then(|w| layer.matrix(graph.constant(w)?));
        if let (Some(patches), Some(weight)) = (patches, weight) {
            let moments = reader.groups.iter().any(|&group| is_narrow[group]).then(|| moments(&patches));
            let wide = Arc::new(weight.mapv(f64::from));
            for &group in &reader.groups {
                let classes = columns(layer, &reader.channels, &groups.groups[group].classes);
                let pending = pending.entry(group).or_default();
                match &moments {
                    Some((square, mean)) if is_narrow[group] => {
                        let (weight, square) = (Arc::clone(&wide), Arc::clone(square));
                        pending.sinks.push(order::Sink { weight, square, classes });
                        pending.layers.push((layer.clone(), Arc::clone(mean)));
                    }
                    _ => pending.costs.extend(by_energy(&patches, 0, weight.view(), &classes)),
                }
            }
        }
        for &group in &reader.groups {
            left[group] -= 1;
            if left[group] == 0
                && let Some(pending) = pending.remove(&group)
            {
                rankings[group] = pending.ranking(dense, group, &groups.groups[group].classes, ranker, &mut trials)?;
            }
        }
        progress(done + 1, readers.len());
    }
    if let Some(trials) = trials {
        rescaled(&mut rankings, trials.made());
    }
    Ok(rankings)
}

/// What is known of a group so far.
#[derive(Default)]
struct Pending {
    sinks: Vec<order::Sink>,
    /// The layers that they are, and the means of what these read.
    layers: Vec<(Layer, Arc<Array1<f64>>)>,
    /// What each class costs, for each layer.
    costs: Vec<Vec<f64>>,
}

impl Pending {
    fn ranking(
        self,
        dense: &Model,
        group: usize,
        classes: &[Class],
        ranker: &Ranker,
        trials: &mut Option<Trials<'_>>,
    ) -> Result<Option<Ranking>, Cannot> {
        if !self.sinks.is_empty() {
            let most = classes.len().saturating_sub(1);
            let removals = by_least_loss(self.sinks.clone(), ranker.damping, ranker.exact, most);
            let Some(removals) = removals else { return Ok(None) };
            let ranking: Ranking = removals.iter().map(|&Removal { class, cost }| (classes[class], cost)).collect();
            if let Some(trials) = trials {
                let order: Vec<usize> = removals.iter().map(|removal| removal.class).collect();
                let read = self.sinks.iter().zip(&self.layers);
                let readings: Vec<Reading<'_>> =
                    read.map(|(sink, (layer, mean))| Reading { layer, sink, mean }).collect();
                trials.make(dense, group, &readings, &order, ranker.exact)?;
            }
            return Ok(Some(ranking));
        }
        if self.costs.is_empty() {
            return Ok(None);
        }
        let cost = |i: usize| self.costs.iter().map(|costs| costs.get(i).copied().unwrap_or(0.0)).sum();
        // Cheapest first; the dearest stays.
        let mut ranking = Ranking::by_score(classes.iter().enumerate().map(|(i, &class)| (class, cost(i))).collect());
        ranking.order.pop();
        ranking.costs.pop();
        Ok(Some(ranking))
    }
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

/// The covariance of what a layer reads, and its mean.
fn moments(patches: &Patches<'_>) -> (Arc<Array2<f64>>, Arc<Array1<f64>>) {
    let mut sums: Option<Sums> = None;
    for rows in patches.blocks() {
        let x = patches.block(rows, 0);
        let beside = Array2::zeros((x.nrows(), 0));
        sums.get_or_insert_with(|| Sums::new(x.ncols(), 0)).add(x, beside.view());
    }
    let moments = sums.unwrap_or_else(|| Sums::new(0, 0)).moments();
    (Arc::new(moments.square), Arc::new(moments.mean))
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

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::tract::Tract;
    use crate::ir::ValueId;
    use crate::passes::infer_declared;
    use crate::prune::{Choices, Colouring};
    use crate::random::Random;
    use crate::text::parse;

    /// A model of random weights, in which channel 1 of `w` is twice channel 0, and channel 2 is small.
    fn model(text: &str) -> (Model, Groups) {
        let mut model = parse(&format!(r#"<ir_version: 8, opset_import: ["" : 17]> {text}"#)).unwrap();
        let mut random = Random::new(2, "rank");
        let constants: Vec<ValueId> =
            model.graph.values().filter(|&v| model.graph.constant(v).is_some_and(|t| t.dtype().is_float())).collect();
        for value in constants {
            let dims = model.graph.constant(value).unwrap().dims().to_vec();
            let n = dims.iter().product::<usize>();
            let mut elements: Vec<f32> = (0..n).map(|_| random.normal() as f32).collect();
            if model.graph.value_label(value) == "w" {
                let each = n / dims[0];
                for i in 0..each {
                    elements[each + i] = 2.0 * elements[i];
                    elements[2 * each + i] *= 0.5;
                }
            }
            model.graph.set_constant(value, Tensor::f32s(&dims, &elements).unwrap());
        }
        infer_declared(&mut model.graph);
        let groups = Groups::of(&model.graph, Colouring::of(&model.graph, &Choices::default()));
        (model, groups)
    }

    fn ranked(model: &Model, groups: &Groups, dims: &[usize], ranker: &Ranker) -> Vec<Option<Ranking>> {
        let feeds: Vec<Vec<(String, Tensor)>> = (0..20)
            .map(|seed| {
                let mut random = Random::new(seed, "feeds");
                let x: Vec<f32> = (0..dims.iter().product()).map(|_| random.normal() as f32).collect();
                vec![("x".to_string(), Tensor::f32s(dims, &x).unwrap())]
            })
            .collect();
        rank(model, groups, (&feeds, &feeds[..5]), &Tract, ranker, &|_, _| {}).unwrap()
    }

    const CHAIN: &str = "g (float[1,2,6,6] x) => (float[1,3,6,6] y) <float[6,2,1,1] w, float[3,6,3,3] v>
        { a = Conv(x, w)  r = Relu(a)  y = Conv <pads = [1, 1, 1, 1]> (r, v) }";

    /// The places of a group's classes in its order.
    fn places(groups: &Groups, ranking: &Ranking, group: usize) -> Vec<usize> {
        let of = |class| groups.groups[group].classes.iter().position(|&c| c == class).unwrap();
        ranking.order.iter().map(|&class| of(class)).collect()
    }

    #[test]
    fn what_others_make_up_for_goes_before_what_is_small() {
        let (model, groups) = model(CHAIN);
        assert_eq!(groups.groups.len(), 1);
        let first_of = |ranker: &Ranker| ranked(&model, &groups, &[1, 2, 6, 6], ranker).remove(0).unwrap();
        let by_loss = first_of(&Ranker { damping: 1e-3, ..Ranker::default() });
        assert_eq!(by_loss.order.len(), 5);
        let first = places(&groups, &by_loss, 0)[0];
        assert!(first == 0 || first == 1, "either stands for the other: {by_loss:?}");
        assert!(by_loss.costs[0] < 1e-2, "{by_loss:?}");
        let by_energy = first_of(&Ranker { columns: 8, ..Ranker::default() });
        assert_eq!(places(&groups, &by_energy, 0)[0], 2);
        assert!(by_energy.costs.is_sorted() && by_energy.costs[0] > 0.0);
        let no_room = first_of(&Ranker { moments: 1000, ..Ranker::default() });
        assert_eq!(no_room, by_energy);
    }

    #[test]
    fn costs_are_what_the_outputs_lose_where_that_is_tried() {
        // What is behind the second layer makes little of it.
        let (mut model, groups) = model(
            "g (float[1,2,6,6] x) => (float[1,3,6,6] y)
            <float[6,2,1,1] w, float[3,6,1,1] v, float[6,2,1,1] t, float[3,6,1,1] u, float part = {1}>
            { a = Conv(x, w)  r = Relu(a)  p = Conv(r, v)
              b = Conv(x, t)  s = Relu(b)  q = Conv(s, u)  m = Mul(q, part)  y = Add(p, m) }",
        );
        let part = model.graph.values().find(|&v| model.graph.value_label(v) == "part").unwrap();
        model.graph.set_constant(part, Tensor::f32s(&[], &[0.01]).unwrap());
        let ranker = Ranker { tries: true, ..Ranker::default() };
        let tried = ranked(&model, &groups, &[1, 2, 6, 6], &ranker);
        let untold = ranked(&model, &groups, &[1, 2, 6, 6], &Ranker::default());
        let total = |rankings: &[Option<Ranking>], i: usize| rankings[i].as_ref().unwrap().costs.iter().sum::<f64>();
        assert!(total(&untold, 1) > 0.1 * total(&untold, 0));
        assert!(total(&tried, 1) < 1e-2 * total(&tried, 0), "{tried:?}");
        assert_eq!(tried[0].as_ref().unwrap().order, untold[0].as_ref().unwrap().order);
    }

    #[test]
    fn every_layer_that_reads_a_group_is_asked() {
        let (model, groups) = model(
            "g (float[1,2,6,6] x) => (float[1,3,6,6] y, float[1,3,6,6] z)
            <float[6,2,1,1] w, float[3,6,1,1] v, float[3,10,1,1] u, float[4,2,1,1] t>
            { a = Conv(x, w)  r = Relu(a)  y = Conv(r, v)
              b = Conv(x, t)  c = Concat <axis = 1> (b, r)  z = Conv(c, u) }",
        );
        let readers = readers(&model.graph, &groups, &Ranker::default());
        let read: Vec<usize> = readers.iter().map(|r| r.groups.len()).collect();
        assert_eq!((groups.groups.len(), read), (2, vec![1, 2]));
        let last = readers.iter().find(|r| r.groups.len() == 2).unwrap();
        let sizes = |group: usize| columns(&last.layer, &last.channels, &groups.groups[group].classes).concat();
        let mut all = [sizes(0), sizes(1)].concat();
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
        let rankings = ranked(&model, &groups, &[1, 2, 6, 6], &Ranker::default());
        assert!(rankings.iter().all(Option::is_some));
    }

    #[test]
    fn of_a_group_that_no_weight_sums_over_nothing_is_told() {
        let (model, groups) = model(
            "g (float[4,3] x) => (float[4,4] y) <float[3,8] p, float[3,8] q>
            { a = MatMul(x, p)  b = MatMul(x, q)  c = Transpose(b)  y = MatMul(a, c) }",
        );
        assert_eq!(ranked(&model, &groups, &[4, 3], &Ranker { tries: true, ..Ranker::default() }), [None]);
    }
}
