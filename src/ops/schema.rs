//! What the ONNX specification says of every operator and version: operands, attributes with defaults, types.
//!
//! The rows are in `table`, generated from the onnx package by `proto/schema.py`.

#[rustfmt::skip]
mod table;

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use table::SCHEMAS;

/// The newest version of the default domain that the table knows.
pub const NEWEST_OPSET: u32 = table::NEWEST_OPSET;

/// One operator as one version of its domain defines it.
#[derive(Debug)]
pub struct Schema {
    /// Empty for ai.onnx.
    pub domain: &'static str,
    /// The operator's `op_type`.
    pub name: &'static str,
    /// The first opset version that this row describes; the next row of the same operator ends it.
    pub since: u32,
    /// From this version on the operator may not be used.
    pub deprecated: bool,
    /// How many operands there are at least, counting left-out ones before the last.
    pub min_inputs: u16,
    /// How many operands there are at most; `u16::MAX` when there is no limit.
    pub max_inputs: u16,
    /// How many results there are at least.
    pub min_outputs: u16,
    /// How many results there are at most; `u16::MAX` when there is no limit.
    pub max_outputs: u16,
    /// Operands in slot order; only the last may be variadic.
    pub inputs: &'static [Param],
    /// Results in slot order; only the last may be variadic.
    pub outputs: &'static [Param],
    /// Attributes, sorted by name.
    pub attrs: &'static [AttrSpec],
    /// The types that each type letter stands for, spelled as ONNX does: `("T", ["tensor(float)", …])`.
    pub type_constraints: &'static [(&'static str, &'static [&'static str])],
    /// False for random operators. Dropout counts as deterministic: whether it is depends on the call.
    pub deterministic: bool,
    /// Whether the specification also defines the operator by a graph of others.
    pub function_body: bool,
}

/// One operand or result.
#[derive(Debug)]
pub struct Param {
    /// The name in the specification.
    pub name: &'static str,
    /// A letter of [`Schema::type_constraints`] or a type such as `tensor(int64)`.
    pub ty: &'static str,
    /// Whether it may be left out or repeated.
    pub kind: ParamKind,
}

/// Whether an operand or result may be left out or repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Always there.
    Single,
    /// May be left out.
    Optional,
    /// Any number of times from here on.
    Variadic,
}

/// One attribute.
#[derive(Debug)]
pub struct AttrSpec {
    /// The name in the file.
    pub name: &'static str,
    /// What it holds.
    pub kind: AttrKind,
    /// A node without it is invalid.
    pub required: bool,
    /// What a node without it means.
    pub default: Default,
}

/// What an attribute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttrKind {
    /// A 64-bit integer.
    Int,
    /// A 32-bit float.
    Float,
    /// A string of bytes.
    String,
    /// A dense tensor.
    Tensor,
    /// A body.
    Graph,
    /// A sparse tensor.
    SparseTensor,
    /// A type.
    Type,
    /// A list of integers.
    Ints,
    /// A list of floats.
    Floats,
    /// A list of strings.
    Strings,
    /// A list of dense tensors.
    Tensors,
    /// A list of bodies.
    Graphs,
    /// A list of sparse tensors.
    SparseTensors,
    /// A list of types.
    Types,
}

/// The value of an attribute that a node leaves out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// Nothing: the operator's text says what absence means.
    None,
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A string.
    Str(&'static str),
    /// A list of integers.
    Ints(&'static [i64]),
    /// A list of floats.
    Floats(&'static [f32]),
    /// A list of strings.
    Strings(&'static [&'static str]),
}

impl Schema {
    /// The attribute of this name.
    pub fn attr(&self, name: &str) -> Option<&'static AttrSpec> {
        self.attrs.binary_search_by(|a| a.name.cmp(name)).ok().map(|at| &self.attrs[at])
    }

    /// Whether operand `slot` may be a tensor of the element type called `dtype`. What the version gives as an attribute,
    /// or not at all, may be anything.
    pub fn takes(&self, slot: usize, dtype: &str) -> bool {
        let last = self.inputs.last().filter(|p| p.kind == ParamKind::Variadic);
        let Some(param) = self.inputs.get(slot).or(last) else { return true };
        let is_it = |ty: &&str| ty.strip_prefix("tensor(").and_then(|t| t.strip_suffix(')')) == Some(dtype);
        match self.type_constraints.iter().find(|(letter, _)| *letter == param.ty) {
            Some((_, types)) => types.iter().any(is_it),
            None => is_it(&param.ty),
        }
    }

    /// What the operand in this slot is; the variadic one for every slot from its own on.
    pub fn input(&self, slot: usize) -> Option<&'static Param> {
        param(self.inputs, slot)
    }

    /// What the result in this slot is; the variadic one for every slot from its own on.
    pub fn output(&self, slot: usize) -> Option<&'static Param> {
        param(self.outputs, slot)
    }

    /// The type names that a type letter stands for; the letter itself when it is a type.
    pub fn types(&self, ty: &'static str) -> &'static [&'static str] {
        self.type_constraints.iter().find(|(letter, _)| *letter == ty).map_or(&[], |(_, types)| types)
    }
}

fn param(params: &'static [Param], slot: usize) -> Option<&'static Param> {
    params.get(slot).or_else(|| params.last().filter(|last| last.kind == ParamKind::Variadic))
}

/// The row that holds for `opset`: the newest one that is not newer.
pub fn lookup(domain: &str, name: &str, opset: u32) -> Option<&'static Schema> {
    versions(domain, name).iter().rev().find(|s| s.since <= opset)
}

/// The newest row of an operator.
pub fn newest(domain: &str, name: &str) -> Option<&'static Schema> {
    versions(domain, name).last()
}

/// All rows of an operator, oldest first.
pub fn versions(domain: &str, name: &str) -> &'static [Schema] {
    /// The rows of each operator. Asked for every node, so by hash.
    static OPERATORS: LazyLock<FxHashMap<(&str, &str), &[Schema]>> = LazyLock::new(|| {
        let same = |a: &Schema, b: &Schema| (a.domain, a.name) == (b.domain, b.name);
        SCHEMAS.chunk_by(same).map(|rows| ((rows[0].domain, rows[0].name), rows)).collect()
    });
    OPERATORS.get(&(domain, name)).copied().unwrap_or_default()
}

/// Every row, sorted by domain, name and version.
pub fn all() -> &'static [Schema] {
    &SCHEMAS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_distinct() {
        for pair in SCHEMAS.windows(2) {
            let [a, b] = pair else { unreachable!("windows of two") };
            assert!((a.domain, a.name, a.since) < (b.domain, b.name, b.since), "{} {}", a.name, a.since);
        }
        for s in all() {
            assert!(s.attrs.is_sorted_by_key(|a| a.name), "{} {}", s.name, s.since);
        }
    }

    #[test]
    fn a_lookup_finds_the_version_in_force() {
        assert_eq!(lookup("", "Clip", 6).map(|s| s.since), Some(6));
        assert_eq!(lookup("", "Clip", 10).map(|s| s.since), Some(6));
        assert_eq!(lookup("", "Clip", 11).map(|s| s.since), Some(11));
        assert_eq!(newest("", "Clip").map(|s| s.since), Some(13));
        assert!(lookup("", "Gelu", 19).is_none(), "Gelu begins with 20");
        assert!(newest("", "NoSuchOp").is_none());
        assert!(newest("zz", "Clip").is_none());
        assert_eq!(newest("ai.onnx.ml", "TreeEnsemble").map(|s| s.since), Some(5));
        assert_eq!(versions("", "Softmax").iter().map(|s| s.since).collect::<Vec<_>>(), [1, 11, 13]);
    }

    #[test]
    fn facts_of_a_row() {
        let conv = newest("", "Conv").expect("Conv is in the table");
        assert_eq!((conv.min_inputs, conv.max_inputs), (2, 3));
        assert_eq!(conv.input(2).map(|p| p.kind), Some(ParamKind::Optional));
        assert_eq!(conv.attr("group").map(|a| a.default), Some(Default::Int(1)));
        assert_eq!(conv.attr("auto_pad").map(|a| a.default), Some(Default::Str("NOTSET")));
        assert!(conv.types("T").contains(&"tensor(float)"));
        let concat = newest("", "Concat").expect("Concat is in the table");
        assert_eq!(concat.input(40).map(|p| p.name), Some("inputs"));
        assert!(!newest("", "RandomNormal").expect("in the table").deterministic);
    }
}
