//! Attributes become the graph's, and those of `Constant` nodes tensors.

use bytes::Bytes;
use prost::Message;

use super::super::error::Fault;
use super::super::names;
use super::super::proto::attribute_proto::AttributeType;
use super::super::proto::{AttributeProto, NodeProto};
use super::Builder;
use crate::ir::{Attr, DType, NodeId, Tensor};

impl Builder<'_> {
    /// The tensor of a `Constant` node; `None` when the node says it in a way that stays a node.
    pub(super) fn constant(&mut self, node: &mut NodeProto) -> Result<Option<Tensor>, Fault> {
        let alone = node.output.len() == 1 && !node.output[0].is_empty() && node.attribute.len() == 1;
        if !alone || !node.attribute[0].ref_attr_name().is_empty() {
            return Ok(None);
        }
        let attribute = &mut node.attribute[0];
        let bytes = |floats: &[f32]| -> Bytes { floats.iter().flat_map(|f| f.to_le_bytes()).collect() };
        let tensor = match attribute.name() {
            "value" => match attribute.t.take() {
                Some(proto) => {
                    let at = self.at(&names::node(node));
                    return self.tensor(proto, &at).map(Some);
                }
                None => return Ok(None),
            },
            "value_int" => Ok(Tensor::scalar(attribute.i())),
            "value_ints" => Ok(Tensor::vector(&attribute.ints)),
            "value_float" => Tensor::raw(DType::F32, &[], bytes(&[attribute.f()])),
            "value_floats" => Tensor::raw(DType::F32, &[attribute.floats.len()], bytes(&attribute.floats)),
            "value_string" => Tensor::strings(&[], vec![attribute.s.clone().unwrap_or_default()]),
            "value_strings" => Tensor::strings(&[attribute.strings.len()], std::mem::take(&mut attribute.strings)),
            _ => return Ok(None),
        };
        let what = |fault: crate::ir::TensorError| Fault::Tensor {
            at: names::node(node),
            tensor: String::new(),
            fault: fault.into(),
        };
        tensor.map(Some).map_err(what)
    }

    pub(super) fn attribute(&mut self, node: NodeId, mut proto: AttributeProto) -> Result<Attr, Fault> {
        if !proto.ref_attr_name().is_empty() {
            let attribute = proto.name().to_string();
            return Err(Fault::Attribute {
                at: self.here(),
                attribute,
                what: "refers to a function's attribute outside a function",
            });
        }
        let kind = match proto.r#type() {
            AttributeType::Undefined => guess(&proto),
            kind => kind,
        };
        Ok(match kind {
            AttributeType::Float => Attr::Float(proto.f()),
            AttributeType::Int => Attr::Int(proto.i()),
            AttributeType::String => Attr::Str(proto.s.take().unwrap_or_default()),
            AttributeType::Floats => Attr::Floats(proto.floats),
            AttributeType::Ints => Attr::Ints(proto.ints),
            AttributeType::Strings => Attr::Strs(proto.strings),
            AttributeType::Tensor => match proto.t.take() {
                Some(tensor) => {
                    let at = self.here();
                    self.tensor(tensor, &at)?.into()
                }
                None => Attr::Carried(proto.encode_to_vec().into()),
            },
            AttributeType::Tensors => {
                let at = self.here();
                Attr::Tensors(proto.tensors.into_iter().map(|t| self.tensor(t, &at)).collect::<Result<_, _>>()?)
            }
            AttributeType::Graph => match proto.g.take() {
                Some(body) => Attr::Graph(self.body(node, body)?),
                None => {
                    let attribute = proto.name().to_string();
                    return Err(Fault::Attribute { at: self.here(), attribute, what: "holds no graph" });
                }
            },
            AttributeType::Graphs => {
                Attr::Graphs(proto.graphs.into_iter().map(|g| self.body(node, g)).collect::<Result<_, _>>()?)
            }
            AttributeType::SparseTensor | AttributeType::SparseTensors => {
                for sparse in proto.sparse_tensor.iter_mut().chain(&mut proto.sparse_tensors) {
                    sparse.values.iter_mut().chain(&mut sparse.indices).try_for_each(|t| self.attach(t))?;
                }
                Attr::Carried(proto.encode_to_vec().into())
            }
            AttributeType::Undefined | AttributeType::TypeProto | AttributeType::TypeProtos => {
                Attr::Carried(proto.encode_to_vec().into())
            }
        })
    }
}

/// Which value an attribute holds when it does not say: files before IR version 2.
fn guess(proto: &AttributeProto) -> AttributeType {
    if proto.f.is_some() {
        AttributeType::Float
    } else if proto.i.is_some() {
        AttributeType::Int
    } else if proto.s.is_some() {
        AttributeType::String
    } else if proto.t.is_some() {
        AttributeType::Tensor
    } else if proto.g.is_some() {
        AttributeType::Graph
    } else if !proto.floats.is_empty() {
        AttributeType::Floats
    } else if !proto.ints.is_empty() {
        AttributeType::Ints
    } else if !proto.strings.is_empty() {
        AttributeType::Strings
    } else if !proto.tensors.is_empty() {
        AttributeType::Tensors
    } else if !proto.graphs.is_empty() {
        AttributeType::Graphs
    } else {
        AttributeType::Undefined
    }
}
