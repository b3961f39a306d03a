//! A call of a function that the model defines is replaced by the function's nodes.
//!
//! This happens on the file's own messages, before the graph is built: attribute references take the call's value
//! or the function's default, inner names become fresh ones, and functions that call functions are followed. A call
//! is kept as it is when the function was written against other operator versions than the model uses and one of its
//! operators changed in between, when the call is placed on devices, or when inlining would pass [`MAX_NODES`].

use std::collections::hash_map::Entry;

use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};

use super::compatible;
use super::error::Fault;
use super::names::{self, Names};
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto};

/// Inlining stops before the model has more nodes than this.
pub(super) const MAX_NODES: usize = 2_000_000;

/// Inlining stops before the model's messages have more bytes than this.
const MAX_BYTES: usize = 1 << 30;

/// Calls and bodies within each other beyond this are refused.
pub(super) const MAX_DEPTH: usize = 64;

/// What names a function: domain (empty for ai.onnx), name, overload.
type Id = (String, String, String);

/// Inline every call that can be, and drop the functions that nothing calls afterwards. Says what was kept and why.
///
/// # Errors
/// When two functions have one identity, when functions call each other in a circle or nest deeper than
/// [`MAX_DEPTH`], or when a call has more operands than its function.
pub(super) fn inline(model: &mut ModelProto) -> Result<Vec<String>, Fault> {
    if model.functions.is_empty() {
        return Ok(Vec::new());
    }
    let functions = std::mem::take(&mut model.functions);
    let mut table = FxHashMap::default();
    for (at, function) in functions.iter().enumerate() {
        if table.insert(id_of_function(function), at).is_some() {
            return Err(Fault::DuplicateFunction(display(&id_of_function(function))));
        }
    }
    let mut planner = Planner { functions: &functions, table: &table, plans: vec![None; functions.len()] };
    for at in 0..functions.len() {
        planner.plan(at, 0, &mut Vec::new())?;
    }
    let mut plans: Vec<Plan> = planner.plans.into_iter().flatten().collect();
    let mut kept = Vec::new();
    for (function, plan) in functions.iter().zip(&mut plans) {
        if plan.inlined
            && let Err(why) = adopt_opsets(&mut model.opset_import, function)
        {
            plan.inlined = false;
            kept.push(format!("function {} is kept: {why}", display(&id_of_function(function))));
        }
    }

    let Some(graph) = &mut model.graph else { return Ok(kept) };
    let total = expanded_size(&graph.node, &table, &plans);
    if total.nodes > MAX_NODES || total.bytes > MAX_BYTES {
        kept.push("functions are kept: inlined they are too large".into());
        plans.iter_mut().for_each(|p| p.inlined = false);
    }
    if plans.iter().any(|p| p.inlined) {
        let mut names = Names::default();
        names.note_graph(graph);
        let mut inliner = Inliner { functions: &functions, table: &table, plans: &plans, names, made: 0, bytes: 0 };
        inliner.graph(graph)?;
    }

    let mut called = FxHashSet::default();
    calls_in(&graph.node, &table, &mut called);
    for training in &model.training_info {
        for graph in [&training.initialization, &training.algorithm].into_iter().flatten() {
            calls_in(&graph.node, &table, &mut called);
        }
    }
    let mut pending: Vec<usize> = called.iter().copied().collect();
    while let Some(at) = pending.pop() {
        let mut inner = FxHashSet::default();
        calls_in(&functions[at].node, &table, &mut inner);
        pending.extend(inner.into_iter().filter(|i| called.insert(*i)));
    }
    model.functions =
        functions.iter().enumerate().filter(|(at, _)| called.contains(at)).map(|(_, f)| f.clone()).collect();
    Ok(kept)
}

/// What is known of one function before anything is changed.
#[derive(Clone)]
struct Plan {
    inlined: bool,
    /// What it takes after its own calls are inlined.
    size: Size,
    depth: usize,
}

/// How much there is. Sums saturate.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    fn of(node: &NodeProto) -> Size {
        Size { nodes: 1, bytes: node.encoded_len() }
    }

    fn add(&mut self, other: Size) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

struct Planner<'a> {
    functions: &'a [FunctionProto],
    table: &'a FxHashMap<Id, usize>,
    plans: Vec<Option<Plan>>,
}

impl Planner<'_> {
    /// Size and depth of function `at`, called `level` calls and bodies below where planning began.
    fn plan(&mut self, at: usize, level: usize, open: &mut Vec<usize>) -> Result<(Size, usize), Fault> {
        let function = &self.functions[at];
        let (size, depth) = match &self.plans[at] {
            Some(plan) => (plan.size, plan.depth),
            None => {
                if open.contains(&at) {
                    return Err(Fault::RecursiveFunction(display(&id_of_function(function))));
                }
                open.push(at);
                let (size, depth) = self.measure(&function.node, level, open)?;
                open.pop();
                self.plans[at] = Some(Plan { inlined: true, size, depth });
                (size, depth)
            }
        };
        if level + depth > MAX_DEPTH {
            return Err(Fault::FunctionsTooDeep(display(&id_of_function(function))));
        }
        Ok((size, depth))
    }

    /// How many nodes, and how many calls and bodies within each other.
    fn measure(&mut self, nodes: &[NodeProto], level: usize, open: &mut Vec<usize>) -> Result<(Size, usize), Fault> {
        let (mut size, mut depth) = (Size::default(), 0);
        if level > MAX_DEPTH {
            let name = open.last().map(|at| display(&id_of_function(&self.functions[*at])));
            return Err(Fault::FunctionsTooDeep(name.unwrap_or_default()));
        }
        for node in nodes {
            match self.table.get(&id_of_call(node)) {
                Some(&callee) => {
                    let (inner, levels) = self.plan(callee, level + 1, open)?;
                    size.add(inner);
                    depth = depth.max(levels + 1);
                }
                None => size.add(Size::of(node)),
            }
            for body in bodies(node) {
                let (inner, levels) = self.measure(&body.node, level + 1, open)?;
                size.add(inner);
                depth = depth.max(levels + 1);
            }
        }
        Ok((size, depth))
    }
}

/// What the names of a function or a body become, and those around it.
#[derive(Default)]
struct Renames<'a> {
    here: FxHashMap<&'a str, String>,
    outer: Option<&'a Renames<'a>>,
}

impl Renames<'_> {
    fn get(&self, name: &str) -> Option<&String> {
        std::iter::successors(Some(self), |names| names.outer).find_map(|names| names.here.get(name))
    }
}

struct Inliner<'a> {
    functions: &'a [FunctionProto],
    table: &'a FxHashMap<Id, usize>,
    plans: &'a [Plan],
    names: Names,
    /// Nodes made so far. Bodies that are passed as attributes may be used many times, which no plan tells.
    made: usize,
    /// Bytes of these nodes, but for those of tensors, which they share: names get longer, and attributes may be
    /// passed to many nodes.
    bytes: usize,
}

impl Inliner<'_> {
    fn graph(&mut self, graph: &mut GraphProto) -> Result<(), Fault> {
        let nodes = std::mem::take(&mut graph.node);
        graph.node = Vec::with_capacity(nodes.len());
        for node in nodes {
            self.node(node, &mut graph.node)?;
        }
        Ok(())
    }

    fn node(&mut self, mut node: NodeProto, out: &mut Vec<NodeProto>) -> Result<(), Fault> {
        for attribute in &mut node.attribute {
            for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                self.graph(body)?;
            }
        }
        let callee = self.table.get(&id_of_call(&node)).copied();
        match callee.filter(|at| self.plans[*at].inlined && node.device_configurations.is_empty()) {
            Some(at) => self.call(&node, at, out),
            None => {
                out.push(node);
                Ok(())
            }
        }
    }

    /// Put the nodes of function `at` in the place of `call`.
    fn call(&mut self, call: &NodeProto, at: usize, out: &mut Vec<NodeProto>) -> Result<(), Fault> {
        let function = &self.functions[at];
        let too_many = call.input.len() > function.input.len() || call.output.len() > function.output.len();
        if too_many {
            return Err(Fault::FunctionArity {
                at: names::node(call),
                function: display(&id_of_function(function)),
                inputs: function.input.len(),
                outputs: function.output.len(),
            });
        }
        let prefix = match call.name() {
            "" => function.name().to_string(),
            name => name.to_string(),
        };
        let mut map: FxHashMap<&str, String> = FxHashMap::default();
        for (slot, formal) in function.input.iter().enumerate() {
            map.insert(formal, call.input.get(slot).cloned().unwrap_or_default());
        }
        // A result that is an operand, or that an earlier result already names, needs a node to carry the new name.
        let mut copies: Vec<(&str, &str)> = Vec::new();
        for (formal, actual) in function.output.iter().zip(&call.output) {
            if actual.is_empty() {
                continue;
            }
            match map.entry(formal) {
                Entry::Vacant(slot) => {
                    slot.insert(actual.clone());
                }
                Entry::Occupied(_) => copies.push((formal, actual)),
            }
        }
        for body in &function.node {
            for name in body.output.iter().filter(|n| !n.is_empty()) {
                if !map.contains_key(name.as_str()) {
                    map.insert(name, self.names.fresh(&prefix, name));
                }
            }
        }
        let map = Renames { here: map, outer: None };
        for body in &function.node {
            let node = self.instance(body, &map, &prefix, Some((function, call)))?;
            self.node(node, out)?;
        }
        for (formal, actual) in copies {
            let source = map.get(formal).cloned().unwrap_or_default();
            out.push(NodeProto {
                input: vec![source],
                output: vec![actual.to_string()],
                name: Some(self.names.fresh(&prefix, "copy")),
                op_type: Some("Identity".into()),
                ..NodeProto::default()
            });
        }
        Ok(())
    }

    /// `node` with its names mapped and, inside a function, its attribute references resolved.
    fn instance(
        &mut self,
        node: &NodeProto,
        map: &Renames<'_>,
        prefix: &str,
        binding: Option<(&FunctionProto, &NodeProto)>,
    ) -> Result<NodeProto, Fault> {
        let rename = |name: &String| map.get(name.as_str()).unwrap_or(name).clone();
        let mut made = NodeProto {
            input: node.input.iter().map(rename).collect(),
            output: node.output.iter().map(rename).collect(),
            name: match node.name() {
                "" => node.name.clone(),
                name => Some(self.names.fresh(prefix, name)),
            },
            attribute: Vec::with_capacity(node.attribute.len()),
            ..node.clone_without_operands()
        };
        for attribute in &node.attribute {
            let reference = attribute.ref_attr_name();
            if reference.is_empty() || binding.is_none() {
                let body = |g: &GraphProto, this: &mut Self| this.body(g, map, prefix, binding);
                made.attribute.push(AttributeProto {
                    g: attribute.g.as_ref().map(|g| body(g, self)).transpose()?,
                    graphs: attribute.graphs.iter().map(|g| body(g, self)).collect::<Result<_, _>>()?,
                    ..attribute.clone_without_graphs()
                });
            } else if let Some(value) = binding.and_then(|(f, call)| resolve(f, call, reference)) {
                let none = Renames::default();
                made.attribute.push(AttributeProto {
                    name: attribute.name.clone(),
                    doc_string: attribute.doc_string.clone(),
                    g: value.g.as_ref().map(|g| self.body(g, &none, prefix, None)).transpose()?,
                    graphs: value.graphs.iter().map(|g| self.body(g, &none, prefix, None)).collect::<Result<_, _>>()?,
                    ..value.clone_without_graphs()
                });
            }
        }
        self.made += 1;
        self.bytes = self.bytes.saturating_add(own_bytes(&made));
        if self.made > MAX_NODES || self.bytes > MAX_BYTES {
            let function = binding.map_or_else(|| prefix.to_string(), |(f, _)| display(&id_of_function(f)));
            return Err(Fault::FunctionsTooLarge(function));
        }
        Ok(made)
    }

    /// A copy of a body in which every name that it defines is fresh.
    fn body(
        &mut self,
        graph: &GraphProto,
        outer: &Renames<'_>,
        prefix: &str,
        binding: Option<(&FunctionProto, &NodeProto)>,
    ) -> Result<GraphProto, Fault> {
        let here = names::defined(graph).map(|name| (name, self.names.fresh(prefix, name))).collect();
        let map = Renames { here, outer: Some(outer) };
        let rename = |name: &Option<String>| name.as_ref().map(|n| map.get(n.as_str()).unwrap_or(n).clone());
        let mut made = graph.clone_without_nodes();
        for info in made.input.iter_mut().chain(&mut made.output).chain(&mut made.value_info) {
            info.name = rename(&info.name);
        }
        for tensor in &mut made.initializer {
            tensor.name = rename(&tensor.name);
        }
        for sparse in &mut made.sparse_initializer {
            if let Some(values) = &mut sparse.values {
                values.name = rename(&values.name);
            }
        }
        for annotation in &mut made.quantization_annotation {
            annotation.tensor_name = rename(&annotation.tensor_name);
            for entry in &mut annotation.quant_parameter_tensor_names {
                entry.value = rename(&entry.value);
            }
        }
        made.node =
            graph.node.iter().map(|node| self.instance(node, &map, prefix, binding)).collect::<Result<_, _>>()?;
        Ok(made)
    }
}

/// Bytes that a copy of the node takes of its own: packed tensors are shared.
fn own_bytes(node: &NodeProto) -> usize {
    let tensors = node.attribute.iter().flat_map(|a| a.t.iter().chain(&a.tensors));
    let shared: usize = tensors.filter_map(|t| t.raw_data.as_ref()).map(|raw| raw.len()).sum();
    node.encoded_len().saturating_sub(shared)
}

/// The value that a reference to attribute `name` of the function has in this call.
fn resolve<'a>(function: &'a FunctionProto, call: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    call.attribute
        .iter()
        .chain(&function.attribute_proto)
        .find(|a| a.name() == name && (a.ref_attr_name().is_empty() || a.r#type() != AttributeType::Undefined))
        .filter(|a| a.ref_attr_name().is_empty())
}

/// Add the function's operator versions to the model's. An error says which operator means something else.
fn adopt_opsets(imports: &mut Vec<OperatorSetIdProto>, function: &FunctionProto) -> Result<(), String> {
    let mut missing = Vec::new();
    for import in &function.opset_import {
        let domain = names::domain(import.domain());
        match imports.iter().find(|i| names::domain(i.domain()) == domain) {
            None => missing.push(import.clone()),
            Some(model) if model.version() == import.version() => {}
            Some(model) => {
                let pair = (import.version(), model.version());
                if let Some(op) = changed_operator(&function.node, domain, pair) {
                    let domain = if domain.is_empty() { "ai.onnx" } else { domain };
                    let (from, to) = pair;
                    return Err(format!("it uses {op} of {domain} {from}, the model uses {domain} {to}"));
                }
            }
        }
    }
    imports.extend(missing);
    Ok(())
}

/// The first operator of `domain` that means something else in version `to` than in version `from`.
fn changed_operator(nodes: &[NodeProto], domain: &str, (from, to): (i64, i64)) -> Option<String> {
    let [old, new] = [from, to].map(|v| u32::try_from(v).unwrap_or(0));
    nodes.iter().find_map(|node| {
        let same = names::domain(node.domain()) != domain || compatible::keeps_meaning(node, old, new);
        if same {
            bodies(node).find_map(|body| changed_operator(&body.node, domain, (from, to)))
        } else {
            Some(node.op_type().to_string())
        }
    })
}

fn expanded_size(nodes: &[NodeProto], table: &FxHashMap<Id, usize>, plans: &[Plan]) -> Size {
    let mut size = Size::default();
    for node in nodes {
        size.add(table.get(&id_of_call(node)).map_or_else(|| Size::of(node), |at| plans[*at].size));
        for body in bodies(node) {
            size.add(expanded_size(&body.node, table, plans));
        }
    }
    size
}

fn calls_in(nodes: &[NodeProto], table: &FxHashMap<Id, usize>, called: &mut FxHashSet<usize>) {
    for node in nodes {
        called.extend(table.get(&id_of_call(node)));
        for body in bodies(node) {
            calls_in(&body.node, table, called);
        }
    }
}

fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs))
}

fn id_of_call(node: &NodeProto) -> Id {
    (names::domain(node.domain()).into(), node.op_type().into(), node.overload().into())
}

fn id_of_function(function: &FunctionProto) -> Id {
    (names::domain(function.domain()).into(), function.name().into(), function.overload().into())
}

fn display((domain, name, overload): &Id) -> String {
    match overload.as_str() {
        "" => format!("{domain}.{name}"),
        overload => format!("{domain}.{name}:{overload}"),
    }
}

impl NodeProto {
    fn clone_without_operands(&self) -> NodeProto {
        NodeProto {
            op_type: self.op_type.clone(),
            domain: self.domain.clone(),
            overload: self.overload.clone(),
            doc_string: self.doc_string.clone(),
            metadata_props: self.metadata_props.clone(),
            device_configurations: self.device_configurations.clone(),
            ..NodeProto::default()
        }
    }
}

impl AttributeProto {
    fn clone_without_graphs(&self) -> AttributeProto {
        AttributeProto {
            name: self.name.clone(),
            ref_attr_name: self.ref_attr_name.clone(),
            doc_string: self.doc_string.clone(),
            r#type: self.r#type,
            f: self.f,
            i: self.i,
            s: self.s.clone(),
            t: self.t.clone(),
            sparse_tensor: self.sparse_tensor.clone(),
            tp: self.tp.clone(),
            floats: self.floats.clone(),
            ints: self.ints.clone(),
            strings: self.strings.clone(),
            tensors: self.tensors.clone(),
            sparse_tensors: self.sparse_tensors.clone(),
            type_protos: self.type_protos.clone(),
            g: None,
            graphs: Vec::new(),
        }
    }
}

impl GraphProto {
    fn clone_without_nodes(&self) -> GraphProto {
        GraphProto {
            node: Vec::new(),
            name: self.name.clone(),
            initializer: self.initializer.clone(),
            doc_string: self.doc_string.clone(),
            input: self.input.clone(),
            output: self.output.clone(),
            value_info: self.value_info.clone(),
            quantization_annotation: self.quantization_annotation.clone(),
            sparse_initializer: self.sparse_initializer.clone(),
            metadata_props: self.metadata_props.clone(),
        }
    }
}
