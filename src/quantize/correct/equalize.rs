//! Channels that share a scale get ranges alike (Nagel et al. 2019, "Data-free quantization through weight equalization
//! and bias correction"; Xiao et al. 2023, "SmoothQuant").
//!
//! One scale serves all channels of an activation, so a channel whose range is a hundredth of the largest one has two or
//! three integers. Dividing channels by factors that what reads them gives back makes ranges alike, at the price of
//! weights that are less so: a layer's weights have one scale for each output, which all channels share. Between both
//! stands an exponent; the one with the least noise in the readers' outputs, estimated from what was seen of each
//! channel and from the weights, is taken, class by class, and none where that gains little.
//!
//! A `Clip` with an upper bound does not commute with factors. Its bound stays, and a channel is made larger only as far
//! as half more than was ever seen of it fits below the bound, and only where that gains much.
//!
//! A channel of which little was seen may hold more than that: its range counts as no less than a share of the largest
//! one that falls with the number of elements.

use std::collections::BTreeMap;

use crate::calibrate::{Gathered, Statistics, observed};
use crate::ir::{Graph, ValueId};
use crate::model::Model;
use crate::quantize::Plan;
use crate::quantize::correct::classes::{Class, class};
use crate::quantize::correct::factors::{Reader, Seen, apply};
use crate::quantize::correct::{Bench, channels_of_layers};

/// Which classes are equalized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Between layers.
    Channels,
    /// Behind normalizations and products by channel.
    Activations,
}

/// Exponents of a channel's range; what is missing to 1 is its weights' exponent.
const EXPONENTS: [f64; 7] = [0.25, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0];

/// Noise has to fall to this share.
const WORTH: f64 = 0.5;

/// And to this one where a bound of a `Clip` may come to confine what it did not.
const WORTH_BOUNDING: f64 = 0.3;

/// A channel's range counts as at least this share of the largest.
const LEAST: f64 = 1e-4;

/// Of so many elements, over their number, a range may be off.
const UNSEEN: f64 = 4.0;

/// How much more than was seen has to fit below a bound.
const ROOM: f64 = 1.5;

/// Tensors whose channels were divided by these factors.
pub(super) struct Divided {
    /// The tensors, with the axis of their channels.
    members: Vec<(ValueId, usize)>,
    factors: Vec<f64>,
}

/// Equalize the classes of this kind in `model`; which were.
pub(super) fn equalize(model: &mut Model, kind: Kind, gathered: &Gathered, bench: &Bench<'_>) -> Vec<Divided> {
    let classes: Vec<Class> = classes(&model.graph, bench.setting.plan)
        .into_iter()
        .filter(|class| class.is_parametric == (kind == Kind::Activations))
        .collect();
    let tensors: BTreeMap<ValueId, usize> = classes.iter().flat_map(measured).collect();
    let mut seen: BTreeMap<ValueId, Vec<Seen>> = BTreeMap::new();
    for (value, name) in observed(&model.graph) {
        let Some(&axis) = tensors.get(&value) else { continue };
        let known = gathered.tensors.get(&name).and_then(|statistics| statistics.channels.as_ref());
        if let Some(known) = known.filter(|known| i64::try_from(axis) == Ok(known.axis)) {
            seen.insert(value, Seen::all(known));
        }
    }
    let mut divided = Vec::new();
    for class in classes {
        let Some(factors) = factors(&model.graph, &class, &seen) else { continue };
        if apply(&mut model.graph, &class, &factors).is_ok() {
            divided.push(Divided { members: class.members, factors });
        }
    }
    divided
}

/// What tensors hold once they were `divided`, as far as that follows from what they held, in the place of which it is:
/// their least and greatest elements, and the same of each channel with its mean. `None` where it does not follow of one
/// of them; and then nothing is changed.
///
/// Histograms do not follow, and neither do means of what single samples reach: these are empty.
pub(super) fn follow(graph: &Graph, gathered: &Gathered, divided: &[Divided]) -> Option<Gathered> {
    let names: BTreeMap<ValueId, String> = observed(graph).into_iter().collect();
    let mut following = gathered.clone();
    for Divided { members, factors } in divided {
        for (value, axis) in members {
            let Some(known) = names.get(value).and_then(|name| following.tensors.get_mut(name)) else { continue };
            let channels = known.channels.as_mut().filter(|c| i64::try_from(*axis) == Ok(c.axis))?;
            if known.not_finite > 0 || !channels.divide(factors) {
                return None;
            }
            let least = channels.min.iter().copied().fold(f32::INFINITY, f32::min);
            let greatest = channels.max.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let (samples, channels) = (known.samples, known.channels.take());
            *known = Statistics { min: least, max: greatest, samples, channels, ..Statistics::default() };
        }
    }
    Some(following)
}

/// The tensors whose channels have to be known to equalize the plan's layers, with the axes of these.
pub(super) fn measures(graph: &Graph, plan: &Plan) -> Vec<(ValueId, usize)> {
    classes(graph, plan).iter().flat_map(measured).collect()
}

/// What has to be known of one class: what its layers read, and what bounds bound.
fn measured(class: &Class) -> Vec<(ValueId, usize)> {
    let bounded = class.ceilings.iter().map(|(_, value)| value);
    let axis = |value: &ValueId| class.members.iter().find(|(v, _)| v == value).copied();
    class.layers.iter().map(|layer| layer.input).chain(bounded.filter_map(axis)).collect()
}

/// The classes that the plan's layers read.
fn classes(graph: &Graph, plan: &Plan) -> Vec<Class> {
    let mut found: Vec<Class> = Vec::new();
    for (value, axis) in channels_of_layers(graph, plan) {
        if !found.iter().any(|class| class.members.contains(&(value, axis))) {
            found.extend(class(graph, value, axis));
        }
    }
    found
}

/// The factors with the least noise, where that is much less than there is.
fn factors(graph: &Graph, class: &Class, seen: &BTreeMap<ValueId, Vec<Seen>>) -> Option<Vec<f64>> {
    let of = |value: ValueId| seen.get(&value).filter(|seen| seen.len() == class.size);
    let mut readers = Vec::with_capacity(class.layers.len());
    let (mut ranges, mut weights) = (vec![0f64; class.size], vec![0f64; class.size]);
    for layer in &class.layers {
        let seen = of(layer.input.0)?;
        let reader = Reader::of(graph, layer, seen)?;
        for (((range, weight), seen), largest) in ranges.iter_mut().zip(&mut weights).zip(seen).zip(reader.largest()) {
            *range = range.max(seen.high.max(-seen.low));
            *weight = weight.max(largest);
        }
        readers.push((reader, seen));
    }
    let elements = readers.iter().flat_map(|(_, seen)| seen.iter().map(|seen| seen.count)).min()?;
    let rare = (UNSEEN / elements.max(1) as f64).min(1.0);
    let (ranges, weights) = (shares(ranges, rare)?, shares(weights, LEAST)?);
    let mut least = vec![0f64; class.size];
    for &(bound, value) in &class.ceilings {
        for (least, seen) in least.iter_mut().zip(of(value)?) {
            *least = least.max((seen.high * ROOM / bound).min(1.0));
        }
    }
    let noise = |factors: &[f64]| readers.iter().map(|(reader, seen)| reader.noise(seen, factors)).sum::<f64>();
    let before = noise(&vec![1.0; class.size]);
    let worth = if class.ceilings.is_empty() { WORTH } else { WORTH_BOUNDING };
    let mut best = (before * worth, None);
    for exponent in EXPONENTS {
        let raw: Vec<f64> =
            ranges.iter().zip(&weights).map(|(r, w)| r.powf(exponent) / w.powf(1.0 - exponent)).collect();
        let factors: Vec<f64> = shares(raw, LEAST)?.iter().zip(&least).map(|(s, least)| s.max(*least)).collect();
        let found = noise(&factors);
        if found < best.0 {
            best = (found, Some(factors));
        }
    }
    best.1
}

/// In shares of the largest, none of them less than `least`. `None` where all are zero or one is no number.
fn shares(numbers: Vec<f64>, least: f64) -> Option<Vec<f64>> {
    let largest = numbers.iter().copied().fold(0.0, f64::max);
    let sound = largest > 0.0 && largest.is_finite() && numbers.iter().all(|n| n.is_finite());
    sound.then(|| numbers.into_iter().map(|n| (n / largest).max(least.max(LEAST))).collect())
}
