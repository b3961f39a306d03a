//! A model's message on its way out. What there are many of in the main graph is encoded as soon as it is made:
//! messages take many times the room of their encoding.

use std::collections::BTreeMap;

use bytes::BufMut;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len, message};

use super::error::WriteError;
use super::names;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::tally::Tally;

/// Numbers of the fields that are encoded apart.
const GRAPH_OF_MODEL: u32 = 7;
const NODE_OF_GRAPH: u32 = 1;
const VALUE_INFO_OF_GRAPH: u32 = 13;

/// Encoded messages are gathered in pieces of about this many bytes.
const PIECE: usize = 256 * 1024;

/// A node that takes more bytes stays a message: its weights are slices of where they lie.
const MAX_COPIED: usize = 4 * 1024;

/// The main graph.
#[derive(Default)]
pub(super) struct GraphDraft {
    /// Everything but nodes and descriptions of values.
    pub(super) rest: GraphProto,
    nodes: Vec<Piece>,
    value_infos: Vec<Piece>,
    ops: Tally,
}

/// Some fields of a graph.
enum Piece {
    /// Complete fields.
    Encoded(Vec<u8>),
    /// A node that holds bodies or weights.
    Node(Box<NodeProto>),
}

impl Piece {
    fn encoded_len(&self) -> usize {
        match self {
            Piece::Encoded(bytes) => bytes.len(),
            Piece::Node(node) => message::encoded_len(NODE_OF_GRAPH, &**node),
        }
    }

    fn encode(&self, out: &mut impl BufMut) {
        match self {
            Piece::Encoded(bytes) => out.put_slice(bytes),
            Piece::Node(node) => message::encode(NODE_OF_GRAPH, &**node, out),
        }
    }
}

/// The end of the pieces, with room for `length` bytes.
fn end(pieces: &mut Vec<Piece>, length: usize) -> &mut Vec<u8> {
    let has_room = matches!(pieces.last(), Some(Piece::Encoded(bytes)) if bytes.len() + length <= PIECE);
    if !has_room {
        pieces.push(Piece::Encoded(Vec::new()));
    }
    match pieces.last_mut() {
        Some(Piece::Encoded(bytes)) => bytes,
        _ => unreachable!("the last piece is encoded"),
    }
}

impl GraphDraft {
    /// Another node.
    pub(super) fn push_node(&mut self, node: NodeProto) {
        self.ops.add(&node);
        let length = node.encoded_len();
        let has_body = node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty());
        if has_body || length > MAX_COPIED {
            self.nodes.push(Piece::Node(Box::new(node)));
        } else {
            message::encode(NODE_OF_GRAPH, &node, end(&mut self.nodes, length));
        }
    }

    /// Another description of a value.
    pub(super) fn push_value_info(&mut self, info: &ValueInfoProto) {
        message::encode(VALUE_INFO_OF_GRAPH, info, end(&mut self.value_infos, info.encoded_len()));
    }
}

/// A model's message, in the order of its fields.
pub(super) struct Draft {
    before_graph: ModelProto,
    nodes: Vec<Piece>,
    before_infos: GraphProto,
    value_infos: Vec<Piece>,
    after_infos: GraphProto,
    after_graph: ModelProto,
    /// Nodes by operator, bodies included.
    pub(super) ops: BTreeMap<String, usize>,
}

impl Draft {
    /// The message of a model, of which `model` is everything but the graph.
    pub(super) fn new(model: ModelProto, graph: GraphDraft) -> Draft {
        let GraphDraft { rest, nodes, value_infos, ops } = graph;
        let ModelProto { opset_import, metadata_props, training_info, functions, configuration, .. } = model;
        let after_graph = ModelProto {
            opset_import,
            metadata_props,
            training_info,
            functions,
            configuration,
            ..ModelProto::default()
        };
        let before_graph = ModelProto {
            ir_version: model.ir_version,
            producer_name: model.producer_name,
            producer_version: model.producer_version,
            domain: model.domain,
            model_version: model.model_version,
            doc_string: model.doc_string,
            ..ModelProto::default()
        };
        let GraphProto { quantization_annotation, sparse_initializer, metadata_props, .. } = rest;
        let after_infos =
            GraphProto { quantization_annotation, sparse_initializer, metadata_props, ..GraphProto::default() };
        let before_infos = GraphProto {
            name: rest.name,
            initializer: rest.initializer,
            doc_string: rest.doc_string,
            input: rest.input,
            output: rest.output,
            ..GraphProto::default()
        };
        let ops = ops.by_name();
        Draft { before_graph, nodes, before_infos, value_infos, after_infos, after_graph, ops }
    }

    /// The opset of ai.onnx.
    pub(super) fn opset(&self) -> i64 {
        let imports = self.after_graph.opset_import.iter();
        imports.filter(|i| names::domain(i.domain()).is_empty()).map(|i| i.version()).next().unwrap_or(1)
    }

    fn graph_len(&self) -> usize {
        let pieces: usize = self.nodes.iter().chain(&self.value_infos).map(Piece::encoded_len).sum();
        pieces + self.before_infos.encoded_len() + self.after_infos.encoded_len()
    }

    /// Bytes of the message.
    pub(super) fn encoded_len(&self) -> usize {
        let graph = self.graph_len();
        let around = self.before_graph.encoded_len() + self.after_graph.encoded_len();
        around + key_len(GRAPH_OF_MODEL) + encoded_len_varint(graph as u64) + graph
    }

    /// Encode the message as prost would.
    pub(super) fn encode(&self, out: &mut impl BufMut) {
        self.before_graph.encode_raw(out);
        encode_key(GRAPH_OF_MODEL, WireType::LengthDelimited, out);
        encode_varint(self.graph_len() as u64, out);
        self.nodes.iter().for_each(|piece| piece.encode(out));
        self.before_infos.encode_raw(out);
        self.value_infos.iter().for_each(|piece| piece.encode(out));
        self.after_infos.encode_raw(out);
        self.after_graph.encode_raw(out);
    }

    /// The message, encoded.
    pub(super) fn encode_to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.encode(&mut bytes);
        bytes
    }

    /// Call `f` with every initializer of the main graph, then with those of bodies.
    pub(super) fn each_initializer(&mut self, f: &mut impl FnMut(&mut TensorProto)) {
        fn graph(graph: &mut GraphProto, f: &mut impl FnMut(&mut TensorProto)) {
            graph.initializer.iter_mut().for_each(&mut *f);
            graph.node.iter_mut().for_each(|n| node(n, f));
        }
        fn node(node: &mut NodeProto, f: &mut impl FnMut(&mut TensorProto)) {
            let bodies = node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs));
            bodies.for_each(|body| graph(body, f));
        }
        graph(&mut self.before_infos, f);
        for piece in &mut self.nodes {
            if let Piece::Node(n) = piece {
                node(n, f);
            }
        }
    }

    /// The decoded message.
    ///
    /// # Errors
    /// When it nests deeper than messages may.
    pub(super) fn into_proto(self) -> Result<ModelProto, WriteError> {
        let Draft { mut before_graph, nodes, before_infos: mut graph, value_infos, after_infos, after_graph, .. } =
            self;
        for piece in nodes.into_iter().chain(value_infos) {
            match piece {
                Piece::Encoded(bytes) => {
                    graph.merge(&bytes[..]).map_err(|_| WriteError::Carried("the graph".into()))?
                }
                Piece::Node(node) => graph.node.push(*node),
            }
        }
        graph.quantization_annotation = after_infos.quantization_annotation;
        graph.sparse_initializer = after_infos.sparse_initializer;
        graph.metadata_props = after_infos.metadata_props;
        before_graph.graph = Some(graph);
        Ok(ModelProto {
            opset_import: after_graph.opset_import,
            metadata_props: after_graph.metadata_props,
            training_info: after_graph.training_info,
            functions: after_graph.functions,
            configuration: after_graph.configuration,
            ..before_graph
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{AttributeProto, StringStringEntryProto};
    use super::*;

    #[test]
    fn a_draft_encodes_as_its_message_does() {
        let text = |s: &str| Some(s.to_string());
        let entry = StringStringEntryProto { key: text("key"), value: text("value") };
        let model = ModelProto {
            ir_version: Some(8),
            doc_string: text("doc"),
            metadata_props: vec![entry.clone()],
            ..ModelProto::default()
        };
        let mut graph = GraphDraft {
            rest: GraphProto {
                name: text("main"),
                initializer: vec![TensorProto { name: text("w"), ..TensorProto::default() }],
                metadata_props: vec![entry],
                ..GraphProto::default()
            },
            ..GraphDraft::default()
        };
        let node = |op: &str| NodeProto { op_type: text(op), ..NodeProto::default() };
        graph.push_node(node("Abs"));
        let inner = TensorProto { name: text("v"), ..TensorProto::default() };
        let body = GraphProto { node: vec![node("Neg")], initializer: vec![inner], ..GraphProto::default() };
        let attribute = AttributeProto { g: Some(body), ..AttributeProto::default() };
        graph.push_node(NodeProto { attribute: vec![attribute], ..node("Loop") });
        let long = "x".repeat(MAX_COPIED);
        graph.push_node(NodeProto { doc_string: Some(long), ..node("Abs") });
        for i in 0..PIECE / 8 {
            graph.push_value_info(&ValueInfoProto { name: Some(i.to_string()), ..ValueInfoProto::default() });
        }
        let mut draft = Draft::new(model, graph);
        let mut initializers = Vec::new();
        draft.each_initializer(&mut |t| initializers.push(t.name().to_string()));
        assert_eq!(initializers, ["w", "v"]);
        assert!(draft.value_infos.len() > 1);
        assert_eq!(
            draft.ops.iter().map(|(op, n)| (&**op, *n)).collect::<Vec<_>>(),
            [("Abs", 2), ("Loop", 1), ("Neg", 1)]
        );
        let bytes = draft.encode_to_vec();
        assert_eq!(bytes.len(), draft.encoded_len());
        let proto = draft.into_proto().unwrap();
        assert_eq!(proto.encode_to_vec(), bytes);
        assert_eq!(ModelProto::decode(&bytes[..]).unwrap(), proto);
    }
}
