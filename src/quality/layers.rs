//! The layers whose results are furthest from what they were.

use serde::Serialize;

use crate::calibrate::Sample;
use crate::exec::demand::{of_type, run_of};
use crate::exec::{Cannot, Executor};
use crate::ir::{NodeId, Output, ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::quality::{Seen, compared, decibels};

/// What became of the result of an operator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Layer {
    /// The node's name, or its first result's.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// As [`Quality::sqnr`](crate::quality::Quality::sqnr), with the errors of everything before it.
    #[serde(serialize_with = "decibels")]
    pub sqnr: f64,
}

/// Layers that a report names.
pub const WORST: usize = 10;

/// Bytes of tensors that a comparison of layers holds at a time. One tensor is held whatever it takes.
const MEMORY: u128 = 256 << 20;

/// Bytes that count for a tensor of which only a run tells the size.
const UNKNOWN: u128 = MEMORY / 16;

/// The [`WORST`] of `nodes`: those whose results are furthest in `integer` from what they are in `float`, the worst
/// first. Values of both graphs have the same ids, as far as both have them.
///
/// # Errors
/// When the engine cannot run one of them.
pub fn layers(
    float: &Model,
    integer: &Model,
    nodes: &[NodeId],
    feeds: &[Sample],
    engine: &dyn Executor,
) -> Result<Vec<Layer>, Cannot> {
    let Some(first) = feeds.first() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for group in groups(float, integer, nodes, first) {
        let values = values(&group);
        let seen = compared(&showing(float, &values), &showing(integer, &values), feeds, engine)?;
        found.extend(named(float, &group, &seen));
    }
    Ok(worst(found))
}

/// What a model with integers gives.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Its outputs, of each sample.
    pub outputs: Vec<Vec<Tensor>>,
    /// What else was asked for, of each sample.
    pub beside: Vec<Vec<Tensor>>,
    /// As [`layers`] tells them.
    pub layers: Vec<Layer>,
}

/// What `integer` gives on `feeds`, these values beside its outputs; and as [`layers`] on the first `layered` of them, in
/// the same runs where that takes little memory.
///
/// # Errors
/// As there.
pub(crate) fn given_with_layers(
    float: &Model,
    (integer, beside): (&Model, &[ValueId]),
    nodes: &[NodeId],
    (feeds, layered): (&[Sample], usize),
    engine: &dyn Executor,
) -> Result<Given, Cannot> {
    let outputs: Vec<ValueId> = integer.graph.scope(ScopeId::MAIN).outputs().iter().map(Output::value).collect();
    let layered = &feeds[..layered.min(feeds.len())];
    let mut groups = layered.first().map_or_else(Vec::new, |first| groups(float, integer, nodes, first));
    let apart = groups.len() > 1;
    let group = if apart { Vec::new() } else { groups.pop().unwrap_or_default() };
    let (mut shown, mut places) = (Vec::<ValueId>::new(), Vec::new());
    for value in outputs.iter().chain(beside).copied().chain(values(&group)) {
        let place = shown.iter().position(|other| *other == value).unwrap_or_else(|| {
            shown.push(value);
            shown.len() - 1
        });
        places.push(place);
    }
    let mut session = engine.load(&showing(integer, &shown))?;
    let mut real = match group.is_empty() {
        true => None,
        false => Some(engine.load(&showing(float, &values(&group)))?),
    };
    let mut given = Given::default();
    let mut seen = vec![Seen::default(); group.len()];
    for (index, feed) in feeds.iter().enumerate() {
        let run = session.run(feed)?;
        let mut run: Vec<Tensor> = places.iter().filter_map(|&place| run.get(place).cloned()).collect();
        let layers = run.split_off((outputs.len() + beside.len()).min(run.len()));
        if let Some(real) = real.as_mut().filter(|_| index < layered.len()) {
            let want = real.run(feed)?;
            seen.iter_mut().zip(want.iter().zip(&layers)).for_each(|(seen, (want, got))| seen.add(want, got));
        }
        given.beside.push(run.split_off(outputs.len().min(run.len())));
        given.outputs.push(run);
    }
    given.layers = match apart {
        true => self::layers(float, integer, nodes, layered, engine)?,
        false => worst(named(float, &group, &seen).collect()),
    };
    Ok(given)
}

/// Those of `nodes` that are layers of both models, with their results, in groups that take no more memory together than
/// they may.
fn groups(float: &Model, integer: &Model, nodes: &[NodeId], first: &Sample) -> Vec<Vec<(NodeId, ValueId)>> {
    let shapes = run_of(float, first);
    let mut groups: Vec<Vec<(NodeId, ValueId)>> = Vec::new();
    let mut room = 0;
    for &node in nodes {
        let Some(value) = integer.graph.result(node, 0) else { continue };
        // What came in with the integers, such as an accumulator, was nothing before.
        let is_same = float.graph.has_value(value)
            && float.graph.producer(value) == Some((node, 0))
            && float.graph.value_label(value) == integer.graph.value_label(value)
            && float.graph.value(value).ty.dtype() == integer.graph.value(value).ty.dtype();
        if !is_same {
            continue;
        }
        // Both models' tensors are held.
        let bytes = 2 * of_type(&shapes.value(value).ty).unwrap_or(UNKNOWN);
        match groups.last_mut() {
            Some(group) if room >= bytes => group.push((node, value)),
            _ => {
                groups.push(vec![(node, value)]);
                room = MEMORY;
            }
        }
        room = room.saturating_sub(bytes);
    }
    groups
}

fn values(group: &[(NodeId, ValueId)]) -> Vec<ValueId> {
    group.iter().map(|&(_, value)| value).collect()
}

/// What was `seen` of a group of layers.
fn named<'a>(float: &'a Model, group: &'a [(NodeId, ValueId)], seen: &'a [Seen]) -> impl Iterator<Item = Layer> + 'a {
    group.iter().zip(seen).map(|(&(node, _), seen)| Layer {
        node: float.graph.label(node),
        op: float.graph.node(node).op_name().to_string(),
        sqnr: seen.sqnr(),
    })
}

/// The worst first, and no more than are reported.
fn worst(mut found: Vec<Layer>) -> Vec<Layer> {
    found.sort_by(|a, b| a.sqnr.total_cmp(&b.sqnr));
    found.truncate(WORST);
    found
}

/// `model` with these values as its outputs.
pub(crate) fn showing(model: &Model, values: &[ValueId]) -> Model {
    let mut shown = model.clone();
    let g = &mut shown.graph;
    while let Some(last) = g.scope(ScopeId::MAIN).outputs().len().checked_sub(1) {
        g.remove_output(ScopeId::MAIN, last);
    }
    for (i, &value) in values.iter().enumerate() {
        let ty = g.value(value).ty.clone();
        g.add_output(ScopeId::MAIN, &format!("shown_{i}"), value, ty);
    }
    shown
}

#[cfg(all(test, feature = "tract"))]
mod tests {
    use super::*;
    use crate::exec::Executor;
    use crate::exec::tract::Tract;
    use crate::ir::Tensor;
    use crate::passes::infer_declared;
    use crate::quality::{compare, compare_known, compare_outputs};
    use crate::quantize::integer_nodes;
    use crate::text::parse;

    /// Two layers, the second with a far coarser grid than the first.
    fn layered() -> Model {
        let mut model = parse(
            r#"<ir_version: 8, opset_import: ["" : 17]> g (float[n,2] x) => (float[n,2] y)
            <float[2,2] w = {0.1, 0, 0, 0.1}, float fine = {0.001}, float coarse = {0.03}, int8 z = {0}> {
            i = QuantizeLinear(x, fine, z) d = DequantizeLinear(i, fine, z)
            j = QuantizeLinear(w, fine, z) v = DequantizeLinear(j, fine, z)
            a = MatMul(d, v)
            k = QuantizeLinear(w, coarse, z) u = DequantizeLinear(k, coarse, z)
            b = QuantizeLinear(a, fine, z) c = DequantizeLinear(b, fine, z)
            y = MatMul(c, u) }"#,
        )
        .unwrap();
        infer_declared(&mut model.graph);
        model
    }

    #[test]
    fn the_worst_layers_come_first() {
        // One lineage of ids: the float model is the other with the pairs taken out.
        let integer = layered();
        let mut float = integer.clone();
        let g = &mut float.graph;
        for node in g.schedule(ScopeId::MAIN) {
            if g.node(node).op == crate::ir::OpKind::DequantizeLinear {
                let (pair, result) = (g.operand(node, 0).unwrap(), g.result(node, 0).unwrap());
                let (quantize, _) = g.producer(pair).unwrap();
                let real = g.operand(quantize, 0).unwrap();
                g.replace(result, real);
            }
        }
        let sample = |x: [f32; 2]| {
            let feed = vec![("x".to_string(), Tensor::f32s(&[1, 2], &x).unwrap())];
            Sample::new(feed, crate::exec::Origin::MadeUp { index: 0 }).unwrap()
        };
        let feeds = [[0.1f32, 0.05], [0.02, -0.1]].map(sample);
        let found = layers(&float, &integer, &integer_nodes(&integer), &feeds, &Tract).unwrap();
        assert_eq!(found.iter().map(|l| (&*l.node, &*l.op)).collect::<Vec<_>>(), [("y", "MatMul"), ("a", "MatMul")]);
        assert!(found[0].sqnr < 25.0 && found[1].sqnr > 60.0, "{found:?}");
        let outputs = compare(&float, &integer, &feeds, &Tract).unwrap();
        assert_eq!(outputs[0].sqnr, found[0].sqnr);
        let mut session = Tract.load(&float).unwrap();
        let known: Vec<Vec<Tensor>> = feeds.iter().map(|feed| session.run(feed).unwrap()).collect();
        assert_eq!(compare_known(&float, &known, &integer, &feeds, &Tract).unwrap(), outputs);
        assert!(layers(&float, &integer, &integer_nodes(&integer), &[], &Tract).unwrap().is_empty());
        // The same in the runs that outputs are compared in.
        let first = integer.graph.scope(ScopeId::MAIN).inputs()[0];
        let given = |layered: usize| {
            let nodes = integer_nodes(&integer);
            given_with_layers(&float, (&integer, &[first]), &nodes, (&feeds, layered), &Tract).unwrap()
        };
        let all = given(2);
        assert_eq!((&all.layers, compare_outputs(&float, &known, &all.outputs)), (&found, outputs));
        let inputs: Vec<Tensor> = feeds.iter().map(|feed| feed.feed()[0].1.clone()).collect();
        assert_eq!(all.beside.concat(), inputs);
        let nodes = integer_nodes(&integer);
        assert_eq!(given(1).layers, layers(&float, &integer, &nodes, &feeds[..1], &Tract).unwrap());
        assert!(given(0).layers.is_empty());
    }
}
