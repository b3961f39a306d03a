//! Attributes: values of a node, and typed names for reading them.

use std::borrow::Cow;

use bytes::Bytes;

use crate::ir::{Node, ScopeId, Tensor, Type};

/// One attribute value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A string (any bytes).
    Str(Bytes),
    /// A tensor.
    Tensor(Box<Tensor>),
    /// A body: a graph that the node runs.
    Graph(ScopeId),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Strings.
    Strs(Vec<Bytes>),
    /// Tensors.
    Tensors(Vec<Tensor>),
    /// Bodies.
    Graphs(Vec<ScopeId>),
    /// A type.
    Type(Type),
    /// The file's own encoding of an attribute that nothing here reads (sparse tensors, lists of types).
    Carried(Bytes),
}

/// The name of an attribute with its type and the default that ONNX gives it.
///
/// ```
/// use onnx_slim::ir::Key;
/// const EPSILON: Key<f32> = Key::new("epsilon", 1e-5);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Key<T> {
    /// ONNX's name.
    pub name: &'static str,
    /// What an absent attribute means.
    pub default: T,
}

impl<T> Key<T> {
    /// An attribute called `name` that means `default` when absent.
    pub const fn new(name: &'static str, default: T) -> Key<T> {
        Key { name, default }
    }
}

impl<T: AttrValue> Key<T> {
    /// The attribute's value on `node`. An attribute of another kind reads as absent.
    pub fn of<'n>(&self, node: &'n Node) -> T::Read<'n> {
        node.attr(self.name).and_then(T::read).unwrap_or_else(|| self.default.default(node))
    }

    /// The attribute's value, when `node` has it.
    pub fn get<'n>(&self, node: &'n Node) -> Option<T::Read<'n>> {
        node.attr(self.name).and_then(T::read)
    }
}

/// A type that an attribute can be read as.
pub trait AttrValue {
    /// What reading gives.
    type Read<'n>;
    /// Read `attr`; `None` when it is of another kind.
    fn read<'n>(attr: &'n Attr) -> Option<Self::Read<'n>>;
    /// The default, as reading gives it.
    fn default<'n>(&self, _: &'n Node) -> Self::Read<'n>;
}

impl AttrValue for i64 {
    type Read<'n> = i64;
    fn read<'n>(attr: &'n Attr) -> Option<i64> {
        if let Attr::Int(i) = attr { Some(*i) } else { None }
    }
    fn default<'n>(&self, _: &'n Node) -> i64 {
        *self
    }
}

/// A flag: an integer that is not zero.
impl AttrValue for bool {
    type Read<'n> = bool;
    fn read<'n>(attr: &'n Attr) -> Option<bool> {
        if let Attr::Int(i) = attr { Some(*i != 0) } else { None }
    }
    fn default<'n>(&self, _: &'n Node) -> bool {
        *self
    }
}

impl AttrValue for f32 {
    type Read<'n> = f32;
    fn read<'n>(attr: &'n Attr) -> Option<f32> {
        if let Attr::Float(f) = attr { Some(*f) } else { None }
    }
    fn default<'n>(&self, _: &'n Node) -> f32 {
        *self
    }
}

impl AttrValue for &'static str {
    type Read<'n> = Cow<'n, str>;
    fn read<'n>(attr: &'n Attr) -> Option<Cow<'n, str>> {
        if let Attr::Str(s) = attr { Some(String::from_utf8_lossy(s)) } else { None }
    }
    fn default<'n>(&self, _: &'n Node) -> Cow<'n, str> {
        Cow::Borrowed(self)
    }
}

impl AttrValue for &'static [i64] {
    type Read<'n> = &'n [i64];
    fn read<'n>(attr: &'n Attr) -> Option<&'n [i64]> {
        if let Attr::Ints(i) = attr { Some(i) } else { None }
    }
    fn default<'n>(&self, _: &'n Node) -> &'n [i64] {
        self
    }
}

impl From<i64> for Attr {
    fn from(i: i64) -> Attr {
        Attr::Int(i)
    }
}

impl From<f32> for Attr {
    fn from(f: f32) -> Attr {
        Attr::Float(f)
    }
}

impl From<&str> for Attr {
    fn from(s: &str) -> Attr {
        Attr::Str(Bytes::copy_from_slice(s.as_bytes()))
    }
}

impl From<Vec<i64>> for Attr {
    fn from(i: Vec<i64>) -> Attr {
        Attr::Ints(i)
    }
}

impl From<Tensor> for Attr {
    fn from(t: Tensor) -> Attr {
        Attr::Tensor(Box::new(t))
    }
}
