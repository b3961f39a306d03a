//! What the file says of nodes, values and graphs that the graph does not hold: kept in the file's own encoding.
//!
//! Each function here takes the parts that are held out of a message and encodes the rest; the writer decodes the
//! rest and puts the parts back in.

use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use rustc_hash::FxHashSet;

use super::names;
use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto};
use super::types;
use crate::ir::{Carried, OpKind, Type};

/// Of a model whose graph has been taken out: all but the IR version. The imports stay for how they spell their
/// domains.
pub(super) fn model(model: &ModelProto) -> Bytes {
    ModelProto { ir_version: None, ..model.clone() }.encode_to_vec().into()
}

/// Of a graph: documentation, metadata, quantization annotations and the tensors that these name.
pub(super) fn graph(graph: &GraphProto, initializers: &[TensorProto]) -> Carried {
    let parameters: FxHashSet<&str> = graph
        .quantization_annotation
        .iter()
        .flat_map(|a| &a.quant_parameter_tensor_names)
        .map(|entry| entry.value())
        .collect();
    let rest = GraphProto {
        // An empty name and an absent one are told apart.
        name: graph.name.clone().filter(String::is_empty),
        doc_string: graph.doc_string.clone(),
        metadata_props: graph.metadata_props.clone(),
        quantization_annotation: graph.quantization_annotation.clone(),
        initializer: initializers.iter().filter(|t| parameters.contains(t.name())).cloned().collect(),
        ..GraphProto::default()
    };
    rest.encode_to_vec().into()
}

/// Of a node: documentation, metadata, devices, overload, remarks on attributes, and how it spells its domain.
pub(super) fn node(node: &NodeProto, op: OpKind) -> Carried {
    let remarks = node.attribute.iter().filter(|a| a.doc_string.is_some());
    let rest = NodeProto {
        name: node.name.clone().filter(String::is_empty),
        domain: node.domain.clone().filter(|d| op != OpKind::Custom || names::domain(d).is_empty()),
        overload: node.overload.clone(),
        doc_string: node.doc_string.clone(),
        metadata_props: node.metadata_props.clone(),
        device_configurations: node.device_configurations.clone(),
        attribute: remarks
            .map(|a| AttributeProto {
                name: a.name.clone(),
                doc_string: a.doc_string.clone(),
                ..AttributeProto::default()
            })
            .collect(),
        ..NodeProto::default()
    };
    rest.encode_to_vec().into()
}

/// Of a value: documentation, metadata, and the type where the graph holds less of it than the file says. Never
/// empty, so that it also tells which values the file describes.
pub(super) fn value(info: &ValueInfoProto, ty: &Type) -> Carried {
    let lossless = info.r#type == types::write(ty);
    if lossless && info.doc_string.is_none() && info.metadata_props.is_empty() {
        return MENTIONED.clone();
    }
    let rest = ValueInfoProto {
        name: Some(String::new()),
        r#type: if lossless { None } else { info.r#type.clone() },
        doc_string: info.doc_string.clone(),
        metadata_props: info.metadata_props.clone(),
    };
    rest.encode_to_vec().into()
}

/// What is carried for a value of which there is nothing to say but that the file describes it.
pub(super) fn mentioned() -> Carried {
    MENTIONED.clone()
}

/// The encoding of a description that says nothing but that there is one: an empty name.
static MENTIONED: LazyLock<Carried> = LazyLock::new(|| Bytes::from_static(&[0x0a, 0x00]).into());

/// Of an initializer: documentation and metadata.
pub(super) fn tensor(tensor: &TensorProto) -> Carried {
    if tensor.doc_string.is_none() && tensor.metadata_props.is_empty() {
        return Carried::default();
    }
    let rest = TensorProto {
        doc_string: tensor.doc_string.clone(),
        metadata_props: tensor.metadata_props.clone(),
        ..TensorProto::default()
    };
    rest.encode_to_vec().into()
}

/// The type to write for a value: the file's own words if they still say what is known, else new ones.
pub(super) fn type_of(
    carried: Option<TypeProto>,
    known: &Type,
    reads_as: impl Fn(&TypeProto) -> Type,
) -> Option<TypeProto> {
    match carried {
        Some(proto) if reads_as(&proto) == *known => Some(proto),
        _ => types::write(known),
    }
}
