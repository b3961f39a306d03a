//! The file's graph messages become the graph: names are resolved once, scope by scope, and then only label.

mod attributes;
mod nodes;

pub(super) use nodes::Nodes;

use std::sync::Arc;

use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};

use super::carried;
use super::error::Fault;
use super::external::Folder;
use super::options::{Defaults, ReadOptions};
use super::proto::attribute_proto::AttributeType;
use super::proto::{AttributeProto, GraphProto, SparseTensorProto, TensorProto, ValueInfoProto};
use super::tally::Tally;
use super::tensor::{self, Spelling};
use super::types::{self, DimNames};
use crate::ir::{Attr, DType, Graph, NodeId, OpKind, Origin, ScopeId, Tensor, ValueId};
use crate::mapped::Files;

/// Bodies within bodies beyond this are refused.
const MAX_DEPTH: usize = 64;

/// What of the model a graph is built with.
pub(super) struct Source<'a> {
    /// The opset of the default domain.
    pub(super) opset: u32,
    pub(super) ir_version: i64,
    pub(super) options: &'a ReadOptions,
    /// Functions of the model that stand in the default domain, which hide operators of that name.
    pub(super) hidden: FxHashSet<String>,
    pub(super) folder: &'a mut Folder,
    pub(super) files: &'a mut Files,
}

/// A graph on its way from messages.
pub(super) struct Builder<'a> {
    source: Source<'a>,
    pub(super) graph: Graph,
    levels: Vec<Level>,
    customs: FxHashMap<(String, String), Arc<(String, String)>>,
    /// Every node so far comes after what it reads.
    in_order: bool,
    /// Element types that the file spells as lists of numbers.
    pub(super) numbers: Vec<DType>,
    /// Nodes by operator, as the file spells them.
    pub(super) ops: Tally,
    /// Whether every message that was decoded here would encode to as many bytes.
    pub(super) is_whole: bool,
    /// Inputs with a default that are taken for constants, though the IR version lets callers give them.
    pub(super) frozen: usize,
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
    pub(super) fn new(source: Source<'a>) -> Builder<'a> {
        Builder {
            source,
            graph: Graph::default(),
            levels: Vec::new(),
            customs: FxHashMap::default(),
            in_order: true,
            numbers: Vec::new(),
            ops: Tally::default(),
            is_whole: true,
            frozen: 0,
        }
    }

    /// Build the main graph with everything in it.
    pub(super) fn main(&mut self, proto: GraphProto, nodes: Nodes) -> Result<(), Fault> {
        self.scope(proto, nodes, ScopeId::MAIN)?;
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

    fn scope(&mut self, mut proto: GraphProto, nodes: Nodes, scope: ScopeId) -> Result<(), Fault> {
        if self.levels.len() >= MAX_DEPTH {
            return Err(Fault::TooDeep(MAX_DEPTH));
        }
        let outer = self.here();
        self.levels.push(Level { scope, names: FxHashMap::default(), current: 0, at: outer });
        let initializers = std::mem::take(&mut proto.initializer);
        let sparse = std::mem::take(&mut proto.sparse_initializer);
        self.graph.scope_mut(scope).name = proto.name().into();
        self.graph.scope_mut(scope).carried = carried::graph(&proto, &initializers);

        self.inputs_and_initializers(&proto.input, initializers, sparse)?;
        self.nodes(nodes, std::mem::take(&mut proto.value_info))?;
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

    /// Make the name of `value` one that operands can say.
    fn define(&mut self, value: ValueId, at: impl FnOnce() -> String) -> Result<(), Fault> {
        let name = Arc::clone(&self.graph.value(value).name);
        if self.level().names.insert(Arc::clone(&name), value).is_some() {
            return Err(Fault::Redefined { at: self.at(&at()), value: name.to_string() });
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
        let overridable = match self.source.options.defaults {
            Defaults::Meant => {
                let listed: FxHashSet<&str> = inputs.iter().map(|i| i.name()).collect();
                !given.is_subset(&listed)
            }
            Defaults::Overridable => true,
            Defaults::Frozen => false,
        };
        let frozen = self.source.ir_version < 4 || (!overridable && scope == ScopeId::MAIN);
        for info in inputs {
            if info.name().is_empty() {
                return Err(Fault::Unnamed { at: self.at("a graph input") });
            }
            if frozen && given.contains(info.name()) {
                self.frozen += usize::from(self.source.ir_version >= 4);
                continue;
            }
            let input = self.graph.add_input(scope, info.name(), crate::ir::Type::Unknown);
            self.describe(input, info);
            self.define(input, || "a graph input".into())?;
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

    fn initializer(&mut self, proto: TensorProto) -> Result<(), Fault> {
        let name = proto.name().to_string();
        if name.is_empty() {
            return Err(Fault::Unnamed { at: self.at("an initializer") });
        }
        let scope = self.level().scope;
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
        self.define(value, || "an initializer".into())
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
        // The graph does not look into it: a `Constant` node. Its tensor's name tells the writer that it was an
        // initializer.
        let scope = self.level().scope;
        let node = self.graph.add_node(scope, OpKind::Constant, &[], 1, 0);
        self.graph.set_attr(node, "sparse_value", Attr::Carried(attribute.encode_to_vec().into()));
        if let Some(value) = self.graph.result(node, 0) {
            self.graph.value_mut(value).name = name.into();
            self.define(value, || "an initializer".into())?;
        }
        Ok(())
    }

    fn attach(&mut self, proto: &mut TensorProto) -> Result<(), Fault> {
        let Source { folder, files, .. } = &mut self.source;
        folder.attach(proto, files).map_err(|fault| Fault::External { tensor: proto.name().to_string(), fault })
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

    fn body(&mut self, node: NodeId, mut proto: GraphProto) -> Result<ScopeId, Fault> {
        let scope = self.graph.add_body(node, proto.name());
        let nodes = Nodes::Decoded(std::mem::take(&mut proto.node));
        self.scope(proto, nodes, scope)?;
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
