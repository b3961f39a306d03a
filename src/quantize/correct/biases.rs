//! Biases take back what rounding a layer's weights adds to the mean of its outputs (Nagel et al. 2019, section 4.2).
//!
//! With weights `W` and what their integers give back `V`, an output is `(W − V) · x` off, on the average over samples
//! `(W − V) · E[x]`. That is known from the mean of each channel that the layer reads, so one run of the float model is
//! enough. Elements that pad a convolution are taken for others.

use std::collections::BTreeMap;

use crate::calibrate::{Gathered, observed};
use crate::ir::{Graph, OpKind, ScopeId, Tensor, User, ValueId};
use crate::model::Model;
use crate::ops::matmul::{ALPHA, BETA};
use crate::ops::{CallView, Channels, def};
use crate::quantize::correct::classes::Place;
use crate::quantize::correct::factors::{channels, f32s};
use crate::quantize::{Plan, WeightSite, given_back};

/// Correct the biases of the plan's layers; of how many.
pub(super) fn correct_biases(model: &mut Model, plan: &Plan, gathered: &Gathered) -> usize {
    let names: BTreeMap<ValueId, String> = observed(&model.graph).into_iter().collect();
    let mut changed = 0;
    for site in &plan.weights {
        let Some(layer) = Layer::of(&model.graph, site) else { continue };
        let statistics = names.get(&layer.input).and_then(|name| gathered.tensors.get(name));
        let Some(known) = statistics.and_then(|statistics| statistics.channels.as_ref()) else { continue };
        if let Some(shift) = shift(&model.graph, site, &layer, &known.mean)
            && shift.iter().any(|x| *x != 0.0)
            && shift.iter().all(|x| x.is_finite())
            && add(&mut model.graph, site, &shift).is_some()
        {
            changed += 1;
        }
    }
    changed
}

/// A layer with a weight that gets integers.
struct Layer {
    input: ValueId,
    /// Where the channels that it reads are in the weight.
    place: Place,
    /// The weight's axis of outputs, and into how many groups they fall that it counts one of.
    outputs: (usize, usize),
}

impl Layer {
    fn of(graph: &Graph, site: &WeightSite) -> Option<Layer> {
        let call = CallView::new(graph, site.node);
        let Channels::Mixed { weight, out_axis, in_axis, groups, input, .. } = (def(call.node().op).channels)(&call)
        else {
            return None;
        };
        let is_known = matches!(call.node().op, OpKind::Conv | OpKind::Gemm | OpKind::MatMul);
        let value = call.operand(input.0).filter(|_| weight == site.slot && is_known)?;
        let place = Place::Grouped { axis: in_axis, other: out_axis, groups };
        Some(Layer { input: value, place, outputs: (out_axis, call.constant(weight)?.dims()[out_axis]) })
    }
}

/// What each output has too little, on the average.
fn shift(graph: &Graph, site: &WeightSite, layer: &Layer, means: &[f64]) -> Option<Vec<f64>> {
    let tensor = graph.constant(graph.operand(site.node, site.slot)?)?;
    let back = given_back(tensor, site.axis, &site.integers(tensor)?)?;
    let (axis, count) = layer.outputs;
    let inner = tensor.dims()[axis + 1..].iter().product::<usize>().max(1);
    let channel = channels(tensor.dims(), layer.place);
    let (Place::Axis(read) | Place::Grouped { axis: read, .. }) = layer.place;
    // Elements beside one another of one output and one channel.
    let run = tensor.dims()[read + 1..].iter().product::<usize>().max(1).min(inner);
    let mut shift = vec![0f64; count];
    for (i, (w, v)) in f32s(tensor)?.chunks(run).zip(back.chunks(run)).enumerate() {
        let lost: f64 = w.iter().zip(v).map(|(w, v)| f64::from(w - v)).sum();
        shift[i * run / inner % count] += lost * means.get(channel(i * run))?;
    }
    Some(shift)
}

/// Add to the bias of a layer, which gets one where it has none.
pub(super) fn add(graph: &mut Graph, site: &WeightSite, shift: &[f64]) -> Option<()> {
    let call = CallView::new(graph, site.node);
    let (node, slot) = match call.node().op {
        OpKind::Conv => (site.node, 2),
        OpKind::Gemm if ALPHA.of(call.node()) == 1.0 && BETA.of(call.node()) == 1.0 => (site.node, 2),
        OpKind::MatMul => {
            let [User::Node(next, _)] = graph.value(graph.result(site.node, 0)?).users()[..] else { return None };
            let sum = CallView::new(graph, next);
            let slot = (0..2).find(|&slot| sum.constant(slot).is_some())?;
            (sum.node().op == OpKind::Add).then_some((next, slot))?
        }
        _ => return None,
    };
    let (dims, name, old) = match graph.operand(node, slot) {
        None => (vec![shift.len()], String::new(), vec![0f32; shift.len()]),
        Some(bias) => {
            let tensor = graph.constant(bias)?;
            let fits = tensor.len() == shift.len() && tensor.dims().last() == Some(&shift.len());
            (tensor.dims().to_vec(), graph.value_label(bias), f32s(tensor).filter(|_| fits)?)
        }
    };
    let new: Vec<f32> = old.iter().zip(shift).map(|(b, s)| (f64::from(*b) + s) as f32).collect();
    let new = graph.add_constant(ScopeId::MAIN, &name, Tensor::f32s(&dims, &new).ok()?);
    let before = graph.operand(node, slot);
    graph.set_operand(node, slot, Some(new));
    if let Some(before) = before {
        graph.prune_constant(before);
    }
    Some(())
}
