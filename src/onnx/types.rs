//! Value types between the file's messages and the graph.

use prost::Message;

use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::type_proto::{self, Value as Kind};
use super::proto::{TensorShapeProto, TypeProto};
use crate::ir::{DType, Int, Shape, Type, ValueId};

/// Whether names of dimensions mean what they mean elsewhere in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DimNames {
    /// One name is one size throughout the main graph.
    Shared,
    /// In a body that runs many times, a name says nothing about another run.
    Local,
}

/// The type that a message describes, of value `of`. A dimension that the file leaves open is a measurement of it.
pub(super) fn read(proto: &TypeProto, of: ValueId, names: DimNames) -> Type {
    match &proto.value {
        None => Type::Unknown,
        Some(Kind::TensorType(t)) => match tensor_dtype(t.elem_type()) {
            Ok(dtype) => Type::Tensor { dtype, shape: shape(t.shape.as_ref(), Some(of), names) },
            Err(()) => Type::Carried(proto.encode_to_vec().into()),
        },
        Some(Kind::SequenceType(s)) => match s.elem_type.as_deref().and_then(element) {
            Some(ty) => Type::Sequence(ty.into()),
            None => Type::Carried(proto.encode_to_vec().into()),
        },
        Some(Kind::OptionalType(o)) => match o.elem_type.as_deref() {
            Some(inner) => match element(inner) {
                Some(ty) => Type::Optional(ty.into()),
                None => Type::Carried(proto.encode_to_vec().into()),
            },
            None => Type::Optional(Type::Unknown.into()),
        },
        Some(Kind::MapType(_) | Kind::OpaqueType(_) | Kind::SparseTensorType(_)) => {
            Type::Carried(proto.encode_to_vec().into())
        }
    }
}

/// The type of what a sequence or optional holds. Elements differ in what the file leaves open, so only shapes of
/// which every size is a number are kept.
fn element(proto: &TypeProto) -> Option<Type> {
    match &proto.value {
        None => Some(Type::Unknown),
        Some(Kind::TensorType(t)) => {
            let dtype = tensor_dtype(t.elem_type()).ok()?;
            Some(Type::Tensor { dtype, shape: shape(t.shape.as_ref(), None, DimNames::Local) })
        }
        Some(Kind::SequenceType(s)) => Some(Type::Sequence(element(s.elem_type.as_deref()?)?.into())),
        Some(Kind::OptionalType(o)) => Some(Type::Optional(element(o.elem_type.as_deref()?)?.into())),
        Some(Kind::MapType(_) | Kind::OpaqueType(_) | Kind::SparseTensorType(_)) => None,
    }
}

/// `Err` for a type that the graph does not hold.
fn tensor_dtype(code: i32) -> Result<Option<DType>, ()> {
    match code {
        0 => Ok(None),
        code => DType::from_code(code).map(Some).ok_or(()),
    }
}

fn shape(proto: Option<&TensorShapeProto>, of: Option<ValueId>, names: DimNames) -> Shape {
    let Some(proto) = proto else { return Shape::UNKNOWN };
    let dims = proto.dim.iter().enumerate().map(|(axis, dim)| match &dim.value {
        Some(dimension::Value::DimValue(n)) if *n >= 0 => Some(Int::from(*n)),
        Some(dimension::Value::DimParam(name)) if !name.is_empty() && names == DimNames::Shared => {
            Some(Int::named(name.as_str()))
        }
        _ => of.map(|value| value.measured(axis)),
    });
    Shape(dims.collect::<Option<Vec<Int>>>().map(Into::into))
}

/// The message that describes a type; `None` when nothing is known.
pub(super) fn write(ty: &Type) -> Option<TypeProto> {
    let kind = match ty {
        Type::Unknown => return None,
        Type::Carried(bytes) => return TypeProto::decode(&bytes[..]).ok(),
        Type::Tensor { dtype, shape } => Kind::TensorType(type_proto::Tensor {
            elem_type: dtype.map(DType::code),
            shape: shape.dims().map(|dims| TensorShapeProto { dim: dims.iter().map(dim).collect() }),
        }),
        Type::Sequence(inner) => {
            Kind::SequenceType(Box::new(type_proto::Sequence { elem_type: write(inner).map(Box::new) }))
        }
        Type::Optional(inner) => {
            Kind::OptionalType(Box::new(type_proto::Optional { elem_type: write(inner).map(Box::new) }))
        }
    };
    Some(TypeProto { value: Some(kind), denotation: None })
}

/// A size that is neither a number nor a name of the file is left open.
fn dim(size: &Int) -> Dimension {
    let value = match (size.known(), size.name()) {
        (Some(n), _) => Some(dimension::Value::DimValue(n)),
        (None, Some(name)) => Some(dimension::Value::DimParam(name.into())),
        (None, None) => None,
    };
    Dimension { value, denotation: None }
}
