//! Names and types as the syntax spells them.

use std::borrow::Cow;

use crate::ir::DType;
use crate::onnx::proto::tensor_shape_proto::dimension;
use crate::onnx::proto::{TensorShapeProto, TypeProto, type_proto};
use crate::text::is_type_word;

/// Between quotes, which a backslash keeps apart from those inside.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

pub(super) fn is_plain_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Words that mean something else than a name where values stand.
pub(super) fn schema_word(text: &str) -> bool {
    is_type_word(text) || crate::text::lexer::is_special_float(text)
}

/// A name, quoted where the syntax asks for it.
pub(super) fn name(text: &str) -> Cow<'_, str> {
    if is_plain_name(text) && !schema_word(text) { text.into() } else { quoted(text).into() }
}

/// The type as the syntax spells it; `None` when it does not say what the elements are.
pub(super) fn ty(proto: &TypeProto) -> Option<String> {
    use type_proto::Value::{MapType, OpaqueType, OptionalType, SequenceType, SparseTensorType, TensorType};
    let inner = |t: &Option<Box<TypeProto>>| t.as_deref().and_then(ty);
    Some(match proto.value.as_ref()? {
        TensorType(t) => format!("{}{}", DType::from_code(t.elem_type())?, shape(t.shape.as_ref())),
        SequenceType(s) => format!("seq({})", inner(&s.elem_type)?),
        OptionalType(o) => format!("optional({})", inner(&o.elem_type)?),
        MapType(m) => format!("map({}, {})", DType::from_code(m.key_type())?, inner(&m.value_type)?),
        SparseTensorType(t) => {
            format!("sparse_tensor({}{})", DType::from_code(t.elem_type())?, shape(t.shape.as_ref()))
        }
        OpaqueType(o) => match (o.domain(), o.name()) {
            ("", "") => "opaque()".into(),
            ("", name) => format!("opaque({})", self::name(name)),
            (domain, name) => {
                let plain = domain.split('.').all(is_plain_name);
                let domain = if plain { Cow::from(domain) } else { quoted(domain).into() };
                format!("opaque({domain}, {})", self::name(name))
            }
        },
    })
}

fn shape(shape: Option<&TensorShapeProto>) -> String {
    let Some(shape) = shape else { return "[]".into() };
    if shape.dim.is_empty() {
        return String::new();
    }
    let dims = shape.dim.iter().map(|dim| match &dim.value {
        Some(dimension::Value::DimValue(size)) => size.to_string(),
        Some(dimension::Value::DimParam(param)) if is_plain_name(param) => param.clone(),
        Some(dimension::Value::DimParam(param)) if !param.is_empty() => quoted(param),
        Some(dimension::Value::DimParam(_)) | None => "?".into(),
    });
    format!("[{}]", dims.collect::<Vec<_>>().join(","))
}
