//! What callers see of a model: the names and types of its inputs and outputs. Here they are described, compared, and
//! given the shapes that a user asks for.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::ir::{Atom, Graph, Int, Origin, ScopeId, Shape, Type, ValueId};

/// One input or output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Its type, as the ONNX text syntax spells it: `float[batch,3,224,224]`.
    #[serde(rename = "type")]
    pub ty: String,
    /// Whether a caller may leave it out, because the model gives a default.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// Every input and output, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// What a caller passes.
    pub inputs: Vec<Port>,
    /// What a caller gets.
    pub outputs: Vec<Port>,
}

impl Interface {
    /// The interface of `graph`.
    pub fn of(graph: &Graph) -> Interface {
        let main = graph.scope(ScopeId::MAIN);
        let inputs = main.inputs().iter().map(|&input| {
            let value = graph.value(input);
            Port {
                name: value.name.to_string(),
                ty: TypeText(&value.ty).to_string(),
                optional: value.default().is_some(),
            }
        });
        let outputs = main.outputs().iter().map(|output| {
            let mut ty = output.declared.clone();
            ty.refine(&graph.value(output.value()).ty);
            Port { name: output.name.to_string(), ty: TypeText(&ty).to_string(), optional: false }
        });
        Interface { inputs: inputs.collect(), outputs: outputs.collect() }
    }

    /// How `other` differs, one sentence each; empty when a caller cannot tell the two apart by names and order.
    pub fn differences(&self, other: &Interface) -> Vec<String> {
        let mut found = Vec::new();
        for (kind, mine, theirs) in [("input", &self.inputs, &other.inputs), ("output", &self.outputs, &other.outputs)]
        {
            for port in mine {
                if !theirs.iter().any(|p| p.name == port.name) {
                    found.push(format!("{kind} \"{}\" is only in the first model", port.name));
                }
            }
            for port in theirs {
                if !mine.iter().any(|p| p.name == port.name) {
                    found.push(format!("{kind} \"{}\" is only in the second model", port.name));
                }
            }
            if found.is_empty() && mine.iter().zip(theirs).any(|(a, b)| a.name != b.name) {
                found.push(format!("the {kind}s stand in another order"));
            }
        }
        found
    }
}

/// A type as the ONNX text syntax spells it; sizes that only a run tells are `?`.
pub struct TypeText<'a>(pub &'a Type);

impl fmt::Display for TypeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Type::Unknown => f.write_str("?"),
            Type::Carried(_) => f.write_str("opaque"),
            Type::Sequence(inner) => write!(f, "seq({})", TypeText(inner)),
            Type::Optional(inner) => write!(f, "optional({})", TypeText(inner)),
            Type::Tensor { dtype, shape } => {
                f.write_str(dtype.map_or("?", |d| d.name()))?;
                match shape.dims() {
                    None => f.write_str("[...]"),
                    Some([]) => Ok(()),
                    Some(dims) => {
                        let dims: Vec<String> = dims.iter().map(size).collect();
                        write!(f, "[{}]", dims.join(","))
                    }
                }
            }
        }
    }
}

fn size(dim: &Int) -> String {
    match (dim.known(), dim.name()) {
        (Some(n), _) => n.to_string(),
        (None, Some(name)) => name.to_string(),
        (None, None) => "?".into(),
    }
}

/// A size that a caller asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// This number.
    Number(usize),
    /// Open, under this name; equal names are equal sizes.
    Name(String),
}

impl From<usize> for Size {
    fn from(n: usize) -> Size {
        Size::Number(n)
    }
}

impl From<&str> for Size {
    fn from(name: &str) -> Size {
        Size::Name(name.to_string())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Number(n) => write!(f, "{n}"),
            Size::Name(name) => f.write_str(name),
        }
    }
}

/// Why an input cannot have the shape that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShapeFault {
    /// No such input.
    #[error("the model has no input \"{input}\"; its inputs are {}", known.join(", "))]
    NoInput {
        /// The name asked for.
        input: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A sequence, a map, an optional.
    #[error("input \"{input}\" is {ty}, not a tensor")]
    NotTensor {
        /// The input.
        input: String,
        /// What it is.
        ty: String,
    },
    /// Another number of dimensions.
    #[error("input \"{input}\" is {ty}, of rank {rank}; the shape asked for has {asked} dimensions")]
    Rank {
        /// The input.
        input: String,
        /// Its type in the file.
        ty: String,
        /// Its rank.
        rank: usize,
        /// The rank asked for.
        asked: usize,
    },
    /// A size that the model fixes is asked to be another.
    #[error("input \"{input}\" is {ty}: dimension {axis} is {size} and cannot be {asked}")]
    Fixed {
        /// The input.
        input: String,
        /// Its type in the file.
        ty: String,
        /// The dimension.
        axis: usize,
        /// Its size.
        size: String,
        /// The size asked for.
        asked: String,
    },
}

/// Give inputs the shapes that a caller asks for. An open size becomes the number or name; where the file names the
/// size, everything else of that name follows. Where one name of the file is asked to be several names, it was no one
/// size: each input has the one asked for it then, and what the file says of that size elsewhere is forgotten.
///
/// # Errors
/// When an input is not there, or its type in the file contradicts the shape. Nothing is changed then.
pub fn fix_shapes(graph: &mut Graph, wanted: &[(String, Vec<Size>)]) -> Result<(), ShapeFault> {
    let mut named: BTreeMap<Atom, Vec<(ValueId, usize, Int)>> = BTreeMap::new();
    let mut given: Vec<(ValueId, Shape)> = Vec::new();
    for (input, sizes) in wanted {
        let inputs = graph.scope(ScopeId::MAIN).inputs();
        let Some(&id) = inputs.iter().find(|&&i| *graph.value(i).name == **input) else {
            let known = inputs.iter().map(|&i| format!("\"{}\"", graph.value(i).name)).collect();
            return Err(ShapeFault::NoInput { input: input.clone(), known });
        };
        let ty = &graph.value(id).ty;
        let text = || TypeText(ty).to_string();
        let Type::Tensor { shape, .. } = ty else {
            return Err(ShapeFault::NotTensor { input: input.clone(), ty: text() });
        };
        let asked = sizes.iter().map(|size| match size {
            Size::Number(n) => Int::from(*n),
            Size::Name(name) => Int::named(name.as_str()),
        });
        let Some(dims) = shape.dims() else {
            given.push((id, Shape::of(asked)));
            continue;
        };
        if dims.len() != sizes.len() {
            let (rank, asked) = (dims.len(), sizes.len());
            return Err(ShapeFault::Rank { input: input.clone(), ty: text(), rank, asked });
        }
        for (axis, (dim, asked)) in dims.iter().zip(asked).enumerate() {
            let places = dim.as_atom().map(|atom| named.entry(atom.clone()).or_default());
            let before = places.as_ref().map_or(Some(dim), |places| places.first().map(|(.., first)| first));
            let both_open = |now: &Int| now.name().is_some() && asked.name().is_some() && dim.known().is_none();
            if let Some(now) = before.filter(|&now| *now != asked && !both_open(now)) {
                let (ty, size, asked) = (text(), size(now), asked.to_string());
                return Err(ShapeFault::Fixed { input: input.clone(), ty, axis, size, asked });
            }
            if let Some(places) = places {
                places.push((id, axis, asked));
            }
        }
    }
    let mut meaning: BTreeMap<Atom, Int> = BTreeMap::new();
    for (atom, places) in named {
        match &places[..] {
            [(.., first), others @ ..] if others.iter().all(|(.., other)| other == first) => {
                if first.as_atom() != Some(&atom) {
                    meaning.insert(atom, first.clone());
                }
            }
            places => part_sizes(graph, &atom, places),
        }
    }
    for (id, shape) in given {
        let value = graph.value_mut(id);
        value.ty = Type::Tensor { dtype: value.ty.dtype(), shape };
    }
    rename_sizes(graph, meaning);
    Ok(())
}

/// Give each of these axes of inputs a size of its own, where the file has `atom` for all of them.
fn part_sizes(graph: &mut Graph, atom: &Atom, places: &[(ValueId, usize, Int)]) {
    each_type(graph, |value, ty, is_input| {
        let Type::Tensor { shape, .. } = ty else { return };
        let Some(dims) = shape.dims() else { return };
        let dims = dims.iter().enumerate().map(|(axis, dim)| {
            let named = places.iter().find(|(input, at, _)| is_input && *input == value && *at == axis);
            match named {
                Some((.., size)) => size.clone(),
                None if !is_input && dim.mentions(&|a| a == atom) => value.measured(axis),
                None => dim.clone(),
            }
        });
        *shape = Shape::of(dims.collect::<Vec<_>>());
    });
}

/// Put another size for each of these, wherever it stands.
pub(crate) fn rename_sizes(graph: &mut Graph, meaning: BTreeMap<Atom, Int>) {
    if !meaning.is_empty() {
        each_type(graph, |_, ty, _| substitute(ty, &meaning));
    }
}

/// Change the type of each value that is no constant, and each type that an output declares. `change` is told the value,
/// and whether the type is that of an input of the model.
fn each_type(graph: &mut Graph, mut change: impl FnMut(ValueId, &mut Type, bool)) {
    let values: Vec<_> = graph.values().collect();
    for id in values {
        // A constant's sizes are numbers already; what shape arithmetic tells is found again from the new sizes.
        let value = graph.value_mut(id);
        if value.origin() != Origin::Constant {
            let is_input = value.origin() == Origin::Input && value.scope() == ScopeId::MAIN;
            change(id, &mut value.ty, is_input);
            value.content = None;
        }
    }
    let scopes: Vec<ScopeId> = graph.scopes().collect();
    for scope in scopes {
        for index in 0..graph.scope(scope).outputs().len() {
            let output = graph.output_mut(scope, index);
            change(output.value(), &mut output.declared, false);
        }
    }
}

fn substitute(ty: &mut Type, meaning: &BTreeMap<Atom, Int>) {
    let Type::Tensor { shape, .. } = ty else { return };
    let Some(dims) = shape.dims() else { return };
    let with = |atom: &Atom| meaning.get(atom).cloned();
    // A size that overflows once the numbers are in contradicts the file; what it was is still true.
    let dims: Vec<Int> = dims.iter().map(|d| d.substitute(&with).unwrap_or_else(|| d.clone())).collect();
    *shape = Shape::of(dims);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, OpKind};

    fn dims(names: &[&str]) -> Shape {
        Shape::of(names.iter().map(|n| n.parse::<i64>().map_or_else(|_| Int::named(*n), Int::from)))
    }

    fn graph() -> Graph {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", Type::tensor(DType::F32, dims(&["batch", "3"])));
        let n = g.add_node(ScopeId::MAIN, OpKind::Relu, &[Some(x)], 1, 0);
        let y = g.result(n, 0).unwrap();
        g.value_mut(y).name = "y".into();
        g.add_output(ScopeId::MAIN, "y", y, Type::tensor(DType::F32, dims(&["batch", "3"])));
        g
    }

    fn ask(text: &[&str]) -> Vec<(String, Vec<Size>)> {
        vec![(
            "x".into(),
            text.iter().map(|t| t.parse::<usize>().map_or_else(|_| Size::from(*t), Size::from)).collect(),
        )]
    }

    #[test]
    fn a_named_size_is_the_same_wherever_the_name_stands() {
        let mut g = graph();
        fix_shapes(&mut g, &ask(&["8", "3"])).unwrap();
        let interface = Interface::of(&g);
        assert_eq!((&*interface.inputs[0].ty, &*interface.outputs[0].ty), ("float[8,3]", "float[8,3]"));
    }

    #[test]
    fn a_size_can_take_another_name() {
        let mut g = graph();
        fix_shapes(&mut g, &ask(&["n", "3"])).unwrap();
        assert_eq!(Interface::of(&g).outputs[0].ty, "float[n,3]");
    }

    #[test]
    fn a_size_that_the_model_fixes_stays() {
        let mut g = graph();
        let fault = fix_shapes(&mut g, &ask(&["8", "4"])).unwrap_err();
        assert_eq!(fault.to_string(), "input \"x\" is float[batch,3]: dimension 1 is 3 and cannot be 4");
        assert!(matches!(fix_shapes(&mut g, &ask(&["8"])), Err(ShapeFault::Rank { rank: 2, asked: 1, .. })));
        assert_eq!(Interface::of(&g).inputs[0].ty, "float[batch,3]", "nothing is changed by what is refused");
    }

    #[test]
    fn one_name_is_not_two_sizes() {
        let mut g = Graph::default();
        g.add_input(ScopeId::MAIN, "x", Type::tensor(DType::F32, dims(&["n", "n"])));
        assert!(matches!(fix_shapes(&mut g, &ask(&["2", "3"])), Err(ShapeFault::Fixed { axis: 1, .. })));
    }

    #[test]
    fn one_name_can_become_two() {
        let mut g = graph();
        g.add_input(ScopeId::MAIN, "mask", Type::tensor(DType::F32, dims(&["batch", "3"])));
        g.add_input(ScopeId::MAIN, "other", Type::tensor(DType::F32, dims(&["batch"])));
        let named = |input: &str, name: &str| (input.to_string(), vec![Size::from(name), Size::from(3)]);
        fix_shapes(&mut g, &[named("x", "batch"), named("mask", "n")]).unwrap();
        let Interface { inputs, outputs } = Interface::of(&g);
        assert_eq!([&*inputs[0].ty, &*inputs[1].ty, &*inputs[2].ty], ["float[batch,3]", "float[n,3]", "float[batch]"]);
        assert_eq!(outputs[0].ty, "float[?,3]", "of which of the two the file does not tell");
        let number = vec![Size::from(2), Size::from(3)];
        let refused = fix_shapes(&mut graph(), &[named("x", "a"), ("x".into(), number)]);
        assert!(matches!(refused, Err(ShapeFault::Fixed { axis: 0, .. })), "a name and a number are no two names");
    }

    #[test]
    fn interfaces_differ_by_name_and_order() {
        let g = graph();
        let (a, mut b) = (Interface::of(&g), Interface::of(&g));
        assert!(a.differences(&b).is_empty());
        b.outputs[0].name = "z".into();
        assert_eq!(
            a.differences(&b),
            ["output \"y\" is only in the first model", "output \"z\" is only in the second model"]
        );
    }
}
