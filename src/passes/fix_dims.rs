//! What the user says of input shapes holds wherever the size stands.
//!
//! A name that the file gives to a dimension is one size: fixed in one input, it is fixed in every type of the graph,
//! declared outputs included. A dimension without a name can be given one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::ir::{Atom, Graph, Int, ScopeId, Shape, Type, ValueId};

/// One size as a user gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Size {
    /// This many.
    Fixed(u32),
    /// As many as everywhere else under this name.
    Named(String),
    /// As the file has it.
    Kept,
}

/// The shape of one input as a user gives it: `pixels:1,3,224,224`, `tokens:batch,?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputShape {
    /// The input's name.
    pub input: String,
    /// One size per axis.
    pub sizes: Vec<Size>,
}

/// Why an input cannot have the shape that a user gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixError {
    /// Not of the form `input:size,size`.
    #[error("\"{0}\" is no input shape: write input:1,3,224,224, with a number, a name or ? for each dimension")]
    Form(String),
    /// The model has no such input.
    #[error("there is no input \"{input}\": the model has {}", names(.inputs))]
    NoInput {
        /// The name that was given.
        input: String,
        /// The names that there are.
        inputs: Vec<String>,
    },
    /// The input is a sequence or the like.
    #[error("input \"{0}\" is no tensor")]
    NoTensor(String),
    /// Another number of dimensions.
    #[error("input \"{input}\" has {expected} dimensions, not {given}")]
    Rank {
        /// The input.
        input: String,
        /// Dimensions in the file.
        expected: usize,
        /// Dimensions that were given.
        given: usize,
    },
    /// The dimension has another size, in the file or by what was given before.
    #[error("dimension {axis} of input \"{input}\" is {is}, not {given}")]
    Fixed {
        /// The input.
        input: String,
        /// The axis, from 0.
        axis: usize,
        /// The size that it has.
        is: i64,
        /// What was given.
        given: Size,
    },
}

fn names(list: &[String]) -> String {
    list.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Fixed(n) => write!(f, "{n}"),
            Size::Named(name) => f.write_str(name),
            Size::Kept => f.write_str("?"),
        }
    }
}

impl FromStr for InputShape {
    type Err = FixError;

    fn from_str(text: &str) -> Result<InputShape, FixError> {
        let form = || FixError::Form(text.to_string());
        // Names of inputs may contain a colon, sizes do not.
        let (input, sizes) = text.rsplit_once(':').ok_or_else(form)?;
        let size = |s: &str| match s.trim() {
            "?" => Ok(Size::Kept),
            s if s.starts_with(|c: char| c.is_ascii_digit()) => s.parse().map(Size::Fixed).map_err(|_| form()),
            s if s.starts_with(|c: char| c.is_alphabetic() || c == '_') => Ok(Size::Named(s.to_string())),
            _ => Err(form()),
        };
        if input.is_empty() {
            return Err(form());
        }
        // Nothing behind the colon is a scalar.
        let sizes =
            if sizes.trim().is_empty() { Vec::new() } else { sizes.split(',').map(size).collect::<Result<_, _>>()? };
        Ok(InputShape { input: input.to_string(), sizes })
    }
}

/// Give inputs of the main graph the shapes that a user asks for, one after another.
///
/// # Errors
/// When the model has no such input, or it cannot have that shape. Shapes before that one stay given.
pub fn fix_inputs(graph: &mut Graph, shapes: &[InputShape]) -> Result<(), FixError> {
    shapes.iter().try_for_each(|shape| fix_input(graph, shape))
}

fn fix_input(graph: &mut Graph, shape: &InputShape) -> Result<(), FixError> {
    let inputs = graph.scope(ScopeId::MAIN).inputs();
    let Some(&value) = inputs.iter().find(|&&v| *graph.value(v).name == *shape.input) else {
        let inputs = inputs.iter().map(|&v| graph.value(v).name.to_string()).collect();
        return Err(FixError::NoInput { input: shape.input.clone(), inputs });
    };
    let (dtype, dims) = match &graph.value(value).ty {
        Type::Tensor { dtype, shape } => (*dtype, shape.dims().map(<[Int]>::to_vec)),
        Type::Unknown => (None, None),
        Type::Sequence(_) | Type::Optional(_) | Type::Carried(_) => {
            return Err(FixError::NoTensor(shape.input.clone()));
        }
    };
    let dims = match dims {
        Some(dims) => dims,
        None => {
            // Every axis is open until it is given a size below.
            let dims: Vec<Int> = (0..shape.sizes.len()).map(|axis| value.measured(axis)).collect();
            graph.value_mut(value).ty = Type::Tensor { dtype, shape: Shape::of(dims.clone()) };
            dims
        }
    };
    if dims.len() != shape.sizes.len() {
        let (expected, given) = (dims.len(), shape.sizes.len());
        return Err(FixError::Rank { input: shape.input.clone(), expected, given });
    }
    for (axis, size) in shape.sizes.iter().enumerate() {
        fix_axis(graph, value, axis, size).map_err(|is| FixError::Fixed {
            input: shape.input.clone(),
            axis,
            is,
            given: size.clone(),
        })?;
    }
    Ok(())
}

/// `Err` with the size that the axis has.
fn fix_axis(graph: &mut Graph, input: ValueId, axis: usize, size: &Size) -> Result<(), i64> {
    let v = graph.value(input);
    // What an earlier axis was given may have reached this one.
    let Some(now) = v.ty.shape().dims().and_then(|dims| dims.get(axis)).cloned() else { return Ok(()) };
    let default = v.default().and_then(|t| t.dims().get(axis)).and_then(|&d| i64::try_from(d).ok());
    let new = match size {
        Size::Kept => return Ok(()),
        Size::Fixed(n) => Int::from(i64::from(*n)),
        Size::Named(name) => Int::named(name.as_str()),
    };
    match (now.known(), default) {
        _ if now == new => Ok(()),
        (Some(is), _) => Err(is),
        (None, Some(is)) if new != Int::from(is) => Err(is),
        (None, _) => {
            if let Some(atom) = now.as_atom().cloned() {
                substitute(graph, &atom, &new);
            }
            Ok(())
        }
    }
}

/// Put `size` for `atom` in everything that is known in the graph: types, content, declared outputs.
pub fn substitute(graph: &mut Graph, atom: &Atom, size: &Int) {
    let with = |a: &Atom| (a == atom).then(|| size.clone());
    let mentions = |d: &Int| d.mentions(&|a| a == atom);
    let values: Vec<ValueId> = graph.values().collect();
    for value in values {
        let v = graph.value_mut(value);
        if let Some(ty) = substituted(&v.ty, &mentions, &with, &|axis| value.measured(axis)) {
            v.ty = ty;
        }
        if let Some(content) = v.content.take() {
            let elements = content.iter().map(|e| e.substitute(&with));
            v.content = elements.collect::<Option<Vec<Int>>>().map(Arc::from);
        }
    }
    let scopes: Vec<ScopeId> = graph.scopes().collect();
    for scope in scopes {
        for index in 0..graph.scope(scope).outputs().len() {
            let output = graph.output_mut(scope, index);
            let value = output.value();
            if let Some(ty) = substituted(&output.declared, &mentions, &with, &|axis| value.measured(axis)) {
                output.declared = ty;
            }
        }
    }
}

/// `ty` after the substitution, with what `open` gives for what no longer can be computed; `None` when nothing
/// changes.
fn substituted(
    ty: &Type,
    mentions: &dyn Fn(&Int) -> bool,
    with: &dyn Fn(&Atom) -> Option<Int>,
    open: &dyn Fn(usize) -> Int,
) -> Option<Type> {
    match ty {
        Type::Tensor { dtype, shape } => {
            let dims = shape.dims().filter(|dims| dims.iter().any(mentions))?.iter().enumerate();
            let dims = dims.map(|(axis, d)| d.substitute(with).unwrap_or_else(|| open(axis)));
            Some(Type::Tensor { dtype: *dtype, shape: Shape::of(dims) })
        }
        Type::Sequence(e) => {
            Some(Type::Sequence(substituted(e, mentions, with, &|_| crate::ops::join::varying())?.into()))
        }
        Type::Optional(e) => {
            Some(Type::Optional(substituted(e, mentions, with, &|_| crate::ops::join::varying())?.into()))
        }
        Type::Unknown | Type::Carried(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, OpKind};
    use crate::passes::infer_shapes;

    fn named(dims: &[&str]) -> Type {
        let int = |d: &&str| d.parse::<i64>().map_or_else(|_| Int::named(*d), Int::from);
        Type::tensor(DType::F32, Shape::of(dims.iter().map(int)))
    }

    fn fix(graph: &mut Graph, shapes: &[&str]) -> Result<(), FixError> {
        let shapes: Vec<InputShape> = shapes.iter().map(|s| s.parse()).collect::<Result<_, _>>()?;
        fix_inputs(graph, &shapes)
    }

    /// `y = Concat(x, x)` along axis 0, of two inputs that share a name.
    fn graph() -> (Graph, ValueId) {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", named(&["batch", "3"]));
        g.add_input(ScopeId::MAIN, "ids:0", named(&["batch"]));
        let node = g.add_node(ScopeId::MAIN, OpKind::Concat, &[Some(x), Some(x)], 1, 0);
        g.set_attr(node, "axis", 0i64.into());
        let y = g.result(node, 0).unwrap();
        g.add_output(ScopeId::MAIN, "y", y, named(&["batch", "3"]));
        infer_shapes(&mut g);
        (g, y)
    }

    #[test]
    fn a_named_size_is_fixed_everywhere() {
        let (mut g, y) = graph();
        fix(&mut g, &["x:4,3"]).unwrap();
        assert_eq!(g.value(g.scope(ScopeId::MAIN).inputs()[1]).ty, named(&["4"]));
        assert_eq!(g.value(y).ty, named(&["8", "3"]));
        assert_eq!(g.scope(ScopeId::MAIN).outputs()[0].declared, named(&["4", "3"]));
        let said = fix(&mut g, &["ids:0:5"]).unwrap_err().to_string();
        assert_eq!(said, "dimension 0 of input \"ids:0\" is 4, not 5");
    }

    #[test]
    fn sizes_are_named_and_kept() {
        let (mut g, y) = graph();
        fix(&mut g, &["x:n,?", "ids:0:2"]).unwrap();
        assert_eq!(g.value(y).ty, named(&["4", "3"]));
    }

    #[test]
    fn an_open_rank_takes_what_is_given() {
        let mut g = Graph::default();
        let x = g.add_input(ScopeId::MAIN, "x", Type::Unknown);
        fix(&mut g, &["x:1,n,?"]).unwrap();
        let dims = g.value(x).ty.shape().dims().unwrap();
        assert_eq!(dims, [Int::from(1), Int::named("n"), x.measured(2)]);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let (mut g, _) = graph();
        let mut said = |shape: &str| fix(&mut g, &[shape]).unwrap_err().to_string();
        assert_eq!(said("z:1"), "there is no input \"z\": the model has \"x\", \"ids:0\"");
        assert_eq!(said("x:1"), "input \"x\" has 2 dimensions, not 1");
        assert_eq!(said("x:1,4"), "dimension 1 of input \"x\" is 3, not 4");
        assert_eq!(said("x:1,channels"), "dimension 1 of input \"x\" is 3, not channels");
        for wrong in ["x", ":1", "x:-1,3", "x:1,,3", "x:99999999999"] {
            assert!(said(wrong).contains("no input shape"), "{wrong}");
        }
    }
}
