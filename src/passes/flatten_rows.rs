//! Rows of several leading axes become rows of one, where products with a known matrix gain by it: on two axes, the
//! product and what is added to it are one `Gemm`.
//!
//! What works on each row by itself (products with known matrices, element-wise operators, normalizations of the last
//! axis) forms regions of values with the same leading axes. A region is flattened as a whole: one `Reshape` where a
//! value enters or leaves it, none where a reshape stands there anyway. That is done where it takes fewer nodes in
//! all.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::ir::OpKind::{
    self, Add, Concat, Gemm, LayerNormalization, MatMul, RMSNormalization, ReduceMax, ReduceMean, ReduceSum,
    ReduceSumSquare, Reshape, Shape,
};
use crate::ir::{Graph, Int, Key, NodeId, ScopeId, Tensor, Type, User, ValueId};
use crate::ops::dims::product;
use crate::ops::reduce::KEEPDIMS;
use crate::ops::target::target_of;
use crate::ops::{CallView, Channels, def, infer_node, is_deterministic, normalize_axis};
use crate::passes::{Context, Fault, Pass};
use crate::rewrite::{Exactness, Step};

/// See the module.
pub struct FlattenRows;

impl Pass for FlattenRows {
    fn name(&self) -> &'static str {
        "flatten-rows"
    }

    fn doc(&self) -> &'static str {
        include_str!("flatten_rows.rs")
    }

    fn run(&self, graph: &mut Graph, cx: &Context<'_>) -> Result<Step, Fault> {
        let mut step = Step::default();
        let scopes: Vec<ScopeId> = graph.scopes().collect();
        // A part of a shape is told from opset 15 on.
        let tells_parts = cx.opset >= 15;
        // Before opset 7 a Gemm does not broadcast what it adds by itself.
        if cx.avoids.contains(&Gemm) || cx.opset < 7 {
            return Ok(step);
        }
        for scope in scopes {
            let order = graph.schedule(scope);
            for region in regions(graph, &order) {
                let Some(plan) = Plan::of(graph, region, &order, tells_parts) else { continue };
                if plan.saved() <= 0 {
                    continue;
                }
                if !cx.fuel.spend("flatten-rows", || graph.label(plan.region.nodes[0])) {
                    return Ok(step);
                }
                plan.carry_out(graph, scope);
                step.fired("flatten-rows");
                step.exactness = Exactness::Rounding;
            }
        }
        Ok(step)
    }
}

/// Nodes that work on rows, connected by values with the same leading axes.
struct Region {
    nodes: Vec<NodeId>,
    lead: Vec<Int>,
}

/// The sizes before the last.
fn lead(graph: &Graph, value: ValueId) -> Option<&[Int]> {
    let dims = graph.value(value).ty.shape().dims()?;
    Some(&dims[..dims.len().checked_sub(1)?])
}

/// The regions among the nodes of a body, which stand in the order in which they run.
fn regions(graph: &Graph, order: &[NodeId]) -> Vec<Region> {
    let mut of_value: FxHashMap<ValueId, usize> = FxHashMap::default();
    // Of each node, one that is in the same region and stands before it, or the node itself.
    let mut parts: Vec<usize> = Vec::new();
    let mut nodes = Vec::new();
    for &node in order {
        let Some(values) = rows(graph, node) else { continue };
        let at = nodes.len();
        nodes.push(node);
        parts.push(at);
        for value in values.into_iter().chain(graph.result(node, 0)) {
            let other = *of_value.entry(value).or_insert(at);
            let (a, b) = (first_of(&mut parts, other), first_of(&mut parts, at));
            parts[a.max(b)] = a.min(b);
        }
    }
    let mut regions: Vec<Region> = Vec::new();
    let mut places: FxHashMap<usize, usize> = FxHashMap::default();
    for (at, node) in nodes.into_iter().enumerate() {
        let place = *places.entry(first_of(&mut parts, at)).or_insert(regions.len());
        if place == regions.len() {
            let lead = graph.result(node, 0).and_then(|v| lead(graph, v)).unwrap_or_default().to_vec();
            regions.push(Region { nodes: Vec::new(), lead });
        }
        regions[place].nodes.push(node);
    }
    regions
}

/// The first node of the region of node `at`.
fn first_of(parts: &mut [usize], mut at: usize) -> usize {
    while parts[at] != at {
        parts[at] = parts[parts[at]];
        at = parts[at];
    }
    at
}

/// The operands with leading axes, where `node` makes each row of its one result of a row of each of them.
fn rows(graph: &Graph, node: NodeId) -> Option<Vec<ValueId>> {
    let call = CallView::new(graph, node);
    let dims = call.result_dims(0)?;
    let lead = dims.get(..dims.len().checked_sub(1)?).filter(|lead| lead.len() > 1)?;
    let read = |slot: usize| graph.result(node, slot).is_some_and(|v| !graph.value(v).users().is_empty());
    if (1..graph.results(node).len()).any(read) || !is_deterministic(graph, node) {
        return None;
    }
    let has_lead = |slot: usize| call.dims(slot).is_some_and(|d| d.len() == dims.len() && d[..lead.len()] == *lead);
    let on_rows = |slot: usize| has_lead(slot).then(|| call.operand(slot)).flatten();
    match call.node().op {
        MatMul => matrix(&call).and_then(|_| Some(vec![on_rows(0)?])),
        LayerNormalization | RMSNormalization => {
            const AXIS: Key<i64> = Key::new("axis", -1);
            let plain = (1..call.operand_count()).all(|slot| call.rank(slot).is_some_and(|rank| rank <= 1));
            let last = normalize_axis(AXIS.of(call.node()), dims.len()) == Some(lead.len());
            (plain && last).then(|| Some(vec![on_rows(0)?]))?
        }
        ReduceMax | ReduceMean | ReduceSum | ReduceSumSquare => {
            let last = call
                .known_ints(1)
                .is_some_and(|a| a.len() == 1 && normalize_axis(a[0], dims.len()) == Some(lead.len()));
            (last && KEEPDIMS.of(call.node())).then(|| Some(vec![on_rows(0)?]))?
        }
        OpKind::Custom => None,
        op if (def(op).channels)(&call) == Channels::Tied && call.node().attr("axis").is_none() => {
            let mut found = Vec::new();
            for slot in 0..call.operand_count() {
                match call.constant(slot) {
                    Some(t) if is_of_a_row(t, dims.len()) => {}
                    None if !call.has(slot) => {}
                    _ => found.push(on_rows(slot)?),
                }
            }
            (!found.is_empty()).then_some(found)
        }
        _ => None,
    }
}

/// The known matrix that a product is with.
fn matrix<'g>(product: &CallView<'g>) -> Option<&'g Tensor> {
    product.constant(1).filter(|w| w.rank() == 2 && product.node().op == MatMul && w.dtype().is_float())
}

/// Whether a constant is the same for each row of values with `rank` axes.
fn is_of_a_row(tensor: &Tensor, rank: usize) -> bool {
    let before = tensor.rank().saturating_sub(1);
    tensor.rank() <= rank && tensor.dims()[..before].iter().all(|&d| d == 1)
}

/// A reshape that reads a value that leaves a region, or the shape that such a value gets back.
struct Target {
    dims: Vec<Int>,
    /// A target that says it all, or what stands behind the leading sizes.
    said: Result<Vec<i64>, Vec<i64>>,
}

/// How a region is flattened.
struct Plan {
    region: Region,
    /// Sums that become part of a product: by the sum, the product and the operand that is added.
    merged: FxHashMap<NodeId, (NodeId, usize)>,
    /// What enters, and how.
    entering: Vec<(ValueId, Entrance)>,
    /// What leaves: reshapes that read it, and what it is restored to for others.
    leaving: Vec<(ValueId, Vec<(NodeId, Target)>, Option<Target>)>,
    /// A value with all leading sizes as its elements, or one to ask for its shape, where they have to be computed.
    sizes: Option<Sizes>,
    tails: usize,
}

/// How a value enters a region.
#[derive(Clone, Copy)]
struct Entrance {
    /// A reshape that nobody else needs makes it: its operand enters instead.
    free: bool,
    /// It is a reshape of a value that is flat already.
    flat: Option<ValueId>,
}

impl Entrance {
    fn spent(self) -> i64 {
        match (self.free, self.flat) {
            (true, Some(_)) => -1,
            (true, None) | (false, Some(_)) => 0,
            (false, None) => 1,
        }
    }
}

enum Sizes {
    Known(ValueId),
    Of(ValueId),
}

impl Plan {
    fn of(graph: &Graph, region: Region, order: &[NodeId], tells_parts: bool) -> Option<Plan> {
        let inside: BTreeSet<NodeId> = region.nodes.iter().copied().collect();
        let is_inside = |user: &User| matches!(user, User::Node(n, _) if inside.contains(n));
        let mut merged: FxHashMap<NodeId, (NodeId, usize)> = FxHashMap::default();
        for &node in &region.nodes {
            if let Some(found) = mergeable(graph, node, &inside) {
                merged.insert(node, found);
            }
        }
        if merged.is_empty() {
            return None;
        }
        let (mut entering, mut leaving): (Vec<(ValueId, Entrance)>, Vec<_>) = (Vec::new(), Vec::new());
        let mut tails: BTreeSet<Vec<i64>> = BTreeSet::new();
        let flat = product(&region.lead);
        for &node in &region.nodes {
            for value in rows(graph, node)? {
                let made_here = graph.producer(value).is_some_and(|(maker, _)| inside.contains(&maker));
                if made_here || entering.iter().any(|(v, _)| *v == value) {
                    continue;
                }
                let view = graph.producer(value).map(|(maker, _)| maker).filter(|&n| graph.node(n).op == Reshape);
                let free = view.is_some() && graph.value(value).users().iter().all(is_inside);
                let last = graph.value(value).ty.shape().dims()?.last()?;
                let is_flat = |v: &ValueId| {
                    let dims = graph.value(*v).ty.shape().dims();
                    dims.zip(flat.as_ref()).is_some_and(|(d, rows)| d.len() == 2 && d[0] == *rows && d[1] == *last)
                };
                let flat = view.and_then(|view| graph.operand(view, 0)).filter(is_flat);
                entering.push((value, Entrance { free, flat }));
            }
            let value = graph.result(node, 0)?;
            let users = graph.value(value).users();
            if users.iter().all(is_inside) {
                continue;
            }
            let last = graph.value(value).ty.shape().dims()?.last()?.clone();
            let from = flat.clone().map(|rows| [rows, last]);
            let mut target = |dims: &[Int]| -> Option<Target> {
                let said = said(from.as_ref().map(|f| &f[..]), dims, &region.lead)?;
                if let Err(tail) = &said {
                    tails.insert(tail.clone());
                }
                Some(Target { dims: dims.to_vec(), said })
            };
            let (mut views, mut others) = (Vec::new(), false);
            for user in users.iter().filter(|user| !is_inside(user)) {
                match *user {
                    User::Node(reader, 0) if graph.node(reader).op == Reshape => {
                        let dims = CallView::new(graph, reader).result_dims(0).map(<[Int]>::to_vec);
                        match dims.and_then(|dims| target(&dims)) {
                            Some(target) => views.push((reader, target)),
                            None => others = true,
                        }
                    }
                    _ => others = true,
                }
            }
            let restored = match others {
                true => Some(target(graph.value(value).ty.shape().dims()?)?),
                false => None,
            };
            leaving.push((value, views, restored));
        }
        let sizes = match tails.is_empty() {
            true => None,
            false if !tells_parts => return None,
            false => Some(sizes(graph, order, &region, &entering)?),
        };
        Some(Plan { region, merged, entering, leaving, sizes, tails: tails.len() })
    }

    /// How many nodes fewer there are.
    fn saved(&self) -> i64 {
        let entering: i64 = self.entering.iter().map(|(_, entrance)| entrance.spent()).sum();
        let leaving = self.leaving.iter().filter(|(.., restored)| restored.is_some()).count();
        let asked = usize::from(matches!(self.sizes, Some(Sizes::Of(_))));
        self.merged.len() as i64 - entering - (leaving + asked + self.tails) as i64
    }

    fn carry_out(self, graph: &mut Graph, scope: ScopeId) {
        let mut made = Made { graph, scope, flat: FxHashMap::default(), sizes: None, tails: FxHashMap::default() };
        let merged_away: BTreeSet<NodeId> = self.merged.values().map(|(product, _)| *product).collect();
        let first = made.graph.node(self.region.nodes[0]).order();
        if let Some(sizes) = &self.sizes {
            made.ask(sizes, self.region.lead.len(), first);
        }
        for &(value, entrance) in &self.entering {
            made.enter(value, entrance, first);
        }
        for &node in self.region.nodes.iter().filter(|node| !merged_away.contains(node)) {
            match self.merged.get(&node) {
                Some(&(product, slot)) => made.merge(node, product, slot),
                None => made.repeat(node),
            }
        }
        for (value, views, restored) in self.leaving {
            made.leave(value, views, restored);
        }
        for node in self.region.nodes.into_iter().rev() {
            if made.graph.has_node(node) {
                made.graph.prune_dead(node, |_| {});
            }
        }
    }
}

/// The product that the sum `node` can be part of, and the slot of what is added.
fn mergeable(graph: &Graph, node: NodeId, inside: &BTreeSet<NodeId>) -> Option<(NodeId, usize)> {
    let sum = CallView::new(graph, node);
    if sum.node().op != Add {
        return None;
    }
    (0..2).find_map(|slot| {
        let (product, _) = graph.producer(sum.operand(slot)?)?;
        let call = CallView::new(graph, product);
        let alone = graph.value(sum.operand(slot)?).users() == [User::Node(node, slot)] && inside.contains(&product);
        let columns = *matrix(&call)?.dims().last()?;
        let fits = match sum.constant(1 - slot) {
            Some(t) => t.len() == columns || t.len() == 1,
            None => sum.dims(1 - slot) == sum.result_dims(0),
        };
        let same = sum.dims(slot) == sum.result_dims(0);
        (alone && fits && same && sum.operand(0) != sum.operand(1)).then_some((product, 1 - slot))
    })
}

/// How a `Reshape` of rows says `dims`: by itself, or else what stands behind the leading sizes.
fn said(from: Option<&[Int]>, dims: &[Int], lead: &[Int]) -> Option<Result<Vec<i64>, Vec<i64>>> {
    if let Some(target) = target_of(from, dims) {
        return Some(Ok(target));
    }
    let tail = dims.strip_prefix(lead)?.iter().map(Int::known).collect::<Option<Vec<i64>>>()?;
    (!tail.contains(&0)).then_some(Err(tail))
}

/// Where the leading sizes of a region are told, before its first node.
fn sizes(graph: &Graph, order: &[NodeId], region: &Region, entering: &[(ValueId, Entrance)]) -> Option<Sizes> {
    let first = order.iter().position(|node| Some(node) == region.nodes.first())?;
    // Another region may have taken some of them.
    let before: BTreeSet<NodeId> = order[..first].iter().copied().filter(|&node| graph.has_node(node)).collect();
    let is_told = |&value: &ValueId| {
        let v = graph.value(value);
        v.ty.dtype() == Some(crate::ir::DType::I64)
            && v.ty.shape().rank() == Some(1)
            && v.content.as_ref().is_some_and(|c| c[..] == region.lead[..])
    };
    let earlier = order[..first].iter().filter(|&&node| graph.has_node(node));
    let told = earlier.flat_map(|&node| graph.results(node).iter().flatten()).copied().find(is_told);
    let of = |&value: &ValueId| graph.producer(value).is_none_or(|(maker, _)| before.contains(&maker));
    told.map(Sizes::Known).or_else(|| entering.iter().map(|(value, _)| *value).find(of).map(Sizes::Of))
}

/// The flat nodes as they are made.
struct Made<'g> {
    graph: &'g mut Graph,
    scope: ScopeId,
    /// The value with flat rows for each of the region's.
    flat: FxHashMap<ValueId, ValueId>,
    /// The leading sizes, where they have to be computed.
    sizes: Option<ValueId>,
    /// Targets that were computed from them.
    tails: FxHashMap<Vec<i64>, ValueId>,
}

impl Made<'_> {
    fn call(&mut self, op: OpKind, operands: &[Option<ValueId>], order: u32) -> NodeId {
        self.graph.add_node(self.scope, op, operands, 1, order)
    }

    fn result(&mut self, node: NodeId) -> ValueId {
        infer_node(self.graph, node);
        self.graph.result(node, 0).expect("a node that was made has a result")
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant(self.scope, "", tensor)
    }

    fn ask(&mut self, sizes: &Sizes, lead: usize, order: u32) {
        self.sizes = Some(match *sizes {
            Sizes::Known(value) => value,
            Sizes::Of(value) => {
                let shape = self.call(Shape, &[Some(value)], order);
                self.graph.set_attr(shape, "end", i64::try_from(lead).unwrap_or(i64::MAX).into());
                self.result(shape)
            }
        });
    }

    fn enter(&mut self, value: ValueId, entrance: Entrance, first: u32) {
        if let Some(flat) = entrance.flat {
            self.flat.insert(value, flat);
            return;
        }
        let last = self.graph.value(value).ty.shape().dims().and_then(|d| d.last()?.known());
        let maker = self.graph.producer(value).map(|(node, _)| node);
        let order = maker.map_or(first, |node| self.graph.node(node).order());
        let whole = match maker.filter(|_| entrance.free) {
            Some(view) => self.graph.operand(view, 0),
            None => Some(value),
        };
        let target = self.constant(Tensor::vector(&[-1, last.unwrap_or(-1)]));
        let reshape = self.call(Reshape, &[whole, Some(target)], order);
        let flat = self.result(reshape);
        self.flat.insert(value, flat);
    }

    /// An operand of a flat call.
    fn operand(&mut self, value: Option<ValueId>) -> Option<ValueId> {
        let value = value?;
        if let Some(&flat) = self.flat.get(&value) {
            return Some(flat);
        }
        // A constant of a row has at most the one axis.
        let Some(tensor) = self.graph.constant(value).filter(|t| t.rank() > 2) else { return Some(value) };
        let row = tensor.dims().last().copied().unwrap_or(1);
        let row = tensor.reshaped(&[row]).ok()?;
        Some(self.constant(row))
    }

    /// The same call on flat rows.
    fn repeat(&mut self, node: NodeId) {
        let (op, order) = (self.graph.node(node).op, self.graph.node(node).order());
        let operands: Vec<Option<ValueId>> = self.graph.operands(node).collect();
        let mut operands: Vec<Option<ValueId>> = operands.into_iter().map(|v| self.operand(v)).collect();
        if [ReduceMax, ReduceMean, ReduceSum, ReduceSumSquare].contains(&op) {
            // The last axis, from whichever side it was counted.
            operands[1] = Some(self.constant(Tensor::vector(&[-1])));
        }
        let new = self.call(op, &operands, order);
        let attrs = self.graph.node(node).attrs().to_vec();
        for (name, attr) in attrs {
            // The last axis, from whichever side it was counted.
            let attr = if name == "axis" { (-1i64).into() } else { attr };
            self.graph.set_attr(new, name, attr);
        }
        self.stands_for(new, node, node);
    }

    /// A sum and the product in it.
    fn merge(&mut self, sum: NodeId, product: NodeId, slot: usize) {
        let order = self.graph.node(product).order();
        let (x, weight) = (self.graph.operand(product, 0), self.graph.operand(product, 1));
        let (x, added) = (self.operand(x), self.graph.operand(sum, slot));
        let added = self.operand(added);
        let new = self.call(Gemm, &[x, weight, added], order);
        self.stands_for(new, sum, product);
    }

    /// `new` makes flat what `node` makes, and is called as `named`.
    fn stands_for(&mut self, new: NodeId, node: NodeId, named: NodeId) {
        let (name, carried) = (self.graph.node(named).name.clone(), self.graph.node(named).carried.clone());
        let made = self.graph.node_mut(new);
        (made.name, made.carried) = (name, carried);
        let flat = self.result(new);
        if let Some(value) = self.graph.result(node, 0) {
            self.flat.insert(value, flat);
        }
    }

    fn leave(&mut self, value: ValueId, views: Vec<(NodeId, Target)>, restored: Option<Target>) {
        let Some(&flat) = self.flat.get(&value) else { return };
        let order = self.graph.producer(value).map_or(0, |(node, _)| self.graph.node(node).order());
        for (view, target) in views {
            let target = self.target(&target, order);
            self.graph.set_operand(view, 0, Some(flat));
            self.graph.set_operand(view, 1, Some(target));
            self.graph.remove_attr(view, "allowzero");
        }
        if let Some(restored) = restored {
            let dtype = self.graph.value(value).ty.dtype();
            let target = self.target(&restored, order);
            let reshape = self.call(Reshape, &[Some(flat), Some(target)], order);
            let whole = self.result(reshape);
            let shape = crate::ir::Shape::of(restored.dims);
            self.graph.value_mut(whole).ty.refine(&Type::Tensor { dtype, shape });
            self.graph.replace(value, whole);
        }
    }

    /// The second operand of a reshape to `target`.
    fn target(&mut self, target: &Target, order: u32) -> ValueId {
        let tail = match (&target.said, self.sizes) {
            (Ok(said), _) => return self.constant(Tensor::vector(said)),
            (Err(tail), None) => return self.constant(Tensor::vector(tail)),
            (Err(tail), Some(_)) => tail.clone(),
        };
        if let Some(&there) = self.tails.get(&tail) {
            return there;
        }
        let behind = self.constant(Tensor::vector(&tail));
        let whole = self.call(Concat, &[self.sizes, Some(behind)], order);
        self.graph.set_attr(whole, "axis", 0i64.into());
        let value = self.result(whole);
        self.tails.insert(tail, value);
        value
    }
}
