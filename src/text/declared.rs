//! A text shows the type of every result as a comment, and declares those types that inference alone does not find.
//!
//! So a text that is read again knows what it knew, and most texts declare nothing.

use prost::Message;

use crate::ir::{Graph, Origin, ScopeId, Type, ValueId};
use crate::onnx::proto::{StringStringEntryProto, TypeProto, ValueInfoProto};
use crate::ops::infer_node;
use crate::text::spell;

/// Under this key a description of a value says that a text must declare the type.
const DECLARED: &str = "declared";

/// Infer types, and put them as comments where [`comment`] and [`is_declared`] find them in what is written.
pub(super) fn mark(graph: &mut Graph) {
    let mut known = vec![None; graph.value_bound()];
    let results: Vec<ValueId> =
        graph.values().filter(|&v| matches!(graph.value(v).origin(), Origin::Node(..))).collect();
    for &value in &results {
        let v = graph.value_mut(value);
        v.content = None;
        known[value.index()] = Some(std::mem::take(&mut v.ty));
    }
    scope(graph, ScopeId::MAIN, &mut known);
    for at in graph.scopes().collect::<Vec<_>>() {
        for index in 0..graph.scope(at).outputs().len() {
            let output = &graph.scope(at).outputs()[index];
            let ty = shown(&graph.value(output.value()).ty);
            let mut info = ValueInfoProto::decode(output.carried.bytes()).unwrap_or_default();
            info.doc_string = ty;
            graph.output_mut(at, index).carried = info.encode_to_vec().into();
        }
    }
}

/// Infer the results of one graph, operands before users, from nothing but the types of inputs.
fn scope(graph: &mut Graph, at: ScopeId, known: &mut [Option<Type>]) {
    for node in graph.schedule(at) {
        let bodies: Vec<ScopeId> = graph.node(node).bodies().collect();
        for body in bodies {
            scope(graph, body, known);
        }
        infer_node(graph, node);
        let results: Vec<ValueId> = graph.results(node).iter().flatten().copied().collect();
        for value in results {
            let Some(known) = known[value.index()].take() else { continue };
            let v = graph.value_mut(value);
            let inferred = v.ty.clone();
            v.ty.refine(&known);
            let mut info = ValueInfoProto::decode(v.carried.bytes()).unwrap_or_default();
            info.name = Some(String::new());
            info.doc_string = shown(&v.ty);
            info.metadata_props = Vec::new();
            if v.ty != inferred {
                let entry = StringStringEntryProto { key: Some(DECLARED.into()), value: None };
                info.metadata_props.push(entry);
            }
            v.carried = info.encode_to_vec().into();
        }
    }
}

/// What a comment says of the value.
pub(super) fn comment(info: &ValueInfoProto) -> Option<&str> {
    info.doc_string.as_deref()
}

/// Whether [`mark`] found that inference does not tell the type.
pub(super) fn is_declared(info: &ValueInfoProto) -> bool {
    info.metadata_props.iter().any(|entry| entry.key() == DECLARED)
}

/// The type as a comment shows it: as the syntax does, and with expressions for sizes that follow from others.
fn shown(ty: &Type) -> Option<String> {
    Some(match ty {
        Type::Unknown => return None,
        Type::Tensor { dtype, shape } => {
            let dtype = dtype.map_or("?", |d| d.name());
            match shape.dims() {
                None => format!("{dtype}[]"),
                Some([]) => dtype.into(),
                Some(dims) => {
                    let dims = dims.iter().map(|d| match d.vagueness() {
                        0..=2 => d.to_string().replace(' ', ""),
                        _ => "?".into(),
                    });
                    format!("{dtype}[{}]", dims.collect::<Vec<_>>().join(","))
                }
            }
        }
        Type::Sequence(inner) => format!("seq({})", shown(inner).unwrap_or_else(|| "?".into())),
        Type::Optional(inner) => format!("optional({})", shown(inner).unwrap_or_else(|| "?".into())),
        Type::Carried(bytes) => spell::ty(&TypeProto::decode(&bytes[..]).ok()?)?,
    })
}
