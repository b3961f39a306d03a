//! What each operator is, of those that have no weights to follow.

use std::ops::Range;

use crate::distill::compile::{Compiler, Compiles, MOST_BYTES, SIZES};
use crate::distill::kernel::{Kernel, NONE};
use crate::distill::pairwise::Pairwise;
use crate::distill::pointwise::Pointwise;
use crate::exec::exact::evaluate;
use crate::gram::floats;
use crate::gram::places::{NOWHERE, Places};
use crate::ir::{Key, OpKind, Tensor, ValueId};
use crate::ops::CallView;
use crate::ops::reduce::reduced;

const UNKNOWN: &str = "how its result follows what it reads is not known here";

impl Compiler<'_> {
    /// The operands whose elements a call moves.
    pub(super) fn moved<'c>(&self, call: &CallView<'c>) -> impl Iterator<Item = ValueId> + use<'c> {
        let call = *call;
        slots_of_moved(&call).filter_map(move |slot| call.operand(slot))
    }

    /// What a call that only moves elements takes each element of its results from.
    pub(super) fn moves(&self, call: &CallView<'_>) -> Compiles<Option<Vec<(ValueId, Kernel)>>> {
        use OpKind as O;
        let op = call.node().op;
        if !matches!(
            op,
            O::Transpose
                | O::Slice
                | O::Split
                | O::Expand
                | O::Tile
                | O::Pad
                | O::Gather
                | O::DepthToSpace
                | O::SpaceToDepth
                | O::Concat
                | O::Where
        ) {
            return Ok(None);
        }
        if op == O::Pad && call.has(2) && call.constant(2).and_then(Tensor::uniform_real) != Some(0.0) {
            return Err("it pads with numbers other than zero");
        }
        // From one on: padding is zero.
        let mut next = 1i64;
        let mut operands: Vec<Option<Tensor>> = Vec::new();
        for slot in 0..call.operand_count() {
            let tensor = call.operand(slot).map(|value| self.tensor(value).ok_or(SIZES)).transpose()?;
            operands.push(match tensor {
                Some(tensor) if slots_of_moved(call).contains(&slot) => {
                    let count = i64::try_from(tensor.len()).map_err(|_| SIZES)?;
                    let ramp: Vec<i64> = (next..next + count).collect();
                    next += count;
                    Some(Tensor::vector(&ramp).reshaped(tensor.dims()).map_err(|_| SIZES)?)
                }
                Some(_) if op == O::Pad && slot == 2 => Some(Tensor::scalar(0)),
                other => other.cloned(),
            });
        }
        if next >= i64::from(NONE) {
            return Err("it moves too many elements");
        }
        let results = evaluate(call, &operands, MOST_BYTES).map_err(|_| UNKNOWN)?.results;
        let mut kernels = Vec::new();
        for (value, moved) in self.graph.results(call.id()).iter().zip(results) {
            let Some(value) = *value else { continue };
            let from = moved.integers().ok_or(UNKNOWN)?;
            let from = from.iter().map(|&i| if i == 0 { NONE } else { (i - 1) as u32 }).collect();
            kernels.push((value, Kernel::Moved(from)));
        }
        Ok(Some(kernels))
    }

    /// Of another call, its kernel and how many operands that reads.
    pub(super) fn kernel(&self, call: &CallView<'_>, result: ValueId) -> Compiles<(Kernel, usize)> {
        use OpKind as O;
        const LEAKY: Key<f32> = Key::new("alpha", 0.01);
        const ELU: Key<f32> = Key::new("alpha", 1.0);
        const HARD_ALPHA: Key<f32> = Key::new("alpha", 0.2);
        const HARD_BETA: Key<f32> = Key::new("beta", 0.5);
        const APPROXIMATE: Key<&'static str> = Key::new("approximate", "none");
        let n = call.node();
        let dims = |value: ValueId| self.tensor(value).map(|t| t.dims().to_vec()).ok_or(SIZES);
        let x = dims(call.operand(0).ok_or(SIZES)?)?;
        let y = dims(result)?;
        let number = |slot: usize, none: f32| match call.has(slot) {
            true => call.constant(slot).and_then(Tensor::item).map(|x| x as f32).ok_or("its bounds are not constant"),
            false => Ok(none),
        };
        let pointwise = |f: Pointwise| Ok((Kernel::Pointwise(f), 1));
        match n.op {
            O::Relu => pointwise(Pointwise::Clip(0.0, f32::INFINITY)),
            O::Clip => pointwise(Pointwise::Clip(number(1, f32::NEG_INFINITY)?, number(2, f32::INFINITY)?)),
            O::LeakyRelu => pointwise(Pointwise::LeakyRelu(LEAKY.of(n))),
            O::Elu => pointwise(Pointwise::Elu(ELU.of(n))),
            O::Sigmoid => pointwise(Pointwise::Sigmoid),
            O::HardSigmoid => pointwise(Pointwise::HardSigmoid(HARD_ALPHA.of(n), HARD_BETA.of(n))),
            O::HardSwish => pointwise(Pointwise::HardSwish),
            O::Tanh => pointwise(Pointwise::Tanh),
            O::Erf => pointwise(Pointwise::Erf),
            O::Gelu if APPROXIMATE.of(n) == "tanh" => pointwise(Pointwise::TanhGelu),
            O::Gelu => pointwise(Pointwise::Gelu),
            O::Swish => pointwise(Pointwise::Swish(ELU.of(n))),
            O::Softplus => pointwise(Pointwise::Softplus),
            O::Exp => pointwise(Pointwise::Exp),
            O::Log => pointwise(Pointwise::Log),
            O::Sqrt => pointwise(Pointwise::Sqrt),
            O::Reciprocal => pointwise(Pointwise::Reciprocal),
            O::Neg => pointwise(Pointwise::Neg),
            O::Abs => pointwise(Pointwise::Abs),
            O::Pow if call.constant(1).is_some() => {
                let exponent = call.constant(1).and_then(Tensor::uniform_real).ok_or("its exponents differ")?;
                pointwise(Pointwise::Power(exponent as f32))
            }
            O::Add | O::Sub | O::Mul | O::Div => {
                let f = match n.op {
                    O::Add => Pairwise::Add,
                    O::Sub => Pairwise::Sub,
                    O::Mul => Pairwise::Mul,
                    _ => Pairwise::Div,
                };
                let table = |slot: usize| -> Compiles<Option<Vec<u32>>> {
                    match self.biases.get(&(call.id(), slot)) {
                        // One number for each output, whatever the sizes of the constant.
                        Some(bias) => Ok(repeated(&y, &[bias.len()])),
                        None => Ok(repeated(&y, &dims(call.operand(slot).ok_or(SIZES)?)?)),
                    }
                };
                Ok((Kernel::Pairwise(f, [table(0)?, table(1)?]), 2))
            }
            O::Identity | O::Dropout | O::Reshape | O::Flatten | O::Squeeze | O::Unsqueeze => Ok((Kernel::Same, 1)),
            O::GlobalAveragePool | O::ReduceMean | O::ReduceSum => {
                let axes: Vec<usize> = match n.op {
                    O::GlobalAveragePool => (2..x.len()).collect(),
                    _ => reduced(call).to_vec(),
                };
                let count: usize = axes.iter().map(|&axis| x[axis]).product();
                let factor = if n.op == O::ReduceSum { 1.0 } else { 1.0 / count.max(1) as f32 };
                let left: Vec<usize> =
                    (0..x.len()).map(|axis| if axes.contains(&axis) { 1 } else { x[axis] }).collect();
                if left.iter().product::<usize>() != y.iter().product::<usize>() {
                    return Err(SIZES);
                }
                let to = repeated(&x, &left).unwrap_or_else(|| (0..x.iter().product::<usize>() as u32).collect());
                Ok((Kernel::Summed(to, factor), 1))
            }
            O::MaxPool | O::AveragePool => self.pool(call, &x, &y),
            O::BatchNormalization => {
                let constant = |slot: usize| call.constant(slot).and_then(floats).ok_or("its numbers are not constant");
                let (scale, bias, mean, variance) = (constant(1)?, constant(2)?, constant(3)?, constant(4)?);
                const EPSILON: Key<f32> = Key::new("epsilon", 1e-5);
                let epsilon = EPSILON.of(n);
                let scale: Vec<f32> = scale.iter().zip(&variance).map(|(s, v)| s / (v + epsilon).sqrt()).collect();
                let shift = bias.iter().zip(&mean).zip(&scale).map(|((b, m), s)| b - m * s).collect();
                let mut of_channels = vec![1; x.len()];
                *of_channels.get_mut(1).ok_or(SIZES)? = scale.len();
                let which = repeated(&y, &of_channels).ok_or(SIZES)?;
                Ok((Kernel::Affine { scale, shift, which }, 1))
            }
            O::Softmax => {
                const AXIS: Key<i64> = Key::new("axis", -1);
                let axis = AXIS.of(n);
                let is_last = axis == -1 || usize::try_from(axis).is_ok_and(|axis| axis + 1 == x.len());
                let row = *x.last().ok_or(SIZES)?;
                if is_last { Ok((Kernel::Softmax(row), 1)) } else { Err("its axis is not the last") }
            }
            O::LayerNormalization => {
                const AXIS: Key<i64> = Key::new("axis", -1);
                const EPSILON: Key<f32> = Key::new("epsilon", 1e-5);
                let axis = AXIS.of(n);
                let axis = if axis < 0 { axis + x.len() as i64 } else { axis };
                let axis = usize::try_from(axis).ok().filter(|&axis| axis < x.len()).ok_or(SIZES)?;
                let row: usize = x[axis..].iter().product();
                let constant = |slot: usize, none: f32| match call.has(slot) {
                    true => call.constant(slot).and_then(floats).filter(|c| c.len() == row).ok_or(SIZES),
                    false => Ok(vec![none; row]),
                };
                let (scale, shift) = (constant(1, 1.0)?, constant(2, 0.0)?);
                Ok((Kernel::Normalized { row, epsilon: EPSILON.of(n), scale, shift }, 1))
            }
            O::MatMul => {
                let other = dims(call.operand(1).ok_or(SIZES)?)?;
                let (rank, [.., m, k], [.., inner, n]) = (x.len(), &x[..], &other[..]) else { return Err(SIZES) };
                if other.len() != rank || x[..rank - 2] != other[..rank - 2] || k != inner {
                    return Err("its operands are repeated");
                }
                Ok((Kernel::Product { m: *m, k: *k, n: *n }, 2))
            }
            _ => Err(UNKNOWN),
        }
    }

    fn pool(&self, call: &CallView<'_>, x: &[usize], y: &[usize]) -> Compiles<(Kernel, usize)> {
        const INCLUDES: Key<bool> = Key::new("count_include_pad", false);
        let (places, taps) = Places::of_pool(call, x).ok_or("its windows are not plain ones")?;
        let channels = *x.get(1).ok_or(SIZES)?;
        if places.rows * channels != y.iter().product::<usize>()
            || self.graph.results(call.id()).iter().flatten().count() > 1
        {
            return Err("its windows are not plain ones");
        }
        let from = places.reads(taps);
        let mut reads = vec![NONE; places.rows * channels * taps];
        for row in 0..places.rows {
            for channel in 0..channels {
                let result = places.result(row, channels) + channel * places.output_stride;
                for tap in 0..taps {
                    let read = from[tap * places.rows + row];
                    if read != NOWHERE {
                        let read = read + channel * places.channel_stride();
                        reads[result * taps + tap] = u32::try_from(read).map_err(|_| SIZES)?;
                    }
                }
            }
        }
        let is_mean = call.node().op == OpKind::AveragePool;
        let factors = is_mean.then(|| {
            let seen = |window: &[u32]| window.iter().filter(|&&read| read != NONE).count();
            let count = |window: &[u32]| if INCLUDES.of(call.node()) { taps } else { seen(window) };
            reads.chunks(taps).map(|window| 1.0 / count(window).max(1) as f32).collect()
        });
        Ok((Kernel::Windows { reads, each: taps, factors }, 1))
    }
}

/// Where the operands are whose elements a call moves; others say where to.
fn slots_of_moved(call: &CallView<'_>) -> Range<usize> {
    match call.node().op {
        OpKind::Concat => 0..call.operand_count(),
        OpKind::Where => 1..3,
        _ => 0..1,
    }
}

/// Which element of a tensor of sizes `from` stands at each place of one of sizes `to` that it is repeated to. `None`
/// where it is the same place.
fn repeated(to: &[usize], from: &[usize]) -> Option<Vec<u32>> {
    if to.iter().product::<usize>() == from.iter().product::<usize>() {
        return None;
    }
    let lead = to.len().saturating_sub(from.len());
    let mut strides = vec![0usize; to.len()];
    let mut stride = 1;
    for axis in (0..from.len()).rev() {
        if let Some(to) = strides.get_mut(axis + lead).filter(|_| from[axis] > 1) {
            *to = stride;
        }
        stride *= from[axis];
    }
    let mut table = vec![0u32];
    for (&size, &stride) in to.iter().zip(&strides) {
        let mut next = Vec::with_capacity(table.len() * size);
        for base in table {
            next.extend((0..size).map(|i| base + (i * stride) as u32));
        }
        table = next;
    }
    Some(table)
}
