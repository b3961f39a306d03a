//! The file's graph messages become the graph: names are resolved once, scope by scope, and then only label.

mod attributes;

use std::borrow::Cow;
use std::sync::Arc;

use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};

use super::error::Fault;
use super::external::Folder;
use super::mapped::Files;
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto};
use super::read::{Defaults, ReadOptions};
use super::tensor::{self, Spelling};
use super::types::{self, DimNames};
use super::{carried, names};
use crate::ir::{Attr, DType, Graph, NodeId, OpKind, Origin, ScopeId, Tensor, ValueId};
use crate::ops::schema::{self, ParamKind};

/// Bodies within bodies beyond this are refused.
const MAX_DEPTH: usize = 64;

/// What of the model a graph is built with.
pub(super) struct Builder<'a> {
    pub(super) graph: Graph,
    /// The opset of the default domain.
    opset: u32,
    ir_version: i64,
    options: &'a ReadOptions,
    /// Functions of the model that stand in the default domain, which hide operators of that name.
    hidden: FxHashSet<String>,
    folder: &'a mut Folder,
    files: &'a mut Files,
    levels: Vec<Level>,
    customs: FxHashMap<(String, String), Arc<(String, String)>>,
    /// Every node so far comes after what it reads.
    in_order: bool,
    /// Element types that the file spells as lists of numbers.
    pub(super) numbers: Vec<DType>,
}

/// One graph being built and the names that it defines.
struct Level {
    scope: ScopeId,
    names: FxHashMap<Arc<str>, ValueId>,
    /// The node of this level whose operands or bodies are being connected.
    current: u32,
    /// How messages call that node.
    at: String,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        opset: u32,
        ir_version: i64,
        options: &'a ReadOptions,
        hidden: FxHashSet<String>,
        folder: &'a mut Folder,
        files: &'a mut Files,
    ) -> Builder<'a> {
        Builder {
            graph: Graph::default(),
            opset,
            ir_version,
            options,
            hidden,
            folder,
            files,
            levels: Vec::new(),
            customs: FxHashMap::default(),
            in_order: true,
            numbers: Vec::new(),
        }
    }

    /// Build the main graph with everything in it.
    pub(super) fn main(&mut self, proto: GraphProto) -> Result<(), Fault> {
        self.scope(proto, ScopeId::MAIN)?;
        if self.in_order {
            return Ok(());
        }
        for scope in self.graph.scopes() {
            let sorted: FxHashSet<NodeId> = self.graph.schedule(scope).into_iter().collect();
            let waiting: Vec<NodeId> = self.graph.nodes_of(scope).filter(|n| !sorted.contains(n)).collect();
            if !waiting.is_empty() {
                let label = |&n: &NodeId| format!("{} \"{}\"", self.graph.node(n).op_name(), self.graph.label(n));
                return Err(Fault::Cycle { nodes: waiting.iter().take(8).map(label).collect() });
            }
        }
        Ok(())
    }

    fn scope(&mut self, mut proto: GraphProto, scope: ScopeId) -> Result<(), Fault> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(Fault::TooDeep(MAX_DEPTH));
        }
        let outer = self.here();
        self.levels.push(Level { scope, names: FxHashMap::default(), current: 0, at: outer });
        let nodes = std::mem::take(&mut proto.node);
        let initializers = std::mem::take(&mut proto.initializer);
        let sparse = std::mem::take(&mut proto.sparse_initializer);
        self.graph.scope_mut(scope).name = proto.name().into();
        self.graph.scope_mut(scope).carried = carried::graph(&proto, &initializers);

        self.inputs_and_initializers(&proto.input, initializers, sparse)?;
        let infos: FxHashMap<&str, &ValueInfoProto> = proto.value_info.iter().map(|i| (i.name(), i)).collect();
        let mut made = Vec::with_capacity(nodes.len());
        for (order, node) in nodes.into_iter().enumerate() {
            let order = u32::try_from(order).unwrap_or(u32::MAX);
            if let Some((id, node)) = self.results(node, order, &infos)? {
                made.push((id, node));
            }
        }
        for (id, node) in made {
            self.connect(id, node)?;
        }
        for output in &proto.output {
            self.output(output, scope)?;
        }
        self.levels.pop();
        Ok(())
    }

    /// The path of nodes down to the one at work.
    fn here(&self) -> String {
        self.levels.last().map_or_else(String::new, |l| l.at.clone())
    }

    fn at(&self, what: &str) -> String {
        match self.levels.len() {
            0 | 1 => what.to_string(),
            n => format!("{} › {what}", self.levels[n - 2].at),
        }
    }

    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("a graph is being built")
    }

    fn dim_names(&self) -> DimNames {
        if self.levels.len() == 1 { DimNames::Shared } else { DimNames::Local }
    }

    fn define(&mut self, name: &str, value: ValueId, at: impl FnOnce() -> String) -> Result<(), Fault> {
        if self.level().names.insert(name.into(), value).is_some() {
            return Err(Fault::Redefined { at: self.at(&at()), value: name.into() });
        }
        Ok(())
    }

    fn inputs_and_initializers(
        &mut self,
        inputs: &[ValueInfoProto],
        initializers: Vec<TensorProto>,
        sparse: Vec<SparseTensorProto>,
    ) -> Result<(), Fault> {
        let scope = self.level().scope;
        // Before IR version 4 every initializer is listed as an input too, which says nothing.
        let given: FxHashSet<&str> = initializers
            .iter()
            .map(|t| t.name())
            .chain(sparse.iter().filter_map(|s| s.values.as_ref()).map(|v| v.name()))
            .collect();
        let overridable = match self.options.defaults {
            Defaults::Meant => {
                let listed: FxHashSet<&str> = inputs.iter().map(|i| i.name()).collect();
                !given.is_subset(&listed)
            }
            Defaults::Overridable => true,
            Defaults::Frozen => false,
        };
        let frozen = self.ir_version < 4 || (!overridable && scope == ScopeId::MAIN);
        for info in inputs {
            if info.name().is_empty() {
                return Err(Fault::Unnamed { at: self.at("a graph input") });
            }
            if frozen && given.contains(info.name()) {
                continue;
            }
            let input = self.graph.add_input(scope, info.name(), crate::ir::Type::Unknown);
            self.describe(input, info);
            self.define(info.name(), input, || "a graph input".into())?;
        }
        drop(given);
        for tensor in initializers {
            self.initializer(tensor)?;
        }
        for tensor in sparse {
            self.sparse_initializer(tensor)?;
        }
        Ok(())
    }

    /// Type and remarks of a value. What the graph cannot hold of the type is carried beside it.
    fn describe(&mut self, value: ValueId, info: &ValueInfoProto) {
        let names = self.dim_names();
        let ty = info.r#type.as_ref().map(|t| types::read(t, value, names)).unwrap_or_default();
        let v = self.graph.value_mut(value);
        v.carried = carried::value(info, &ty);
        v.ty = ty;
    }

    fn initializer(&mut self, mut proto: TensorProto) -> Result<(), Fault> {
        let name = proto.name().to_string();
        if name.is_empty() {
            return Err(Fault::Unnamed { at: self.at("an initializer") });
        }
        let scope = self.level().scope;
        if tensor::is_carried(&proto) {
            self.attach(&mut proto)?;
            let attribute = AttributeProto {
                name: Some("value".into()),
                r#type: Some(AttributeType::Tensor.into()),
                t: Some(proto),
                ..AttributeProto::default()
            };
            return self.carried_constant(&name, "value", &attribute);
        }
        let remarks = carried::tensor(&proto);
        let tensor = self.tensor(proto, "")?;
        if let Some(&input) = self.level().names.get(name.as_str())
            && self.graph.value(input).origin() == Origin::Input
            && self.graph.value(input).default().is_none()
        {
            self.graph.set_default(input, tensor);
            return Ok(());
        }
        let value = self.graph.add_constant(scope, &name, tensor);
        self.graph.value_mut(value).carried = remarks;
        self.define(&name, value, || "an initializer".into())
    }

    fn sparse_initializer(&mut self, mut proto: SparseTensorProto) -> Result<(), Fault> {
        let name = proto.values.as_ref().map_or("", |v| v.name()).to_string();
        if name.is_empty() {
            return Err(Fault::Unnamed { at: self.at("a sparse initializer") });
        }
        for part in proto.values.iter_mut().chain(&mut proto.indices) {
            self.attach(part)?;
        }
        let attribute = AttributeProto {
            name: Some("sparse_value".into()),
            r#type: Some(AttributeType::SparseTensor.into()),
            sparse_tensor: Some(proto),
            ..AttributeProto::default()
        };
        self.carried_constant(&name, "sparse_value", &attribute)
    }

    /// A constant that the graph does not look into: a `Constant` node. Its tensor's name tells the writer that it
    /// was an initializer.
    fn carried_constant(&mut self, name: &str, key: &'static str, attribute: &AttributeProto) -> Result<(), Fault> {
        let scope = self.level().scope;
        let node = self.graph.add_node(scope, OpKind::Constant, &[], 1, 0);
        self.graph.set_attr(node, key, Attr::Carried(attribute.encode_to_vec().into()));
        if let Some(value) = self.graph.result(node, 0) {
            self.graph.value_mut(value).name = name.into();
            self.define(name, value, || "an initializer".into())?;
        }
        Ok(())
    }

    fn attach(&mut self, proto: &mut TensorProto) -> Result<(), Fault> {
        self.folder
            .attach(proto, self.files)
            .map_err(|fault| Fault::External { tensor: proto.name().to_string(), fault })
    }

    fn tensor(&mut self, mut proto: TensorProto, at: &str) -> Result<Tensor, Fault> {
        self.attach(&mut proto)?;
        let (tensor, spelling) = tensor::read(&proto).map_err(|fault| Fault::Tensor {
            at: at.into(),
            tensor: proto.name().to_string(),
            fault,
        })?;
        if spelling == Spelling::Numbers && !self.numbers.contains(&tensor.dtype()) {
            self.numbers.push(tensor.dtype());
        }
        Ok(tensor)
    }

    /// The node with its results, not yet its operands. `None` when it is a constant, which is no node here.
    fn results(
        &mut self,
        mut node: NodeProto,
        order: u32,
        infos: &FxHashMap<&str, &ValueInfoProto>,
    ) -> Result<Option<(NodeId, NodeProto)>, Fault> {
        let scope = self.level().scope;
        let op = self.op(&node);
        if op == OpKind::Constant
            && let Some(tensor) = self.constant(&mut node)?
        {
            let name = std::mem::take(&mut node.output[0]);
            let value = self.graph.add_constant(scope, &name, tensor);
            self.define(&name, value, || names::node(&node))?;
            return Ok(None);
        }
        let id = self.graph.add_node(scope, op, &[], node.output.len(), order);
        let n = self.graph.node_mut(id);
        n.name = node.name().into();
        n.carried = carried::node(&node, op);
        if op == OpKind::Custom {
            let key = (names::domain(node.domain()).to_string(), node.op_type().to_string());
            let custom = self.customs.entry(key).or_insert_with_key(|key| Arc::new(key.clone()));
            self.graph.node_mut(id).custom = Some(Arc::clone(custom));
        }
        for (slot, name) in node.output.iter().enumerate() {
            let Some(value) = self.graph.result(id, slot) else { continue };
            if name.is_empty() {
                continue;
            }
            self.graph.value_mut(value).name = name.as_str().into();
            if let Some(info) = infos.get(name.as_str()) {
                self.describe(value, info);
            }
            self.define(name, value, || names::node(&node))?;
        }
        // How many results a variadic operator has is part of what it computes, so those keep their place.
        let spec = schema::lookup("", op.name(), self.opset);
        let counted = |slot| spec.and_then(|s| s.output(slot)).is_some_and(|p| p.kind == ParamKind::Variadic);
        for slot in (0..node.output.len()).rev().filter(|&slot| node.output[slot].is_empty() && !counted(slot)) {
            self.graph.drop_result(id, slot);
        }
        Ok(Some((id, node)))
    }

    /// Which operator a node calls: one of the table if the model's opset has it under this name.
    fn op(&self, node: &NodeProto) -> OpKind {
        let plain = names::domain(node.domain()).is_empty()
            && node.overload().is_empty()
            && !self.hidden.contains(node.op_type())
            && schema::lookup("", node.op_type(), self.opset).is_some_and(|s| !s.deprecated);
        if plain { OpKind::from_name(node.op_type()).unwrap_or(OpKind::Custom) } else { OpKind::Custom }
    }

    /// Give a node its operands, attributes and bodies.
    fn connect(&mut self, id: NodeId, node: NodeProto) -> Result<(), Fault> {
        let at = self.at(&names::node(&node));
        let current = self.graph.node(id).order();
        let level = self.level();
        (level.current, level.at) = (current, at);
        for (slot, name) in node.input.iter().enumerate() {
            let value = if name.is_empty() { None } else { Some(self.resolve(name)?) };
            self.graph.set_operand(id, slot, value);
        }
        let spec = schema::newest(self.graph.node(id).domain(), node.op_type());
        for attribute in node.attribute {
            let name = match spec.and_then(|s| s.attr(attribute.name())) {
                Some(known) => Cow::Borrowed(known.name),
                None => Cow::Owned(attribute.name().to_string()),
            };
            let trouble = |what| Fault::Attribute { at: self.here(), attribute: name.to_string(), what };
            if name.is_empty() {
                return Err(trouble("has no name"));
            }
            if self.graph.node(id).attr(&name).is_some() {
                return Err(trouble("stands twice"));
            }
            let attr = self.attribute(id, attribute)?;
            self.graph.set_attr(id, name, attr);
        }
        Ok(())
    }

    fn resolve(&mut self, name: &str) -> Result<ValueId, Fault> {
        let found = self.levels.iter().rev().find_map(|l| l.names.get(name).map(|&v| (v, l.current)));
        let (value, current) = found.ok_or_else(|| Fault::Undefined { at: self.here(), value: name.to_string() })?;
        if let Some((producer, _)) = self.graph.producer(value)
            && self.graph.node(producer).order() >= current
        {
            self.in_order = false;
        }
        Ok(value)
    }

    fn body(&mut self, node: NodeId, proto: GraphProto) -> Result<ScopeId, Fault> {
        let scope = self.graph.add_body(node, proto.name());
        self.scope(proto, scope)?;
        Ok(scope)
    }

    fn output(&mut self, info: &ValueInfoProto, scope: ScopeId) -> Result<(), Fault> {
        let name = info.name();
        if name.is_empty() {
            return Err(Fault::Unnamed { at: self.at("a graph output") });
        }
        // Names of outer graphs are not looked at by most runtimes here, but they are what a file can mean.
        let at = self.at("a graph output");
        let found = self.levels.iter().rev().find_map(|l| l.names.get(name).copied());
        let value = found.ok_or_else(|| Fault::Undefined { at, value: name.to_string() })?;
        let names = self.dim_names();
        let ty = info.r#type.as_ref().map(|t| types::read(t, value, names)).unwrap_or_default();
        let carried = carried::value(info, &ty);
        // Of an input, its own declaration tells, and a constant itself.
        if matches!(self.graph.value(value).origin(), Origin::Node(..)) {
            self.graph.value_mut(value).ty.refine(&ty);
        }
        self.graph.add_output(scope, name, value, ty);
        let index = self.graph.scope(scope).outputs().len() - 1;
        self.graph.output_mut(scope, index).carried = carried;
        Ok(())
    }
}
