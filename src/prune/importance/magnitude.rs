//! Importance by weights alone.
//!
//! A class has slices in several weights. Each weight's scores are divided by their mean over its classes before they
//! are averaged (Fang et al. 2023, DepGraph), so that neither a large weight of a group nor a large group outweighs
//! others by size.

use rayon::prelude::*;

use crate::ir::{Graph, OpKind, Tensor, User, ValueId};
use crate::prune::colour::Class;
use crate::prune::groups::{Group, Groups, Member};
use crate::prune::importance::{Criterion, Ranking};
use crate::random::Random;

/// The ranking of each group; `None` for a group of which the criterion says nothing.
pub fn by_weights(graph: &Graph, groups: &Groups, criterion: Criterion) -> Vec<Option<Ranking>> {
    groups.groups.par_iter().enumerate().map(|(i, group)| ranking(graph, groups, i, group, criterion)).collect()
}

fn ranking(graph: &Graph, groups: &Groups, index: usize, group: &Group, criterion: Criterion) -> Option<Ranking> {
    if let Criterion::Random(seed) = criterion {
        let mut random = Random::new(seed, &format!("group {index}"));
        return Some(Ranking::by_score(group.classes.iter().map(|&class| (class, random.unit())).collect()));
    }
    let mut sums = vec![0.0; group.classes.len()];
    let mut members = 0u32;
    for &member in &group.members {
        let Some(tensor) = graph.constant(member.value) else { continue };
        if !is_told_by(graph, groups, member, tensor, criterion) {
            continue;
        }
        let Some(slices) = scores(tensor, member.axis, criterion) else { continue };
        let Some(classes) = groups.colouring.classes_of(member.value, member.axis) else { continue };
        let of_class = per_class(group, classes, &slices, criterion);
        let mean = of_class.iter().sum::<f64>() / of_class.len().max(1) as f64;
        if mean > 0.0 && mean.is_finite() {
            members += 1;
            sums.iter_mut().zip(&of_class).for_each(|(sum, score)| *sum += score / mean);
        }
    }
    let scored = group.classes.iter().zip(&sums).map(|(&class, sum)| (class, sum / f64::from(members.max(1))));
    (members > 0).then(|| Ranking::by_score(scored.collect()))
}

/// Whether the criterion reads this constant: scales of normalizations, layers that make the channels, or all weights.
fn is_told_by(graph: &Graph, groups: &Groups, member: Member, tensor: &Tensor, criterion: Criterion) -> bool {
    match criterion {
        Criterion::BatchNorm => graph.value(member.value).users().iter().any(|user| match *user {
            User::Node(node, slot) => graph.node(node).op == OpKind::BatchNormalization && slot == 1,
            User::Output(..) => false,
        }),
        Criterion::Fpgm => tensor.rank() >= 2 && !is_summed(graph, groups, member.value, member.axis),
        _ => tensor.rank() >= 2,
    }
}

fn is_summed(graph: &Graph, groups: &Groups, value: ValueId, axis: usize) -> bool {
    let sinks = groups.sinks().iter();
    sinks.clone().any(|sink| sink.axis == axis && graph.operand(sink.node, sink.slot) == Some(value))
}

/// The score of each class, of the scores of its slices.
fn per_class(group: &Group, classes: &[Class], slices: &[f64], criterion: Criterion) -> Vec<f64> {
    let mut sums: rustc_hash::FxHashMap<Class, f64> = rustc_hash::FxHashMap::default();
    for (class, score) in classes.iter().zip(slices) {
        *sums.entry(*class).or_default() += score;
    }
    let root = |sum: f64| if criterion == Criterion::L2 { sum.sqrt() } else { sum };
    group.classes.iter().map(|class| root(sums.get(class).copied().unwrap_or(0.0))).collect()
}

/// The score of each slice of a weight along an axis.
fn scores(tensor: &Tensor, axis: usize, criterion: Criterion) -> Option<Vec<f64>> {
    let elements = match tensor.reals() {
        Some(reals) => reals,
        None => tensor.integers()?.into_iter().map(|n| n as f64).collect(),
    };
    let dims = tensor.dims();
    let count = *dims.get(axis)?;
    let inner: usize = dims[axis + 1..].iter().product();
    let mut rows: Vec<Vec<f64>> = vec![Vec::new(); if criterion == Criterion::Fpgm { count } else { 0 }];
    let mut sums = vec![0.0; count];
    for (run, part) in elements.chunks_exact(inner.max(1)).enumerate() {
        let at = run % count.max(1);
        match criterion {
            Criterion::L2 => sums[at] += part.iter().map(|x| x * x).sum::<f64>(),
            Criterion::Fpgm => rows[at].extend(part),
            _ => sums[at] += part.iter().map(|x| x.abs()).sum::<f64>(),
        }
    }
    if criterion == Criterion::Fpgm {
        let squares: Vec<f64> = rows.iter().map(|row| row.iter().map(|x| x * x).sum()).collect();
        let distance = |i: usize, j: usize| {
            let product: f64 = rows[i].iter().zip(&rows[j]).map(|(x, y)| x * y).sum();
            (squares[i] + squares[j] - 2.0 * product).max(0.0).sqrt()
        };
        return Some((0..count).into_par_iter().map(|i| (0..count).map(|j| distance(i, j)).sum()).collect());
    }
    Some(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::infer_declared;
    use crate::prune::{Choices, Colouring};
    use crate::text::parse;

    fn order(criterion: Criterion) -> Vec<Class> {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]>
            g (float[1,2] x) => (float[1,1] y)
            <float[2,3] a = {1, -2, 0.5, 1, 2, 0.5}, float[3,1] b = {1, 1, 1}, float[3] s = {3, 1, 2},
             float[3] m = {0, 0, 0}, float[3] v = {1, 1, 1}>
            { p = MatMul(x, a)  q = BatchNormalization(p, s, m, m, v)  y = MatMul(q, b) }"#,
        )
        .unwrap();
        infer_declared(&mut model.graph);
        let g = &model.graph;
        let groups = Groups::of(g, Colouring::of(g, &Choices::default()));
        let first = groups.groups[0].classes[0];
        let ranking = by_weights(g, &groups, criterion).remove(0).unwrap();
        ranking.order.into_iter().map(|class| class - first).collect()
    }

    #[test]
    fn the_least_goes_first() {
        assert_eq!(order(Criterion::L1), [2, 0, 1]);
        assert_eq!(order(Criterion::L2), [2, 0, 1]);
        assert_eq!(order(Criterion::BatchNorm), [1, 2, 0]);
        // The columns are (1, 1), (−2, 2), (0.5, 0.5): the last is nearest to the others.
        assert_eq!(order(Criterion::Fpgm)[2], 1);
        assert_eq!(order(Criterion::Random(1)), order(Criterion::Random(1)));
    }
}
