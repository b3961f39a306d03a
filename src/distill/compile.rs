//! From a model and samples to functions of its weights.
//!
//! One run of the engine tells every tensor's size; what comes before the first layer that changes, the engine computes
//! for every sample. What is between is compiled here, and has to make what the engine made of the first sample.

use std::ops::Deref;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::distill::kernel::{Kernel, NONE, Pairwise, Pointwise};
use crate::distill::linear::Linear;
use crate::distill::net::{Call, Changing, Net, Read};
use crate::exec::exact::evaluate;
use crate::exec::{Cannot, Executor, Stepper};
use crate::gram::layer::WEIGHT;
use crate::gram::places::{NOWHERE, Places};
use crate::gram::{Layer, floats};
use crate::ir::{DType, Graph, Key, NodeId, OpKind, ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::ops::CallView;
use crate::ops::reduce::reduced;

/// A model as functions, and what each sample gives: for each slot that is given, its elements.
pub(super) struct Compiled {
    pub(super) net: Net,
    pub(super) samples: Vec<Vec<Vec<f32>>>,
    /// The length of each head's rows, along its last axis.
    pub(super) rows: Vec<usize>,
    /// The names of the inputs that samples give, where they give nothing else: such samples can be mixed.
    pub(super) inputs: Option<Vec<String>>,
}

/// Bytes of what samples give at the most.
const MOST_BYTES: usize = 1 << 30;

/// What heads may be off from what the engine makes, in parts of their largest element.
const CLOSE: f32 = 1e-3;

/// Compile `model` up to `heads`. Layers that `stays` names keep their weights.
///
/// # Errors
/// When the engine cannot run the model. Inside: why the model cannot be compiled.
pub(super) fn compile<S: Deref<Target = [(String, Tensor)]>>(
    model: &Model,
    heads: &[ValueId],
    samples: &[S],
    engine: &dyn Executor,
) -> Result<Result<Compiled, String>, Cannot> {
    let graph = &model.graph;
    let needed = needed(graph, heads);
    let order: Vec<NodeId> = graph.schedule(ScopeId::MAIN).into_iter().filter(|node| needed.contains(node)).collect();
    let mut layers: FxHashMap<NodeId, Layer> = FxHashMap::default();
    let mut follows: FxHashSet<ValueId> = FxHashSet::default();
    for &node in &order {
        let layer = Layer::of(graph, node).ok().filter(|_| changes(graph, node));
        if layer.is_some() || graph.operands(node).flatten().any(|value| follows.contains(&value)) {
            follows.extend(graph.results(node).iter().flatten());
        }
        layers.extend(layer.map(|layer| (node, layer)));
    }
    let behind = |node: &&NodeId| graph.results(**node).iter().flatten().any(|value| follows.contains(value));
    let inside: Vec<NodeId> = order.iter().filter(behind).copied().collect();
    let mut frontier: Vec<ValueId> = Vec::new();
    let mut made: Vec<ValueId> = Vec::new();
    for &node in &inside {
        for value in graph.operands(node).flatten() {
            let is_new = !follows.contains(&value) && graph.constant(value).is_none() && !frontier.contains(&value);
            if is_new {
                frontier.push(value);
            }
        }
        made.extend(graph.results(node).iter().flatten());
    }
    let Some(first) = samples.first() else { return Ok(Err("there are no samples".into())) };
    let mut trace = Stepper::new(model, &[&**first], engine)?;
    trace.reach(model, &[&frontier[..], &made].concat())?;
    let mut given = Stepper::new(model, samples, engine)?;
    given.reach(model, &frontier)?;

    let mut compiler = Compiler {
        graph,
        trace: &trace,
        alike: frontier.iter().copied().filter(|&value| is_alike(given.of(value))).collect(),
        layers,
        slots: FxHashMap::default(),
        net: Net {
            calls: Vec::new(),
            sizes: Vec::new(),
            follows: Vec::new(),
            given: Vec::new(),
            heads: Vec::new(),
            parameters: Vec::new(),
            changing: Vec::new(),
        },
        biases: FxHashMap::default(),
    };
    let mut columns: Vec<&[Tensor]> = Vec::new();
    let mut floating: Vec<ValueId> = Vec::new();
    for &value in &frontier {
        let (Some(traced), Some(tensors)) = (compiler.tensor(value), given.of(value)) else { continue };
        if traced.dtype() != DType::F32 {
            continue;
        }
        if tensors.iter().any(|tensor| tensor.dims() != traced.dims()) {
            return Ok(Err("samples are not of one size".into()));
        }
        let slot = compiler.slot(value, traced.len(), false);
        compiler.net.given.push(slot);
        floating.push(value);
        columns.push(tensors);
    }
    let bytes = columns.iter().flat_map(|column| column.iter()).map(|tensor| 4 * tensor.len()).sum::<usize>();
    if bytes > MOST_BYTES {
        return Ok(Err("samples take too much memory".into()));
    }
    for &node in &inside {
        if let Err(why) = compiler.call(node) {
            return Ok(Err(format!("{}: {why}", graph.label(node))));
        }
    }
    for head in heads {
        match compiler.slots.get(head) {
            Some(&slot) => compiler.net.heads.push(slot),
            None => return Ok(Err("an output follows no weight".into())),
        }
    }
    let row = |head: &ValueId| compiler.tensor(*head).and_then(|t| t.dims().last().copied()).unwrap_or(1).max(1);
    let rows = heads.iter().map(row).collect();
    let net = compiler.net;
    let of_sample = |sample: usize| columns.iter().map(|column| floats(&column[sample])).collect::<Option<Vec<_>>>();
    let Some(samples) = (0..samples.len()).map(of_sample).collect::<Option<Vec<_>>>() else {
        return Ok(Err("samples hold no floats".into()));
    };
    let slots = net.forward(&net.parameters, &samples[0]);
    for (head, value) in net.heads.iter().zip(heads) {
        let (made, want) = (slots.as_ref().map(|slots| &slots[*head]), trace.of(*value).and_then(|t| floats(&t[0])));
        let (Some(made), Some(want)) = (made, want) else { return Ok(Err("sizes do not fit".into())) };
        let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
        let is_close = made.iter().zip(&want).all(|(a, b)| (a - b).abs() <= CLOSE * largest);
        if made.len() != want.len() || !is_close {
            return Ok(Err(format!("what is computed is off from what {} computes", engine.name())));
        }
    }
    let name = |value: &ValueId| {
        let is_input = graph.scope(ScopeId::MAIN).inputs().contains(value);
        is_input.then(|| graph.value(*value).name.to_string())
    };
    let inputs = (floating.len() == frontier.len()).then(|| floating.iter().map(name).collect()).flatten();
    Ok(Ok(Compiled { net, samples, rows, inputs }))
}

/// Whether all samples have the same tensor.
fn is_alike(tensors: Option<&[Tensor]>) -> bool {
    tensors.is_some_and(|tensors| tensors.windows(2).all(|pair| pair[0] == pair[1]))
}

/// Whether a layer's weight and bias are float32 and its own.
fn changes(graph: &Graph, node: NodeId) -> bool {
    let own = |value: ValueId| graph.value(value).users().len() == 1;
    graph
        .operand(node, WEIGHT)
        .is_some_and(|weight| own(weight) && graph.constant(weight).is_some_and(|w| w.dtype() == DType::F32))
}

/// The nodes that heads are computed from.
fn needed(graph: &Graph, heads: &[ValueId]) -> FxHashSet<NodeId> {
    let mut needed = FxHashSet::default();
    let mut open = heads.to_vec();
    while let Some(value) = open.pop() {
        if let Some((node, _)) = graph.producer(value).filter(|(node, _)| needed.insert(*node)) {
            open.extend(graph.operands(node).flatten());
            open.extend(graph.captures(node));
        }
    }
    needed
}

struct Compiler<'a> {
    graph: &'a Graph,
    trace: &'a Stepper<'a>,
    /// What comes before and is the same for all samples.
    alike: FxHashSet<ValueId>,
    layers: FxHashMap<NodeId, Layer>,
    slots: FxHashMap<ValueId, usize>,
    net: Net,
    /// The parameters that are biases, by the call and operand that reads them.
    biases: FxHashMap<(NodeId, usize), std::ops::Range<usize>>,
}

type Compiles<T> = Result<T, &'static str>;

const SIZES: &str = "its sizes do not fit";
const UNKNOWN: &str = "how its result follows what it reads is not known here";

impl Compiler<'_> {
    /// What the engine made of the first sample, or a constant.
    fn tensor(&self, value: ValueId) -> Option<&Tensor> {
        self.graph.constant(value).or_else(|| self.trace.of(value)?.first())
    }

    fn slot(&mut self, value: ValueId, size: usize, follows: bool) -> usize {
        let slot = self.net.sizes.len();
        self.net.sizes.push(size);
        self.net.follows.push(follows);
        self.slots.insert(value, slot);
        slot
    }

    fn parameters(&mut self, elements: impl IntoIterator<Item = f32>) -> std::ops::Range<usize> {
        let start = self.net.parameters.len();
        self.net.parameters.extend(elements);
        start..self.net.parameters.len()
    }

    fn read(&self, value: ValueId) -> Compiles<Read> {
        if let Some(&slot) = self.slots.get(&value) {
            return Ok(Read::Slot(slot));
        }
        let tensor = self.graph.constant(value).and_then(floats).ok_or("it reads what is no float")?;
        Ok(Read::Fixed(tensor.into()))
    }

    fn push(&mut self, kernel: Kernel, reads: Vec<Read>, result: ValueId) -> Compiles<()> {
        let size = self.tensor(result).ok_or(SIZES)?.len();
        let read = reads.first().map_or(0, |read| match read {
            Read::Slot(slot) => self.net.sizes[*slot],
            Read::Fixed(elements) => elements.len(),
            Read::Parameters(range) => range.len(),
        });
        let fits = match &kernel {
            Kernel::Linear(linear) => linear.results() == size,
            Kernel::Same | Kernel::Pointwise(_) | Kernel::Softmax(_) | Kernel::Normalized { .. } => read == size,
            Kernel::Affine { scale, shift, .. } => read == size && scale.len() == shift.len(),
            _ => true,
        };
        if size == 0 || read == 0 || !fits {
            return Err(SIZES);
        }
        let result = self.slot(result, size, true);
        self.net.calls.push(Call { kernel, reads, result });
        Ok(())
    }

    fn call(&mut self, node: NodeId) -> Compiles<()> {
        let call = CallView::new(self.graph, node);
        if call.node().bodies().next().is_some() {
            return Err("it runs a body");
        }
        let result = self.graph.result(node, 0).ok_or(SIZES)?;
        if self.tensor(result).ok_or(SIZES)?.dtype() != DType::F32 {
            return Err("its result is no float32");
        }
        if let Some(layer) = self.layers.get(&node).cloned() {
            return self.layer(&call, &layer, result);
        }
        let is_known = |value: ValueId| {
            self.slots.contains_key(&value) || self.graph.constant(value).is_some() || self.alike.contains(&value)
        };
        if !self.graph.operands(node).flatten().all(is_known) {
            return Err("what it does depends on the sample");
        }
        if let Some(kernel) = self.moves(&call)? {
            let reads: Vec<ValueId> = self.moved(&call).collect();
            let reads = reads.into_iter().map(|value| self.read(value)).collect::<Compiles<Vec<Read>>>()?;
            for (value, kernel) in kernel {
                self.push(kernel, reads.clone(), value)?;
            }
            return Ok(());
        }
        let (kernel, slots) = self.kernel(&call, result)?;
        let read = |slot: usize| match self.biases.get(&(node, slot)) {
            Some(range) => Ok(Read::Parameters(range.clone())),
            None => self.read(call.operand(slot).ok_or(SIZES)?),
        };
        let reads = (0..slots).map(read).collect::<Compiles<Vec<Read>>>()?;
        self.push(kernel, reads, result)
    }

    fn layer(&mut self, call: &CallView<'_>, layer: &Layer, result: ValueId) -> Compiles<()> {
        if layer.added(self.graph).is_some() {
            return Err("what it adds is no bias");
        }
        let input = call.operand(0).ok_or(SIZES)?;
        let matrix = call.constant(WEIGHT).and_then(|weight| layer.matrix(weight)).ok_or(SIZES)?;
        let weight = self.parameters(matrix);
        // A bias that others read too stays.
        let own = |bias: &crate::gram::Bias| {
            let value = self.graph.operand(bias.node, bias.slot);
            value.is_some_and(|value| self.graph.value(value).users().len() == 1)
        };
        let bias = match layer.bias.filter(own) {
            Some(bias) => {
                let range = self.parameters(layer.biases(self.graph).iter().map(|&b| b as f32));
                self.biases.insert((bias.node, bias.slot), range.clone());
                Some(range)
            }
            None if layer.adds_bias() && call.has(2) => return Err("its bias is another's, too"),
            None => None,
        };
        let dims = self.tensor(input).ok_or(SIZES)?.dims().to_vec();
        let within = bias.clone().filter(|_| layer.adds_bias());
        let linear = Linear::of(layer, &dims, weight.clone(), within).ok_or(SIZES)?;
        let read = self.read(input)?;
        self.push(Kernel::Linear(linear), vec![read], result)?;
        let result = self.slots[&result];
        self.net.changing.push(Changing { layer: layer.clone(), weight, bias, result });
        Ok(())
    }

    /// The operands whose elements a call moves.
    fn moved<'c>(&self, call: &CallView<'c>) -> impl Iterator<Item = ValueId> + use<'c> {
        let count = if call.node().op == OpKind::Concat { call.operand_count() } else { 1 };
        let call = *call;
        (0..count).filter_map(move |slot| call.operand(slot))
    }

    /// What a call that only moves elements takes each element of its results from.
    fn moves(&self, call: &CallView<'_>) -> Compiles<Option<Vec<(ValueId, Kernel)>>> {
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
                Some(tensor) if slot == 0 || op == O::Concat => {
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
    fn kernel(&self, call: &CallView<'_>, result: ValueId) -> Compiles<(Kernel, usize)> {
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
