//! The graph becomes the file's graph messages. Weights are not copied: messages hold slices of where they lie.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use fixedbitset::FixedBitSet;
use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};

use super::draft::GraphDraft;
use super::error::WriteError;
use super::labels::Labels;
use super::names::NodeNames;
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto};
use super::spelling::{self, Operand};
use super::tensor::{self, Spelling as Form};
use super::types::{self, DimNames};
use super::{carried, names};
use crate::ir::{Attr, Carried, DType, Data, Graph, NodeId, OpKind, Origin, ScopeId, Tensor, Type, ValueId};
use crate::model::Model;
use crate::ops::schema;

/// The opset that nodes are written in.
pub(super) struct Spelling {
    pub(super) opset: u32,
    read_opset: u32,
    /// Which values some node reads as it is written.
    read: FixedBitSet,
}

/// The first opset from `declared` on that has words for every node.
///
/// # Errors
/// When none has; what is missing in `declared` is named.
pub(super) fn spell(graph: &Graph, declared: u32, read_opset: u32) -> Result<Spelling, WriteError> {
    let nodes = match spell_all(graph, declared, read_opset) {
        Ok(spelling) => return Ok(spelling),
        Err(refused) => refused,
    };
    (declared..=schema::NEWEST_OPSET)
        .find_map(|opset| spell_all(graph, opset, read_opset).ok())
        .ok_or(WriteError::Opset { opset: declared.into(), nodes })
}

fn spell_all(graph: &Graph, opset: u32, read_opset: u32) -> Result<Spelling, Vec<String>> {
    let mut read = FixedBitSet::with_capacity(graph.value_bound());
    let mut refused = Vec::new();
    for id in graph.nodes() {
        match spelling::spell(graph, id, opset, read_opset) {
            Ok(words) => read.extend(words.operands.iter().filter_map(|operand| match operand {
                Operand::Value(value) => Some(value.index()),
                Operand::Absent | Operand::New(_) => None,
            })),
            Err(why) => refused.push(format!("{} \"{}\": {why}", graph.node(id).op_name(), graph.label(id))),
        }
    }
    if refused.is_empty() { Ok(Spelling { opset, read_opset, read }) } else { Err(refused) }
}

/// What [`graph`] makes.
pub(super) struct Emitted {
    pub(super) graph: GraphDraft,
    /// The first IR version that has what the messages say of graphs and nodes.
    pub(super) since: i64,
}

/// The main graph's message.
///
/// # Errors
/// When what is carried does not decode.
pub(super) fn graph(model: &Model, spelling: Spelling) -> Result<Emitted, WriteError> {
    let graph = &model.graph;
    let Spelling { opset, read_opset, mut read } = spelling;
    for scope in graph.scopes() {
        for output in graph.scope(scope).outputs() {
            read.insert(output.value().index());
        }
    }
    let constants_by_scope = constants(graph, &read);
    let mut emitter = Emitter {
        model,
        graph,
        opset,
        read_opset,
        main: GraphDraft::default(),
        results: FxHashSet::default(),
        since: 0,
        labels: Labels::new(graph, &|value| is_written(graph, value, &read)),
        constants: constants_by_scope,
        pool: FxHashMap::default(),
        pooled: Vec::new(),
    };
    let mut rest = emitter.scope(ScopeId::MAIN)?;
    rest.initializer.append(&mut emitter.pooled);
    emitter.main.rest = rest;
    Ok(Emitted { graph: emitter.main, since: emitter.since })
}

/// The constants that each graph is written with: those that something reads in the written form, and those that
/// nothing reads in any form.
fn constants(graph: &Graph, read: &FixedBitSet) -> FxHashMap<ScopeId, Vec<ValueId>> {
    let mut by_scope: FxHashMap<ScopeId, Vec<ValueId>> = FxHashMap::default();
    for value in graph.values() {
        let v = graph.value(value);
        if v.origin() == Origin::Constant && is_written(graph, value, read) {
            by_scope.entry(v.scope()).or_default().push(value);
        }
    }
    by_scope
}

/// Whether the written form has the value: all but constants that the written form of their users does not read.
fn is_written(graph: &Graph, value: ValueId, read: &FixedBitSet) -> bool {
    let v = graph.value(value);
    v.origin() != Origin::Constant || read.contains(value.index()) || v.users().is_empty()
}

struct Emitter<'a> {
    model: &'a Model,
    graph: &'a Graph,
    opset: u32,
    read_opset: u32,
    /// Nodes and descriptions of values of the main graph.
    main: GraphDraft,
    /// Names of what nodes of the main graph make, if annotations ask.
    results: FxHashSet<String>,
    /// See [`Emitted`].
    since: i64,
    labels: Labels,
    constants: FxHashMap<ScopeId, Vec<ValueId>>,
    /// Constants that only the written form has, by content.
    pool: FxHashMap<Tensor, Arc<str>>,
    pooled: Vec<TensorProto>,
}

impl Emitter<'_> {
    fn scope(&mut self, scope: ScopeId) -> Result<GraphProto, WriteError> {
        let s = self.graph.scope(scope);
        let mut proto: GraphProto = decode(&s.carried.bytes(), || format!("graph \"{}\"", s.name))?;
        if !s.name.is_empty() {
            proto.name = Some(s.name.to_string());
        }
        let parameters = std::mem::take(&mut proto.initializer);
        if !proto.metadata_props.is_empty() {
            self.since = self.since.max(10);
        }
        for &input in s.inputs() {
            let v = self.graph.value(input);
            proto.input.push(self.info(self.labels.of(input), &v.ty, &v.carried, input, scope)?);
            if let Some(default) = v.default() {
                proto.initializer.push(self.tensor(default, self.labels.of(input)));
            }
        }
        for value in self.constants.remove(&scope).unwrap_or_default() {
            self.constant(value, scope, &mut proto)?;
        }
        let schedule = self.graph.schedule(scope);
        if schedule.len() != self.graph.nodes_of(scope).count() {
            let at = format!("graph \"{}\"", s.name);
            return Err(WriteError::Defect(crate::ir::Defect { at, what: "nodes wait for each other".into() }));
        }
        let mut names = NodeNames::of(schedule.iter().map(|&id| Arc::clone(&self.graph.node(id).name)));
        let shown = self.labels.outputs(scope).iter().filter(|o| !o.copied).map(|o| Arc::clone(&o.name)).collect();
        for id in schedule {
            if !self.initializer(id, &mut proto)? {
                let mut node = self.node(id)?;
                if let Some(name) = node.name.as_mut().filter(|n| !n.is_empty()) {
                    *name = names.only(name).to_string();
                }
                self.push(node, scope, &mut proto);
            }
            self.value_infos(id, scope, &shown, &mut proto)?;
        }
        for (index, output) in s.outputs().iter().enumerate() {
            let Some(label) = self.labels.outputs(scope).get(index).cloned() else { continue };
            let shown = output.value();
            if label.copied {
                let copy = NodeProto {
                    input: vec![self.labels.of(shown).to_string()],
                    output: vec![label.name.to_string()],
                    op_type: Some("Identity".into()),
                    ..NodeProto::default()
                };
                self.push(copy, scope, &mut proto);
            }
            let ty = if output.declared == Type::Unknown { &self.graph.value(shown).ty } else { &output.declared };
            proto.output.push(self.info(&label.name, ty, &output.carried, shown, scope)?);
        }
        let results = if scope == ScopeId::MAIN { std::mem::take(&mut self.results) } else { FxHashSet::default() };
        annotations(&mut proto, parameters, results);
        Ok(proto)
    }

    /// Write the node next in its graph.
    fn push(&mut self, node: NodeProto, scope: ScopeId, proto: &mut GraphProto) {
        if !node.device_configurations.is_empty() {
            self.since = self.since.max(11);
        } else if !node.metadata_props.is_empty() || node.overload.is_some() {
            self.since = self.since.max(10);
        }
        if scope != ScopeId::MAIN {
            proto.node.push(node);
            return;
        }
        if !proto.quantization_annotation.is_empty() {
            self.results.extend(node.output.iter().cloned());
        }
        self.main.push_node(node);
    }

    /// Describe the results that the file described, but for those that are outputs under their own names: `shown`.
    fn value_infos(
        &mut self,
        id: NodeId,
        scope: ScopeId,
        shown: &FxHashSet<Arc<str>>,
        proto: &mut GraphProto,
    ) -> Result<(), WriteError> {
        for &value in self.graph.results(id).iter().flatten() {
            let v = self.graph.value(value);
            let name = self.labels.of(value);
            if !v.carried.is_empty() && !shown.contains(name) {
                let info = self.info(name, &v.ty, &v.carried, value, scope)?;
                match scope {
                    ScopeId::MAIN => self.main.push_value_info(&info),
                    _ => proto.value_info.push(info),
                }
            }
        }
        Ok(())
    }

    fn info(
        &self,
        name: &str,
        ty: &Type,
        rest: &Carried,
        value: ValueId,
        scope: ScopeId,
    ) -> Result<ValueInfoProto, WriteError> {
        let mut info: ValueInfoProto = decode(&rest.bytes(), || format!("value \"{name}\""))?;
        let names = if scope == ScopeId::MAIN { DimNames::Shared } else { DimNames::Local };
        info.r#type = carried::type_of(info.r#type.take(), ty, |proto| types::read(proto, value, names));
        info.name = Some(name.to_string());
        Ok(info)
    }

    fn tensor(&self, tensor: &Tensor, name: &str) -> TensorProto {
        let spelling = if self.model.numbers.contains(&tensor.dtype()) { Form::Numbers } else { Form::Raw };
        tensor::write(tensor, name, spelling)
    }

    fn constant(&mut self, value: ValueId, scope: ScopeId, proto: &mut GraphProto) -> Result<(), WriteError> {
        let v = self.graph.value(value);
        let Some(tensor) = v.constant() else { return Ok(()) };
        if let Some(node) = self.repeated(tensor, value) {
            self.push(node, scope, proto);
            return Ok(());
        }
        let name = self.labels.of(value);
        if tensor.as_strings().is_none() && tensor.bytes().is_none() {
            return Err(WriteError::TooOften(format!("constant \"{name}\", {tensor},")));
        }
        let mut made = self.tensor(tensor, name);
        if !v.carried.is_empty() {
            let rest: TensorProto = decode(&v.carried.bytes(), || format!("initializer \"{name}\""))?;
            (made.doc_string, made.metadata_props) = (rest.doc_string, rest.metadata_props);
        }
        proto.initializer.push(made);
        Ok(())
    }

    /// A `ConstantOfShape` for a large tensor of one repeated element, where the opset has it for the type.
    fn repeated(&mut self, tensor: &Tensor, value: ValueId) -> Option<NodeProto> {
        let Data::Splat(element) = tensor.data() else { return None };
        let spec = schema::lookup("", "ConstantOfShape", self.opset)?;
        let ty = format!("tensor({})", tensor.dtype().name());
        if !tensor.is_repeated() || !spec.output(0).is_some_and(|p| spec.types(p.ty).contains(&&*ty)) {
            return None;
        }
        let dims: Vec<i64> = tensor.dims().iter().map(|&d| i64::try_from(d)).collect::<Result<_, _>>().ok()?;
        let fill = Tensor::raw(tensor.dtype(), &[1], Bytes::copy_from_slice(element)).ok()?;
        let shape = self.pooled(Tensor::vector(&dims));
        Some(NodeProto {
            input: vec![shape.to_string()],
            output: vec![self.labels.of(value).to_string()],
            op_type: Some("ConstantOfShape".into()),
            attribute: vec![AttributeProto {
                name: Some("value".into()),
                r#type: Some(AttributeType::Tensor.into()),
                t: Some(tensor::write(&fill, "", Form::Raw)),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        })
    }

    /// The name of an initializer of the main graph with this content.
    fn pooled(&mut self, tensor: Tensor) -> Arc<str> {
        if let Some(name) = self.pool.get(&tensor) {
            return Arc::clone(name);
        }
        let name = self.labels.fresh();
        self.pooled.push(self.tensor(&tensor, &name));
        self.pool.insert(tensor, Arc::clone(&name));
        name
    }

    /// A constant that was carried unread goes back to where it was. Says whether the node was one.
    fn initializer(&self, id: NodeId, proto: &mut GraphProto) -> Result<bool, WriteError> {
        let node = self.graph.node(id);
        let Some(value) = self.graph.result(id, 0).filter(|_| node.op == OpKind::Constant) else { return Ok(false) };
        let [(_, Attr::Carried(bytes))] = node.attrs() else { return Ok(false) };
        let label = &self.graph.value(value).name;
        let attribute: AttributeProto = decode(bytes, || format!("constant \"{label}\""))?;
        let name = Some(self.labels.of(value).to_string());
        if let Some(SparseTensorProto { values: Some(values), indices, dims }) = attribute.sparse_tensor
            && values.name() == &**label
        {
            let values = Some(TensorProto { name, ..values });
            proto.sparse_initializer.push(SparseTensorProto { values, indices, dims });
            return Ok(true);
        }
        Ok(false)
    }

    fn node(&mut self, id: NodeId) -> Result<NodeProto, WriteError> {
        let node = self.graph.node(id);
        let mut proto: NodeProto = decode(&node.carried.bytes(), || format!("node \"{}\"", self.graph.label(id)))?;
        let remarks = std::mem::take(&mut proto.attribute);
        let words = spelling::spell(self.graph, id, self.opset, self.read_opset)
            .map_err(|why| WriteError::Opset { opset: self.opset.into(), nodes: vec![why] })?;
        for operand in words.operands {
            let name = match operand {
                Operand::Absent => String::new(),
                Operand::Value(value) => self.labels.of(value).to_string(),
                Operand::New(tensor) => self.pooled(tensor).to_string(),
            };
            proto.input.push(name);
        }
        let label = |v: &Option<ValueId>| v.map_or_else(String::new, |v| self.labels.of(v).to_string());
        proto.output = self.graph.results(id).iter().map(label).collect();
        if !node.name.is_empty() {
            proto.name = Some(node.name.to_string());
        }
        proto.op_type = Some(words.op_type.into_owned());
        // What is carried may be of the node that this one took the place of.
        if names::domain(proto.domain()) != node.domain() {
            proto.domain = Some(node.domain().to_string());
        }
        for (name, attr) in words.attrs {
            let mut attribute = self.attribute(&name, attr)?;
            if let Some(remark) = remarks.iter().find(|r| r.name() == name) {
                attribute.doc_string.clone_from(&remark.doc_string);
            }
            proto.attribute.push(attribute);
        }
        Ok(proto)
    }

    fn attribute(&mut self, name: &str, attr: Cow<'_, Attr>) -> Result<AttributeProto, WriteError> {
        let mut proto = AttributeProto { name: Some(name.to_string()), ..AttributeProto::default() };
        let kind = match &*attr {
            Attr::Int(i) => {
                proto.i = Some(*i);
                AttributeType::Int
            }
            Attr::Float(f) => {
                proto.f = Some(*f);
                AttributeType::Float
            }
            Attr::Str(s) => {
                proto.s = Some(s.clone());
                AttributeType::String
            }
            Attr::Tensor(t) => {
                proto.t = Some(self.tensor(t, ""));
                AttributeType::Tensor
            }
            Attr::Graph(body) => {
                proto.g = Some(self.scope(*body)?);
                AttributeType::Graph
            }
            Attr::Ints(ints) => {
                proto.ints.clone_from(ints);
                AttributeType::Ints
            }
            Attr::Floats(floats) => {
                proto.floats.clone_from(floats);
                AttributeType::Floats
            }
            Attr::Strs(strings) => {
                proto.strings.clone_from(strings);
                AttributeType::Strings
            }
            Attr::Tensors(tensors) => {
                proto.tensors = tensors.iter().map(|t| self.tensor(t, "")).collect();
                AttributeType::Tensors
            }
            Attr::Graphs(bodies) => {
                proto.graphs = bodies.iter().map(|body| self.scope(*body)).collect::<Result<_, _>>()?;
                AttributeType::Graphs
            }
            Attr::Type(ty) => {
                proto.tp = types::write(ty);
                AttributeType::TypeProto
            }
            Attr::Carried(bytes) => {
                let carried: AttributeProto = decode(bytes, || format!("attribute \"{name}\""))?;
                return Ok(AttributeProto { name: proto.name, ..carried });
            }
        };
        proto.r#type = Some(kind.into());
        Ok(proto)
    }
}

/// Keep the quantization annotations of tensors that are still there, with the parameters that they name.
fn annotations(proto: &mut GraphProto, mut parameters: Vec<TensorProto>, results: FxHashSet<String>) {
    if proto.quantization_annotation.is_empty() {
        return;
    }
    let there: FxHashSet<String> = names::defined(proto).map(str::to_string).chain(results).collect();
    proto.quantization_annotation.retain(|a| there.contains(a.tensor_name()));
    let entries = proto.quantization_annotation.iter().flat_map(|a| &a.quant_parameter_tensor_names);
    let named: FxHashSet<&str> = entries.map(|e| e.value()).collect();
    parameters.retain(|t| !there.contains(t.name()) && named.contains(t.name()));
    proto.initializer.append(&mut parameters);
}

fn decode<M: Message + Default>(bytes: &Bytes, at: impl FnOnce() -> String) -> Result<M, WriteError> {
    if bytes.is_empty() {
        return Ok(M::default());
    }
    M::decode(bytes.clone()).map_err(|_| WriteError::Carried(at()))
}

/// The element types of every constant and value, for the IR version that they need.
pub(super) fn dtypes(graph: &Graph) -> impl Iterator<Item = DType> {
    graph.values().filter_map(|v| graph.value(v).ty.dtype())
}
