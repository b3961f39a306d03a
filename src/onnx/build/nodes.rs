//! Nodes become the graph's, each decoded for as long as that takes where the file allows it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::super::error::Fault;
use super::super::proto::{NodeProto, ValueInfoProto};
use super::super::sparing::Encoded;
use super::super::{carried, names};
use super::Builder;
use crate::ir::{NodeId, OpKind, Origin, ValueId};
use crate::ops::schema::{self, ParamKind};

/// The nodes of a graph.
pub(in crate::onnx) enum Nodes {
    /// Of a body, or of a model whose functions were inlined.
    Decoded(Vec<NodeProto>),
    /// Of the main graph, with the descriptions of its values.
    Encoded(Encoded),
}

impl Nodes {
    /// Whether something holds for a node.
    ///
    /// # Errors
    /// When one is malformed.
    pub(in crate::onnx) fn any(&self, holds: impl Fn(&NodeProto) -> bool) -> Result<bool, Fault> {
        match self {
            Nodes::Decoded(nodes) => Ok(nodes.iter().any(holds)),
            Nodes::Encoded(encoded) => {
                for node in encoded.nodes() {
                    if holds(&encoded.decode(&node)?) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

impl Builder<'_> {
    /// Make the nodes of the graph at work, and describe the results that `infos` describe.
    pub(super) fn nodes(&mut self, nodes: Nodes, infos: Vec<ValueInfoProto>) -> Result<(), Fault> {
        // What comes from here on are results of nodes; descriptions of other values say nothing.
        let first = self.graph.value_bound();
        match nodes {
            Nodes::Decoded(nodes) => {
                let mut made = Vec::with_capacity(nodes.len());
                for (order, node) in nodes.into_iter().enumerate() {
                    self.count(&node);
                    made.extend(self.results(node, order)?);
                }
                infos.iter().for_each(|info| self.describe_result(info, first));
                made.into_iter().try_for_each(|(id, node)| self.connect(id, node))
            }
            Nodes::Encoded(encoded) => {
                let mut waiting = Vec::new();
                for (order, message) in encoded.nodes().enumerate() {
                    let node = self.decode(&encoded, &message)?;
                    self.count(&node);
                    let is_ready = self.is_ready(&node);
                    match self.results(node, order)? {
                        Some((id, node)) if is_ready => self.connect(id, node)?,
                        Some((id, _)) => waiting.push((id, message)),
                        None => {}
                    }
                }
                for message in encoded.value_infos() {
                    let info = self.decode(&encoded, &message)?;
                    self.describe_result(&info, first);
                }
                waiting.into_iter().try_for_each(|(id, message)| self.connect(id, encoded.decode(&message)?))
            }
        }
    }

    fn decode<M: Message + Default>(&mut self, encoded: &Encoded, bytes: &Bytes) -> Result<M, Fault> {
        let message: M = encoded.decode(bytes)?;
        self.is_whole &= message.encoded_len() == bytes.len();
        Ok(message)
    }

    fn count(&mut self, node: &NodeProto) {
        // The nodes of bodies are counted with the node that runs them.
        if self.levels.len() == 1 {
            self.ops.add(node);
        }
    }

    /// Whether everything is there that the node reads. Of bodies that is not known before they are built.
    fn is_ready(&mut self, node: &NodeProto) -> bool {
        let level = self.level();
        node.input.iter().all(|name| name.is_empty() || level.names.contains_key(name.as_str()))
            && node.attribute.iter().all(|a| a.g.is_none() && a.graphs.is_empty())
    }

    fn describe_result(&mut self, info: &ValueInfoProto, first: usize) {
        let Some(&value) = self.level().names.get(info.name()) else { return };
        if value.index() >= first && matches!(self.graph.value(value).origin(), Origin::Node(..)) {
            self.describe(value, info);
        }
    }

    /// The node with its results, not yet its operands. `None` when it is a constant, which is no node here.
    fn results(&mut self, mut node: NodeProto, order: usize) -> Result<Option<(NodeId, NodeProto)>, Fault> {
        let order = u32::try_from(order).unwrap_or(u32::MAX);
        let scope = self.level().scope;
        let op = self.op(&node);
        if op == OpKind::Constant
            && let Some(tensor) = self.constant(&mut node)?
        {
            let name = std::mem::take(&mut node.output[0]);
            let value = self.graph.add_constant(scope, &name, tensor);
            self.define(value, || names::node(&node))?;
            return Ok(None);
        }
        let id = self.graph.add_node(scope, op, &[], node.output.len(), order);
        let n = self.graph.node_mut(id);
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
            self.define(value, || names::node(&node))?;
        }
        // Exporters often give a node the name of its result.
        let same = self.graph.result(id, 0).map(|v| Arc::clone(&self.graph.value(v).name));
        let name = same.filter(|same| **same == *node.name()).unwrap_or_else(|| node.name().into());
        self.graph.node_mut(id).name = name;
        // How many results a variadic operator has is part of what it computes, so those keep their place.
        let spec = schema::lookup("", op.name(), self.source.opset);
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
            && !self.source.hidden.contains(node.op_type())
            && match schema::lookup("", node.op_type(), self.source.opset) {
                Some(version) => !version.deprecated,
                // Before ONNX had it, onnxruntime had it under the same name, with the same operands.
                None => node.op_type() == OpKind::LayerNormalization.name(),
            };
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
}
