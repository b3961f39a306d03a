//! What the parts of a plan take in real numbers and in integers, and what it takes to go from one to the other.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::ir::{Graph, Int, NodeId, OpKind, ScopeId, User, ValueId};
use crate::min_cut::{NEVER, Network, SINK as REALS, SOURCE as INTEGERS};
use crate::ops::window::GROUP;
use crate::ops::{CallView, row_of};
use crate::quantize::Plan;
use crate::target::Policy;
use crate::target::policy::{Borders, Cost, Size};

/// A call that may compute in integers, with what is taken into it.
pub(super) struct Part {
    pub head: NodeId,
    /// Nanoseconds in real numbers.
    pub float: f64,
    /// Nanoseconds in integers.
    pub int8: f64,
    /// The rule that says so.
    pub rule: String,
    /// Nanoseconds that it takes more in integers when its operand is made in real numbers.
    entered: f64,
    /// The tensors that it reads as integers, and those that it makes.
    tensors: SmallVec<[usize; 4]>,
}

/// A tensor that a part reads or makes.
struct Shared {
    /// `None` for one that is made in real numbers whatever becomes of the parts.
    maker: Option<usize>,
    /// Parts that read it.
    readers: SmallVec<[usize; 4]>,
    /// Someone reads it in real numbers whatever becomes of the parts.
    is_read_real: bool,
    /// Nanoseconds of a `QuantizeLinear`.
    quantize: f64,
    /// Nanoseconds of a `DequantizeLinear`.
    dequantize: f64,
    /// Nanoseconds that readers in integers take more when it is made in real numbers.
    entered: SmallVec<[(usize, f64); 2]>,
}

/// What is to stay as it is, whatever it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pin {
    Integers,
    Reals,
}

/// The parts of a plan, and the tensors between them.
pub(super) struct Field<'a> {
    graph: &'a Graph,
    policy: &'a Policy,
    borders: &'a Borders,
    pub parts: Vec<Part>,
    tensors: Vec<Shared>,
    part_of: FxHashMap<NodeId, usize>,
    /// Tensors whose pair stands near who reads them, and is counted there.
    near: FxHashSet<ValueId>,
    /// What integers take more when they begin at a node.
    entered_of: FxHashMap<NodeId, f64>,
    /// Nanoseconds of everything else.
    rest: f64,
}

impl<'a> Field<'a> {
    /// The parts of `plan` in `graph`, which has the sizes of a run.
    pub(super) fn of(graph: &'a Graph, policy: &'a Policy, borders: &'a Borders, opset: i64, plan: &Plan) -> Field<'a> {
        let heads: FxHashMap<NodeId, NodeId> = plan.taken_in.iter().copied().collect();
        let mut part_of: FxHashMap<NodeId, usize> = FxHashMap::default();
        let mut parts: Vec<Part> = Vec::new();
        for &head in plan.integer.iter().filter(|node| !heads.contains_key(node)) {
            part_of.insert(head, parts.len());
            parts.push(Part {
                head,
                float: 0.0,
                int8: 0.0,
                rule: String::new(),
                entered: 0.0,
                tensors: SmallVec::new(),
            });
        }
        for (node, head) in &heads {
            if let Some(&part) = part_of.get(head) {
                part_of.insert(*node, part);
            }
        }
        let mut field = Field {
            graph,
            policy,
            borders,
            parts,
            tensors: Vec::new(),
            part_of,
            near: plan.sites.iter().filter(|site| site.near && borders.counts_near).map(|site| site.value).collect(),
            entered_of: FxHashMap::default(),
            rest: 0.0,
        };
        let mut real_outs = vec![None; field.parts.len()];
        for node in graph.nodes_of(ScopeId::MAIN) {
            let call = CallView::new(graph, node);
            let Some(cost) = policy.costs.iter().find(|cost| cost.speaks_of(&call, opset)) else { continue };
            field.add(&call, cost, &mut real_outs);
        }
        field.connect(&real_outs);
        field
    }

    /// Add what `call` takes.
    fn add(&mut self, call: &CallView<'_>, cost: &Cost, real_outs: &mut [Option<f64>]) {
        let size = size(call);
        let float = cost.float.of(&size);
        let int8 = cost.int8.map_or(float, |time| time.of(&size));
        if let Some(time) = cost.entered {
            self.entered_of.insert(call.id(), time.of(&size));
        }
        match self.part_of.get(&call.id()) {
            Some(&part) => {
                let p = &mut self.parts[part];
                p.float += float;
                // What is taken in costs integers nothing.
                if p.head == call.id() {
                    p.int8 += int8;
                    p.rule.clone_from(&cost.rule);
                    p.entered = cost.entered.map_or(0.0, |time| time.of(&size));
                    real_outs[part] = cost.real_out.map(|time| (time.of(&size) - int8).max(0.0));
                }
            }
            None => {
                self.rest += float;
                let Some(unfused) = cost.unfused else { return };
                let makers = self.graph.operands(call.id()).flatten().filter_map(|v| self.graph.producer(v));
                let behind = makers.filter_map(|(maker, _)| self.part_of.get(&maker)).next();
                if let Some(&part) = behind {
                    self.parts[part].int8 += unfused.of(&size);
                }
            }
        }
    }

    /// Find the tensors between parts, and between parts and what stays real.
    fn connect(&mut self, real_outs: &[Option<f64>]) {
        let mut seen: FxHashSet<ValueId> = FxHashSet::default();
        let mut values: Vec<ValueId> = Vec::new();
        for part in &self.parts {
            values.extend(self.graph.operands(part.head).flatten());
        }
        let mut members: Vec<(NodeId, usize)> = self.part_of.iter().map(|(&node, &part)| (node, part)).collect();
        members.sort_unstable();
        for (node, _) in members {
            values.extend(self.graph.results(node).iter().flatten());
        }
        for value in values {
            if seen.insert(value) && self.is_real(value) {
                self.share(value, real_outs);
            }
        }
    }

    /// Whether a run computes the tensor in real numbers.
    fn is_real(&self, value: ValueId) -> bool {
        let v = self.graph.value(value);
        self.graph.constant(value).is_none() && v.ty.dtype().is_none_or(|dtype| dtype.is_float())
    }

    fn share(&mut self, value: ValueId, real_outs: &[Option<f64>]) {
        let producer = self.graph.producer(value).map(|(node, _)| node);
        let maker = producer.and_then(|node| self.part_of.get(&node)).copied();
        let mut readers: SmallVec<[usize; 4]> = SmallVec::new();
        let mut is_read_real = false;
        for user in self.graph.value(value).users() {
            match *user {
                User::Node(node, 0) if matches!(self.graph.node(node).op, OpKind::Shape | OpKind::Size) => {}
                User::Node(node, _) => match self.part_of.get(&node) {
                    // Between an operator and what is taken into it.
                    Some(&part) if Some(part) == maker => return,
                    Some(&part) if readers.contains(&part) => {}
                    Some(&part) => readers.push(part),
                    None => is_read_real = true,
                },
                User::Output(..) => is_read_real = true,
            }
        }
        let dims = self.graph.value(value).ty.shape().dims();
        let size = Size { elements: elements(dims), ..Size::default() };
        let layout = if dims.is_some_and(|d| d.len() >= 4) { self.borders.layout.of(&size) } else { 0.0 };
        let is_fused = |node: NodeId| self.borders.fused_behind.contains(&self.graph.node(node).op);
        let quantize = match producer {
            Some(node) if is_fused(node) => 0.0,
            _ if self.near.contains(&value) => 0.0,
            _ => match self.borders.products.filter(|_| self.is_for_products(&readers)) {
                Some(products) => products.of(&size),
                None => self.borders.quantize.of(&size) + layout * (1 + 2 * self.sums(value)) as f64,
            },
        };
        let dequantize = match maker {
            Some(part) => match real_outs[part] {
                Some(more) => more,
                None if is_fused(self.parts[part].head) => 0.0,
                None => self.borders.dequantize.of(&size) + layout,
            },
            None => 0.0,
        };
        let index = self.tensors.len();
        for &part in readers.iter().chain(&maker) {
            self.parts[part].tensors.push(index);
        }
        let entered = readers.iter().map(|&part| (part, self.parts[part].entered)).filter(|(_, time)| *time > 0.0);
        let mut entered: SmallVec<[(usize, f64); 2]> = entered.collect();
        // A runtime moves a `QuantizeLinear` behind what keeps numbers as they are to before it.
        if let Some(&time) = producer.and_then(|node| self.entered_of.get(&node)) {
            entered.extend(readers.iter().map(|&part| (part, time)));
        }
        self.tensors.push(Shared { maker, readers, is_read_real, quantize, dequantize, entered });
    }

    /// Whether only products are among the readers.
    fn is_for_products(&self, readers: &[usize]) -> bool {
        let is_product =
            |part: &usize| matches!(self.graph.node(self.parts[*part].head).op, OpKind::Gemm | OpKind::MatMul);
        readers.iter().all(is_product)
    }

    /// Residual sums that go on from `value`, one after another: where integers begin at the first, each has one operand
    /// in one layout and one in the other.
    fn sums(&self, value: ValueId) -> usize {
        let mut at = value;
        for sums in 0..SUMS {
            let users = self.graph.value(at).users();
            let sum = users.iter().filter_map(|user| match *user {
                User::Node(node, _) if users.len() > 1 && self.graph.node(node).op == OpKind::Add => Some(node),
                _ => None,
            });
            let Some(sum) = sum.into_iter().find(|sum| self.part_of.contains_key(sum)) else { return sums };
            let Some(tail) = self.tail(sum) else { return sums };
            at = tail;
        }
        SUMS
    }

    /// What `node` makes, behind what fuses with it.
    fn tail(&self, node: NodeId) -> Option<ValueId> {
        let op = self.graph.node(node).op;
        let mut value = self.graph.result(node, 0)?;
        for _ in 0..FUSED {
            match *self.graph.value(value).users() {
                [User::Node(next, 0)] if self.policy.fuse(self.graph.node(next).op, op).is_some() => {
                    value = self.graph.result(next, 0)?;
                }
                _ => break,
            }
        }
        Some(value)
    }

    /// Nanoseconds that a tensor costs beside those who make and read it.
    fn border(&self, tensor: &Shared, is_integer: &[bool]) -> f64 {
        let is_made_integer = tensor.maker.is_some_and(|part| is_integer[part]);
        let is_read_integer = tensor.readers.iter().any(|&part| is_integer[part]);
        let is_read_real = tensor.is_read_real || tensor.readers.iter().any(|&part| !is_integer[part]);
        match is_made_integer {
            true if is_read_real => tensor.dequantize,
            false if is_read_integer => {
                let entered = tensor.entered.iter().filter(|(part, _)| is_integer[*part]);
                tensor.quantize + entered.map(|(_, time)| time).sum::<f64>()
            }
            _ => 0.0,
        }
    }

    /// Nanoseconds of a run.
    pub(super) fn total(&self, is_integer: &[bool]) -> f64 {
        let parts = self.parts.iter().zip(is_integer).map(|(part, &int)| if int { part.int8 } else { part.float });
        let borders = self.tensors.iter().map(|tensor| self.border(tensor, is_integer));
        self.rest + parts.sum::<f64>() + borders.sum::<f64>()
    }

    /// What it takes to have integers where they pay: in every region of them they are to take only this share of the
    /// time of real numbers, borders included. `None` where that takes too long to find out.
    pub(super) fn paying(&self, share: f64, pins: &FxHashMap<usize, Pin>) -> Option<Vec<bool>> {
        let mut network = Network::new(self.parts.len());
        let price = |ns: f64| ((ns * FINE).round() as u64).min(NEVER - 1);
        let dear = |ns: f64| price(ns / share);
        let node = |part: usize| part + 2;
        for (index, part) in self.parts.iter().enumerate() {
            let (float, int8) = match pins.get(&index) {
                Some(Pin::Integers) => (NEVER, 0),
                Some(Pin::Reals) => (0, NEVER),
                None => (price(part.float), dear(part.int8)),
            };
            network.arc(INTEGERS, node(index), float);
            network.arc(node(index), REALS, int8);
        }
        for tensor in &self.tensors {
            if let Some(maker) = tensor.maker {
                match tensor.is_read_real {
                    true => network.arc(node(maker), REALS, dear(tensor.dequantize)),
                    false => {
                        let between = network.node();
                        network.arc(node(maker), between, dear(tensor.dequantize));
                        for &reader in &tensor.readers {
                            network.arc(between, node(reader), NEVER);
                        }
                    }
                }
            }
            let between = network.node();
            let maker = tensor.maker.map_or(REALS, node);
            network.arc(between, maker, dear(tensor.quantize));
            for &(reader, time) in &tensor.entered {
                network.arc(node(reader), maker, dear(time));
            }
            for &reader in &tensor.readers {
                network.arc(node(reader), between, NEVER);
            }
        }
        let sides = network.part()?;
        Some((0..self.parts.len()).map(|part| sides[node(part)]).collect())
    }

    /// Regions of parts that are among `members`, each connected by tensors.
    pub(super) fn regions(&self, members: &[bool]) -> Vec<Vec<usize>> {
        let mut seen = vec![false; self.parts.len()];
        let is_in = |part: usize| members[part];
        let mut found = Vec::new();
        for first in (0..self.parts.len()).filter(|&part| is_in(part)) {
            if std::mem::replace(&mut seen[first], true) {
                continue;
            }
            let mut region = vec![first];
            let mut next = 0;
            while next < region.len() {
                for &tensor in &self.parts[region[next]].tensors {
                    let tensor = &self.tensors[tensor];
                    for &part in tensor.readers.iter().chain(&tensor.maker) {
                        if is_in(part) && !std::mem::replace(&mut seen[part], true) {
                            region.push(part);
                        }
                    }
                }
                next += 1;
            }
            found.push(region);
        }
        found
    }

    /// Nanoseconds of a region in real numbers and in integers, with the borders that it has where the rest is as
    /// `is_integer` says.
    pub(super) fn both(&self, region: &[usize], is_integer: &mut [bool]) -> (f64, f64) {
        let mut tensors: Vec<usize> =
            region.iter().flat_map(|&part| self.parts[part].tensors.iter().copied()).collect();
        tensors.sort_unstable();
        tensors.dedup();
        let mut time = |int: bool| -> f64 {
            for &part in region {
                is_integer[part] = int;
            }
            let parts = region.iter().map(|&p| if int { self.parts[p].int8 } else { self.parts[p].float });
            let borders = tensors.iter().map(|&tensor| self.border(&self.tensors[tensor], is_integer));
            parts.sum::<f64>() + borders.sum::<f64>()
        };
        let int8 = time(true);
        (time(false), int8)
    }

    /// What has to change so that no operator that the runtime would give integers of its own stands between both: a
    /// part has integers, and what reads others is left real.
    pub(super) fn converted(&self, is_integer: &[bool]) -> Vec<(usize, Pin)> {
        let mut found = Vec::new();
        for node in self.graph.nodes_of(ScopeId::MAIN) {
            if !self.borders.converts.contains(&self.graph.node(node).op) {
                continue;
            }
            let part = self.part_of.get(&node).copied();
            let part_at = |value: ValueId| self.graph.producer(value).and_then(|(maker, _)| self.part_of.get(&maker));
            let maker = self.graph.operand(node, 0).and_then(part_at);
            if part.is_some_and(|part| is_integer[part]) || !maker.is_some_and(|&maker| is_integer[maker]) {
                continue;
            }
            let readers = self.readers_behind(node);
            let mut readers = readers.into_iter().filter(|&reader| is_integer[reader]).peekable();
            match part {
                _ if readers.peek().is_none() => {}
                Some(part) => found.push((part, Pin::Integers)),
                None => found.extend(readers.map(|reader| (reader, Pin::Reals))),
            }
        }
        found
    }

    /// The parts that read what `node` makes, behind what fuses with it.
    fn readers_behind(&self, node: NodeId) -> Vec<usize> {
        let own = self.part_of.get(&node);
        let users = self.tail(node).map(|v| self.graph.value(v).users()).unwrap_or_default();
        let part = |user: &User| match *user {
            User::Node(node, _) => self.part_of.get(&node).filter(|&part| Some(part) != own).copied(),
            User::Output(..) => None,
        };
        users.iter().filter_map(part).collect()
    }
}

/// Prices are whole: parts of a nanosecond.
const FINE: f64 = 16.0;

/// Nobody fuses more with one operator.
const FUSED: usize = 8;

/// Longer rows of sums cost no more.
const SUMS: usize = 16;

/// Elements of a tensor with these sizes; 0 where one is open.
fn elements(dims: Option<&[Int]>) -> f64 {
    let Some(dims) = dims else { return 0.0 };
    dims.iter().map(|d| d.known().map(|d| d as f64)).product::<Option<f64>>().unwrap_or(0.0)
}

/// What `call` is made of. What only a run tells counts nothing.
fn size(call: &CallView<'_>) -> Size {
    let graph = call.graph();
    let macs = (row_of(call.node()).macs)(call).and_then(|n| n.known()).unwrap_or(0).max(0) as f64;
    let (mut read, mut weights) = (0.0, 0.0);
    for slot in 0..call.operand_count() {
        let Some(value) = call.operand(slot) else { continue };
        match (graph.constant(value), graph.value(value).ty.dtype()) {
            (Some(tensor), _) if tensor.dtype().is_float() && tensor.dims().len() >= 2 => {
                weights += tensor.len() as f64
            }
            (None, Some(dtype)) if dtype.is_float() => read += elements(call.dims(slot)),
            _ => {}
        }
    }
    let results = graph.results(call.id()).iter().flatten();
    let made: f64 = results.map(|&v| elements(graph.value(v).ty.shape().dims())).sum();
    let positions = match (call.node().op, call.result_dims(0)) {
        (OpKind::Conv | OpKind::ConvTranspose, Some([batch, _, space @ ..])) => {
            let places = elements(Some(std::slice::from_ref(batch))) * elements(Some(space));
            let groups = GROUP.of(call.node()).max(1);
            let weight = |axis: usize| call.dims(1).and_then(|w| w.get(axis)?.known());
            let is_single = weight(1) == Some(1) && weight(0) == Some(groups);
            if is_single { places } else { places * groups as f64 }
        }
        _ => 0.0,
    };
    Size { macs, elements: read + made, positions, weights }
}
