//! Factors per channel: what they cost and bring, and how constants take them.

use crate::calibrate::Channels;
use crate::ir::{DType, Graph, ScopeId, Tensor, TensorError};
use crate::quantize::correct::classes::{Class, Layer, Place};

/// Divide every channel of `class` by its factor.
pub(super) fn apply(graph: &mut Graph, class: &Class, factors: &[f64]) -> Result<(), TensorError> {
    let inverse: Vec<f64> = factors.iter().map(|s| 1.0 / s).collect();
    let made = class.makers.iter().map(|part| (part, &inverse[..]));
    for (part, factors) in made.chain(class.readers.iter().map(|part| (part, factors))) {
        let Some(value) = graph.operand(part.node, part.slot) else { continue };
        let Some(tensor) = graph.constant(value) else { continue };
        let scaled = multiplied(tensor, part.place, factors)?;
        // Others may read the same constant.
        let name = graph.value(value).name.clone();
        let scaled = graph.add_constant(ScopeId::MAIN, &name, scaled);
        graph.set_operand(part.node, part.slot, Some(scaled));
        graph.prune_constant(value);
    }
    Ok(())
}

/// `tensor` with each element multiplied by its channel's factor.
fn multiplied(tensor: &Tensor, place: Place, factors: &[f64]) -> Result<Tensor, TensorError> {
    let elements = f32s(tensor).unwrap_or_default();
    let channel = channels(tensor.dims(), place);
    let scaled: Vec<f32> =
        elements.iter().enumerate().map(|(i, &x)| (f64::from(x) * factors[channel(i)]) as f32).collect();
    Tensor::f32s(tensor.dims(), &scaled)
}

/// Which channel an element belongs to.
pub(super) fn channels(dims: &[usize], place: Place) -> impl Fn(usize) -> usize {
    let along = |axis: usize| (dims[axis + 1..].iter().product::<usize>().max(1), dims[axis].max(1));
    let (axis, other, groups) = match place {
        Place::Axis(axis) => (axis, None, 1),
        Place::Grouped { axis, other, groups } => (axis, Some(other), groups),
    };
    let (inner, size) = along(axis);
    let group = other.map(along).map(|(inner, size)| (inner, size, (size / groups).max(1)));
    move |i| {
        let within = i / inner % size;
        match group {
            Some((inner, all, each)) if groups > 1 => (i / inner % all) / each * size + within,
            _ => within,
        }
    }
}

/// The elements of a float32 tensor.
pub(super) fn f32s(tensor: &Tensor) -> Option<Vec<f32>> {
    let bytes = tensor.bytes().filter(|_| tensor.dtype() == DType::F32)?;
    Some(bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
}

/// What was seen of one channel.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) low: f64,
    pub(super) high: f64,
    /// The mean of squares.
    pub(super) power: f64,
    /// Elements.
    pub(super) count: u64,
}

impl Seen {
    /// What statistics say of every channel; of none where squares are not known.
    pub(super) fn all(known: &Channels) -> Vec<Seen> {
        let ends = known.min.iter().zip(&known.max);
        let one = |((low, high), power): ((&f32, &f32), &f64)| Seen {
            low: f64::from(*low).min(0.0),
            high: f64::from(*high).max(0.0),
            power: *power,
            count: known.count,
        };
        ends.zip(&known.power).map(one).collect()
    }
}

/// A layer that reads a class: each output's weights, channel by channel.
pub(super) struct Reader {
    /// For each output: what its weights lose is measured in shares of this.
    signal: Vec<f64>,
    /// Largest weight of output `o` and channel `c`, by `o * size + c`; zero for what is in another group.
    largest: Vec<f32>,
    /// Sum over outputs of squared weights, in shares of each output's signal.
    gain: Vec<f64>,
    /// Elements of the weight for each output and channel.
    taps: f64,
    size: usize,
}

/// Weights of more entries than this are looked at by a part of their outputs: noise is told by a hundred of them as
/// by a thousand.
const MOST: usize = 1 << 18;

impl Reader {
    /// A layer that reads channels of which this was seen.
    pub(super) fn of(graph: &Graph, layer: &Layer, seen: &[Seen]) -> Option<Reader> {
        let Layer { weight: part, outputs, .. } = *layer;
        let tensor = graph.constant(graph.operand(part.node, part.slot)?)?;
        let (elements, size) = (f32s(tensor)?, seen.len());
        let dims = tensor.dims();
        let inner = dims[outputs + 1..].iter().product::<usize>().max(1);
        let count = dims[outputs].min(MOST / size.max(1)).max(1);
        let channel = channels(dims, part.place);
        let (Place::Axis(axis) | Place::Grouped { axis, .. }) = part.place;
        // Elements beside one another of one output and one channel: kernels have several.
        let run = dims[axis + 1..].iter().product::<usize>().max(1).min(inner);
        let (mut powers, mut largest) = (vec![0f32; count * size], vec![0f32; count * size]);
        // Where outputs come one after the other, the rest is not even read.
        let read = if outputs == 0 { count * inner } else { elements.len() };
        for (i, taps) in elements[..read].chunks(run).enumerate() {
            let (o, c) = (i * run / inner % dims[outputs], channel(i * run));
            if o < count {
                let (power, largest) = (&mut powers[o * size + c], &mut largest[o * size + c]);
                *power += taps.iter().map(|w| w * w).sum::<f32>();
                *largest = taps.iter().fold(*largest, |most, w| most.max(w.abs()));
            }
        }
        let (mut signal, mut gain) = (Vec::with_capacity(count), vec![0f64; size]);
        for powers in powers.chunks(size) {
            let all: f64 = powers.iter().zip(seen).map(|(power, seen)| f64::from(*power) * seen.power).sum();
            if all > 0.0 {
                gain.iter_mut().zip(powers).for_each(|(gain, power)| *gain += f64::from(*power) / all);
            }
            signal.push(all);
        }
        let taps = match part.place {
            Place::Grouped { groups, .. } if groups > 1 => elements.len() * groups,
            _ => elements.len(),
        } as f64
            / (dims[outputs] * size) as f64;
        Some(Reader { signal, largest, gain, taps, size })
    }

    /// The largest weight of each channel.
    pub(super) fn largest(&self) -> Vec<f64> {
        let mut largest = vec![0f64; self.size];
        for row in self.largest.chunks(self.size) {
            for (all, &w) in largest.iter_mut().zip(row) {
                *all = all.max(w.into());
            }
        }
        largest
    }

    /// The noise in the outputs over their signal when activations of which this was `seen` have 255 steps for all
    /// channels together, weights 127 for each output, and each channel is divided by its factor.
    pub(super) fn noise(&self, seen: &[Seen], factors: &[f64]) -> f64 {
        let (mut low, mut high) = (0f64, 0f64);
        for (seen, s) in seen.iter().zip(factors) {
            (low, high) = (low.min(seen.low / s), high.max(seen.high / s));
        }
        let step = (high - low) / 255.0;
        let by_activations = step * step / 12.0 * self.gain.iter().zip(factors).map(|(g, s)| g * s * s).sum::<f64>();
        let powers: Vec<f64> = seen.iter().zip(factors).map(|(seen, s)| seen.power / (s * s)).collect();
        let mut by_weights = 0.0;
        for (row, signal) in self.largest.chunks(self.size).zip(&self.signal).filter(|(_, signal)| **signal > 0.0) {
            let largest = row.iter().zip(factors).map(|(&w, s)| f64::from(w) * s).fold(0.0, f64::max);
            // Channels of other groups have no weight here.
            let power: f64 = row.iter().zip(&powers).filter(|(w, _)| **w > 0.0).map(|(_, power)| power).sum();
            by_weights += (largest / 127.0).powi(2) / 12.0 * power * self.taps / signal;
        }
        by_activations + by_weights
    }
}
