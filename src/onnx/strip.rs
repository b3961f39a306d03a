//! Taking away what a file says that no run needs.

use bytes::Bytes;
use prost::Message;

use super::carried;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::ir::{Carried, Origin};
use crate::model::Model;

impl Model {
    /// Take away how the model is trained, which speaks of tensors by their names.
    pub(crate) fn drop_training(&mut self) {
        self.carry(|proto| proto.training_info.clear());
    }

    /// Take away documentation, the metadata of graphs, nodes and values, and how the model is trained. With `all`,
    /// the metadata of the model too, which programs may read. Returns how many bytes that is.
    pub(crate) fn strip(&mut self, all: bool) -> usize {
        let mut bytes = self.carry(|proto| {
            proto.doc_string = None;
            proto.training_info.clear();
            for function in &mut proto.functions {
                function.doc_string = None;
                function.metadata_props.clear();
                function.node.iter_mut().for_each(bare_node);
                function.value_info.iter_mut().for_each(bare_value);
            }
            if all {
                proto.metadata_props.clear();
            }
        });
        let graph = &mut self.graph;
        for scope in graph.scopes().collect::<Vec<_>>() {
            bytes += strip(&mut graph.scope_mut(scope).carried, |proto: &mut GraphProto| {
                proto.doc_string = None;
                proto.metadata_props.clear();
            });
            for index in 0..graph.scope(scope).outputs().len() {
                bytes += strip_value(&mut graph.output_mut(scope, index).carried);
            }
        }
        for node in graph.nodes().collect::<Vec<_>>() {
            bytes += strip(&mut graph.node_mut(node).carried, bare_node);
        }
        for value in graph.values().collect::<Vec<_>>() {
            let is_constant = graph.value(value).origin() == Origin::Constant;
            let carried = &mut graph.value_mut(value).carried;
            bytes += if is_constant {
                strip(carried, |proto: &mut TensorProto| {
                    proto.doc_string = None;
                    proto.metadata_props.clear();
                })
            } else {
                strip_value(carried)
            };
        }
        bytes
    }

    /// Change what is carried around the graph. Returns the bytes that it takes less.
    fn carry(&mut self, change: impl FnOnce(&mut ModelProto)) -> usize {
        // What was carried was encoded by the reader; a model that was built carries nothing.
        let Ok(mut proto) = ModelProto::decode(self.carried.clone()) else { return 0 };
        let before = self.carried.len();
        change(&mut proto);
        self.carried = proto.encode_to_vec().into();
        before.saturating_sub(self.carried.len())
    }
}

fn bare_node(node: &mut NodeProto) {
    node.doc_string = None;
    node.metadata_props.clear();
    node.attribute.iter_mut().for_each(|a| a.doc_string = None);
}

fn bare_value(info: &mut ValueInfoProto) {
    info.doc_string = None;
    info.metadata_props.clear();
}

/// A description that says nothing more still says that there is one.
fn strip_value(from: &mut Carried) -> usize {
    let had = !from.is_empty();
    let bytes = strip(from, bare_value);
    if had && from.is_empty() {
        *from = carried::mentioned();
    }
    bytes
}

fn strip<M: Message + Default>(from: &mut Carried, change: impl FnOnce(&mut M)) -> usize {
    if from.is_empty() {
        return 0;
    }
    let before = from.bytes();
    let Ok(mut message) = M::decode(before.clone()) else { return 0 };
    change(&mut message);
    let after: Bytes = message.encode_to_vec().into();
    let saved = before.len().saturating_sub(after.len());
    if saved > 0 {
        *from = after.into();
    }
    saved
}
