//! Text to the file format's messages: types, tensors and attributes.

use bytes::Bytes;

use crate::ir::{DType, count, packed};
use crate::onnx::proto::attribute_proto::AttributeType;
use crate::onnx::proto::tensor_proto::DataLocation;
use crate::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use crate::onnx::proto::{
    AttributeProto, GraphProto, SparseTensorProto, TensorProto, TensorShapeProto, TypeProto, type_proto,
};
use crate::text::lexer::{SyntaxError, Token, is_special_float};
use crate::text::parse::Parser;
use crate::text::{ATTRIBUTE_TYPES, is_type_word};

type Parsed<T> = Result<T, SyntaxError>;

/// One attribute value, or one element of a list.
enum Value {
    Float(f32),
    Int(i64),
    Str(String),
    Tensor(Box<TensorProto>),
    Graph(Box<GraphProto>),
    Sparse(Box<SparseTensorProto>),
    Type(Box<TypeProto>),
    Reference(String),
}

impl Value {
    /// The attribute type of this value alone; `None` for a reference, whose type is the caller's.
    fn kind(&self) -> Option<AttributeType> {
        Some(match self {
            Value::Float(_) => AttributeType::Float,
            Value::Int(_) => AttributeType::Int,
            Value::Str(_) => AttributeType::String,
            Value::Tensor(_) => AttributeType::Tensor,
            Value::Graph(_) => AttributeType::Graph,
            Value::Sparse(_) => AttributeType::SparseTensor,
            Value::Type(_) => AttributeType::TypeProto,
            Value::Reference(_) => return None,
        })
    }
}

/// The type of a list and that of its elements.
const LISTS: [(AttributeType, AttributeType); 7] = [
    (AttributeType::Floats, AttributeType::Float),
    (AttributeType::Ints, AttributeType::Int),
    (AttributeType::Strings, AttributeType::String),
    (AttributeType::Tensors, AttributeType::Tensor),
    (AttributeType::Graphs, AttributeType::Graph),
    (AttributeType::SparseTensors, AttributeType::SparseTensor),
    (AttributeType::TypeProtos, AttributeType::TypeProto),
];

fn type_name(kind: AttributeType) -> &'static str {
    ATTRIBUTE_TYPES.iter().find(|(_, k)| *k == kind).map_or("undefined", |(name, _)| name)
}

impl Parser<'_> {
    /// Whether a type begins here.
    pub(super) fn at_type(&self) -> bool {
        matches!(self.token, Token::Ident(word) if is_type_word(word))
    }

    /// `float[N,3]`, `seq(float)`, `map(int64, float)`, …
    pub(super) fn ty(&mut self) -> Parsed<TypeProto> {
        self.nested(|p| {
            let Token::Ident(word) = p.token else { return p.expected("a type") };
            let at = p.at;
            let boxed = |ty| Some(Box::new(ty));
            let value = if let Some(dtype) = DType::from_name(word) {
                p.advance()?;
                let shape = p.shape()?;
                type_proto::Value::TensorType(type_proto::Tensor { elem_type: Some(dtype.code()), shape })
            } else {
                if !is_type_word(word) {
                    return p.expected("a type");
                }
                p.advance()?;
                p.mark('(')?;
                let value = match word {
                    "seq" => {
                        type_proto::Value::SequenceType(Box::new(type_proto::Sequence { elem_type: boxed(p.ty()?) }))
                    }
                    "optional" => {
                        type_proto::Value::OptionalType(Box::new(type_proto::Optional { elem_type: boxed(p.ty()?) }))
                    }
                    "map" => {
                        let key_type = Some(p.dtype("the type of the keys")?.code());
                        p.mark(',')?;
                        type_proto::Value::MapType(Box::new(type_proto::Map { key_type, value_type: boxed(p.ty()?) }))
                    }
                    "sparse_tensor" => {
                        let elem_type = Some(p.dtype("an element type")?.code());
                        let shape = p.shape()?;
                        type_proto::Value::SparseTensorType(type_proto::SparseTensor { elem_type, shape })
                    }
                    "opaque" => type_proto::Value::OpaqueType(p.opaque()?),
                    other => return p.error_at(at, format!("there is no type `{other}`")),
                };
                p.mark(')')?;
                value
            };
            Ok(TypeProto { value: Some(value), ..TypeProto::default() })
        })
    }

    fn dtype(&mut self, what: &str) -> Parsed<DType> {
        match self.token {
            Token::Ident(word) if let Some(dtype) = DType::from_name(word) => self.advance().map(|_| dtype),
            _ => self.expected(what),
        }
    }

    /// Nothing between the parentheses, `name`, or `domain, name`; a domain may have dots.
    fn opaque(&mut self) -> Parsed<type_proto::Opaque> {
        if self.is(')') {
            return Ok(type_proto::Opaque::default());
        }
        let mut first = self.name("the name of an opaque type")?;
        while self.eat('.')? {
            first.push('.');
            first.push_str(&self.name("the rest of the name")?);
        }
        Ok(if self.eat(',')? {
            let name = self.name("the name of an opaque type")?;
            type_proto::Opaque { domain: Some(first), name: Some(name) }
        } else {
            type_proto::Opaque { domain: None, name: Some(first) }
        })
    }

    /// Nothing is a scalar, `[]` an unknown rank, `[N, 3, ?]` a named, a known and an unknown size.
    fn shape(&mut self) -> Parsed<Option<TensorShapeProto>> {
        let mut shape = TensorShapeProto::default();
        if !self.eat('[')? {
            return Ok(Some(shape));
        }
        if self.eat(']')? {
            return Ok(None);
        }
        self.list(']', |p| {
            let value = match p.token {
                Token::Mark('?') => p.advance().map(|_| None)?,
                Token::Int(_) => Some(dimension::Value::DimValue(p.integer("a size")?)),
                _ => Some(dimension::Value::DimParam(p.name("a size, a name or `?`")?)),
            };
            shape.dim.push(Dimension { value, ..Dimension::default() });
            Ok(())
        })?;
        Ok(Some(shape))
    }

    /// Element type and sizes of a type that stands at byte `at` and must say both.
    pub(super) fn tensor_type(&self, at: usize, ty: &TypeProto) -> Parsed<(DType, Vec<usize>)> {
        let Some(type_proto::Value::TensorType(tensor)) = &ty.value else {
            return self.error_at(at, "a weight needs a tensor type before its name");
        };
        let Some(dtype) = DType::from_code(tensor.elem_type()) else {
            return self.error_at(at, "a weight needs an element type");
        };
        self.sizes(at, tensor.shape.as_ref()).map(|sizes| (dtype, sizes))
    }

    fn sizes(&self, at: usize, shape: Option<&TensorShapeProto>) -> Parsed<Vec<usize>> {
        let Some(shape) = shape else {
            return self.error_at(at, "a weight needs sizes, and here not even the rank is");
        };
        let size = |dim: &Dimension| match dim.value {
            Some(dimension::Value::DimValue(size)) => usize::try_from(size).ok(),
            _ => None,
        };
        match shape.dim.iter().map(size).collect() {
            Some(sizes) => Ok(sizes),
            None => self.error_at(at, "a weight needs a number for every size"),
        }
    }

    /// `{elements}` or `["location": "file", …]` of a tensor whose type stands at byte `at`.
    pub(super) fn tensor_data(&mut self, at: usize, ty: &TypeProto, name: &str) -> Parsed<TensorProto> {
        let (dtype, dims) = self.tensor_type(at, ty)?;
        let mut tensor = TensorProto {
            name: (!name.is_empty()).then(|| name.to_string()),
            data_type: Some(dtype.code()),
            dims: dims.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect(),
            ..TensorProto::default()
        };
        if self.is('[') {
            tensor.external_data = self.properties()?;
            tensor.data_location = Some(DataLocation::External.into());
            return Ok(tensor);
        }
        if !self.eat('{')? {
            return self.expected("`{` and the elements");
        }
        let mut elements = Elements { dtype, bytes: Vec::new(), strings: Vec::new(), count: 0 };
        self.list('}', |p| p.element(&mut elements))?;
        let found = if matches!(dtype, DType::C64 | DType::C128) { elements.count / 2 } else { elements.count };
        let wanted = count(&dims);
        if found == 0 && wanted != Some(0) {
            return self.filled(at, ty, name);
        }
        if wanted != Some(found) {
            let dims = dims.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
            let wanted = wanted.map_or("too many".into(), |n| n.to_string());
            return self.error_at(at, format!("{dtype}[{dims}] has {wanted} elements, found {found}"));
        }
        match dtype {
            DType::String => tensor.string_data = elements.strings,
            _ if dtype.bits() < 8 => tensor.raw_data = Some(packed::pack(dtype.bits(), elements.bytes).into()),
            _ => tensor.raw_data = Some(elements.bytes.into()),
        }
        Ok(tensor)
    }

    /// One element: a number of the element type's kind. A float of 16 or fewer bits is given by its bits.
    fn element(&mut self, elements: &mut Elements) -> Parsed<()> {
        match elements.dtype {
            DType::String => {
                let text = self.string("a string in quotes")?;
                elements.strings.push(text.into());
            }
            DType::F32 | DType::C64 => {
                let number: f32 = self.float()?;
                elements.bytes.extend(number.to_le_bytes());
            }
            DType::F64 | DType::C128 => {
                let number: f64 = self.float()?;
                elements.bytes.extend(number.to_le_bytes());
            }
            dtype => {
                let (at, number) = (self.at, self.element_integer(dtype)?);
                let bits = dtype.bits();
                let (low, high) = if dtype.is_signed_integer() {
                    (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
                } else if dtype == DType::Bool {
                    (0, 1)
                } else {
                    (0, (1i128 << bits) - 1)
                };
                if !(low..=high).contains(&number) {
                    return self.error_at(at, format!("{number} is not between {low} and {high}, as {dtype} asks"));
                }
                let little_endian = number.to_le_bytes();
                // Elements of less than a byte are packed when all are there.
                elements.bytes.extend(&little_endian[..bits.div_ceil(8)]);
            }
        }
        elements.count += 1;
        Ok(())
    }

    fn element_integer(&mut self, dtype: DType) -> Parsed<i128> {
        match self.token {
            Token::Int(text) if let Ok(number) = text.parse() => self.advance().map(|_| number),
            _ if dtype.is_float() => self.expected(&format!("the bits of a {dtype} as a whole number")),
            _ => self.expected("a whole number"),
        }
    }

    /// A number, whole or not, finite where its spelling is.
    fn float<F: std::str::FromStr + Into<f64> + Copy>(&mut self) -> Parsed<F> {
        let text = match self.token {
            Token::Int(text) | Token::Float(text) => text,
            Token::Ident(word) if is_special_float(word) => word,
            _ => return self.expected("a number"),
        };
        match text.parse::<F>() {
            Ok(number) if number.into().is_finite() || text.ends_with(|c: char| c.is_ascii_alphabetic()) => {
                self.advance().map(|_| number)
            }
            _ => self.error_at(self.at, format!("{text} is too large for the element type")),
        }
    }

    /// `{values, indices}` of a sparse tensor whose type stands at byte `at`.
    pub(super) fn sparse_data(
        &mut self,
        at: usize,
        ty: &type_proto::SparseTensor,
        name: Option<String>,
    ) -> Parsed<SparseTensorProto> {
        let sizes = self.sizes(at, ty.shape.as_ref())?;
        self.mark('{')?;
        let part = |p: &mut Self, name: &str| {
            let at = p.at;
            let ty = p.ty()?;
            p.tensor_data(at, &ty, name)
        };
        let values = part(self, &name.unwrap_or_default())?;
        self.mark(',')?;
        let indices = part(self, "")?;
        self.mark('}')?;
        let dims = sizes.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
        Ok(SparseTensorProto { values: Some(values), indices: Some(indices), dims })
    }

    /// `name: type = value`; the type may be left out.
    pub(super) fn attribute(&mut self) -> Parsed<AttributeProto> {
        let name = self.name("an attribute")?;
        self.attribute_named(name)
    }

    /// The rest of an attribute after its name.
    pub(super) fn attribute_named(&mut self, name: String) -> Parsed<AttributeProto> {
        let mut attribute = AttributeProto { name: Some(name), ..AttributeProto::default() };
        let mut kind = None;
        if self.eat(':')? {
            let word = self.token.clone();
            kind = ATTRIBUTE_TYPES.iter().find(|(name, _)| word == Token::Ident(name)).map(|(_, kind)| *kind);
            if kind.is_none() {
                return self.expected("a type of attributes");
            }
            self.advance()?;
        }
        self.mark('=')?;
        let list = kind.and_then(|kind| LISTS.iter().find(|(list, _)| *list == kind));
        let at = self.at;
        if self.eat('[')? {
            if kind.is_some() && list.is_none() {
                return self.error_at(at, "one value has no brackets");
            }
            let mut element = list.map(|(_, element)| *element);
            self.list(']', |p| {
                let at = p.at;
                let value = p.attribute_value(element)?;
                if value.kind().is_none() || element.is_some_and(|e| Some(e) != value.kind()) {
                    let wanted = element.map_or("a value", type_name);
                    return p.error_at(at, format!("the elements of this list are of type {wanted}"));
                }
                element = value.kind();
                push(&mut attribute, value);
                Ok(())
            })?;
            let Some((list, _)) = LISTS.iter().find(|(_, e)| Some(*e) == element) else {
                return self.error_at(at, "an empty list needs its type: `name: ints = []`");
            };
            attribute.set_type(*list);
            return Ok(attribute);
        }
        match self.attribute_value(kind)? {
            Value::Reference(name) => {
                attribute.ref_attr_name = Some(name);
                attribute.r#type = kind.map(Into::into);
            }
            value => {
                let found = value.kind().unwrap_or(AttributeType::Undefined);
                if let Some(kind) = kind
                    && kind != found
                {
                    return self.error_at(at, format!("expected {}, found {}", type_name(kind), type_name(found)));
                }
                attribute.set_type(found);
                set(&mut attribute, value);
            }
        }
        Ok(attribute)
    }

    fn attribute_value(&mut self, expected: Option<AttributeType>) -> Parsed<Value> {
        let at = self.at;
        match self.token.clone() {
            Token::Mark('@') => {
                self.advance()?;
                self.name("the attribute of the call").map(Value::Reference)
            }
            Token::Ident(_) if self.at_type() => self.typed_value(at),
            Token::Ident(word) if is_special_float(word) => self.float().map(Value::Float),
            Token::Float(_) => self.float().map(Value::Float),
            Token::Int(_) if expected == Some(AttributeType::Float) => self.float().map(Value::Float),
            Token::Int(_) => self.integer("a value").map(Value::Int),
            Token::Ident(_) | Token::Str(_) => {
                let quoted = matches!(self.token, Token::Str(_));
                let text = self.name("a value")?;
                if quoted && !self.is('(') {
                    Ok(Value::Str(text))
                } else {
                    self.graph_named(text).map(|g| Value::Graph(Box::new(g)))
                }
            }
            _ => self.expected("a value"),
        }
    }

    /// A type, or a tensor: a type with data, or with a name that the data are made from.
    fn typed_value(&mut self, at: usize) -> Parsed<Value> {
        let ty = self.ty()?;
        let name = match self.token {
            Token::Ident(_) | Token::Str(_) => self.name("a name")?,
            _ => String::new(),
        };
        let assigned = self.eat('=')?;
        if !assigned && !self.is('{') {
            if name.is_empty() {
                return Ok(Value::Type(Box::new(ty)));
            }
            return self.filled(at, &ty, &name).map(|t| Value::Tensor(Box::new(t)));
        }
        if let Some(type_proto::Value::SparseTensorType(ty)) = &ty.value {
            return self.sparse_data(at, ty, (!name.is_empty()).then_some(name)).map(|s| Value::Sparse(Box::new(s)));
        }
        self.tensor_data(at, &ty, &name).map(|t| Value::Tensor(Box::new(t)))
    }
}

/// The elements of a tensor as they are read.
struct Elements {
    dtype: DType,
    bytes: Vec<u8>,
    strings: Vec<Bytes>,
    count: usize,
}

/// Add an element to a list attribute.
fn push(attribute: &mut AttributeProto, value: Value) {
    match value {
        Value::Float(f) => attribute.floats.push(f),
        Value::Int(i) => attribute.ints.push(i),
        Value::Str(s) => attribute.strings.push(s.into()),
        Value::Tensor(t) => attribute.tensors.push(*t),
        Value::Graph(g) => attribute.graphs.push(*g),
        Value::Sparse(s) => attribute.sparse_tensors.push(*s),
        Value::Type(t) => attribute.type_protos.push(*t),
        Value::Reference(_) => {}
    }
}

/// Set the value of an attribute that is no list.
fn set(attribute: &mut AttributeProto, value: Value) {
    match value {
        Value::Float(f) => attribute.f = Some(f),
        Value::Int(i) => attribute.i = Some(i),
        Value::Str(s) => attribute.s = Some(s.into()),
        Value::Tensor(t) => attribute.t = Some(*t),
        Value::Graph(g) => attribute.g = Some(*g),
        Value::Sparse(s) => attribute.sparse_tensor = Some(*s),
        Value::Type(t) => attribute.tp = Some(*t),
        Value::Reference(name) => attribute.ref_attr_name = Some(name),
    }
}
