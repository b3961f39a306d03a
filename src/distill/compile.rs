//! From a model and samples to functions of its weights.
//!
//! One run of the engine tells every tensor's size; what comes before the first layer that changes, the engine computes
//! for every sample. What is between is compiled here, and has to make what the engine made of the first sample.

use std::ops::Deref;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::distill::draw::Input;
use crate::distill::kernel::Kernel;
use crate::distill::linear::Linear;
use crate::distill::net::{Call, Changing, Net, Read};
use crate::exec::{Cannot, Executor, Stepper};
use crate::gram::layer::WEIGHT;
use crate::gram::{Layer, floats};
use crate::ir::{DType, Graph, NodeId, OpKind, ScopeId, Tensor, ValueId};
use crate::model::Model;
use crate::ops::CallView;

/// A model as functions, and what each sample gives: for each slot that is given, its elements.
pub(super) struct Compiled {
    pub(super) net: Net,
    pub(super) samples: Vec<Vec<Vec<f32>>>,
    /// The length of each head's rows, along its last axis.
    pub(super) rows: Vec<usize>,
    /// The inputs that samples give, where they give nothing else: such samples can be mixed.
    pub(super) inputs: Option<Vec<Input>>,
}

/// Bytes of what samples give at the most.
pub(super) const MOST_BYTES: usize = 1 << 30;

/// What heads may be off from what the engine makes, in parts of their largest element.
const CLOSE: f32 = 1e-3;

/// Compile `model` up to `heads`.
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
        // What depends on sizes alone is the same whatever weights are.
        let is_of_sizes = matches!(graph.node(node).op, OpKind::Shape | OpKind::Size);
        let is_behind = || graph.operands(node).flatten().any(|value| follows.contains(&value));
        if layer.is_some() || (!is_of_sizes && is_behind()) {
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
            return Ok(Err(format!("{} \"{}\": {why}", graph.node(node).op_name(), graph.label(node))));
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
    let slots = net.forward(&net.parameters, samples[0].clone());
    for (head, value) in net.heads.iter().zip(heads) {
        let (made, want) = (slots.as_ref().map(|slots| &slots[*head]), trace.of(*value).and_then(|t| floats(&t[0])));
        let (Some(made), Some(want)) = (made, want) else { return Ok(Err("sizes do not fit".into())) };
        let largest = want.iter().fold(0f32, |most, x| most.max(x.abs()));
        let is_close = made.iter().zip(&want).all(|(a, b)| (a - b).abs() <= CLOSE * largest);
        if made.len() != want.len() || !is_close {
            return Ok(Err(format!("what is computed is off from what {} computes", engine.name())));
        }
    }
    let input = |&value: &ValueId| {
        let is_input = graph.scope(ScopeId::MAIN).inputs().contains(&value);
        let dims = trace.of(value)?.first()?.dims().to_vec();
        is_input.then(|| Input { name: graph.value(value).name.to_string(), dims })
    };
    let inputs = (floating.len() == frontier.len()).then(|| floating.iter().map(input).collect()).flatten();
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

/// A net that is being made of a graph.
pub(super) struct Compiler<'a> {
    pub(super) graph: &'a Graph,
    trace: &'a Stepper<'a>,
    /// What comes before and is the same for all samples.
    alike: FxHashSet<ValueId>,
    layers: FxHashMap<NodeId, Layer>,
    slots: FxHashMap<ValueId, usize>,
    net: Net,
    /// The parameters that are biases, by the call and operand that reads them.
    pub(super) biases: FxHashMap<(NodeId, usize), std::ops::Range<usize>>,
}

/// Or why a call cannot be compiled.
pub(super) type Compiles<T> = Result<T, &'static str>;

pub(super) const SIZES: &str = "its sizes do not fit";

impl Compiler<'_> {
    /// What the engine made of the first sample, or a constant.
    pub(super) fn tensor(&self, value: ValueId) -> Option<&Tensor> {
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
        let weight = call.constant(WEIGHT).ok_or(SIZES)?;
        if weight.is_repeated() {
            return Err(Tensor::REPEATED);
        }
        let matrix = layer.matrix(weight).ok_or(SIZES)?;
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
}
