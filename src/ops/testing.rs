//! A notation for one call and its results' types, for the tests of inference rules.
//!
//! Operands stand one after another, separated by spaces:
//!
//! * `float[n,3,?]` — a type; `float[]` is a scalar, `float[..]` of unknown rank, `?` wholly unknown, `-` left out
//! * `int64=[1,2]`, `int64=5`, `float=[0.5]` — a constant vector or scalar
//! * `float[3,4]=0` — a constant of these dimensions, all elements alike
//! * `int64:[h,2]`, `int64:h` — shape arithmetic knows the elements
//!
//! Results are printed in the same notation, each `?` a size that only a run tells.

use crate::ir::{Attr, DType, Graph, Int, NodeId, OpKind, ScopeId, Shape, Tensor, Type, ValueId};
use crate::ops::{CallView, infer_node};

/// A graph of one call.
pub struct Case {
    /// The graph.
    pub graph: Graph,
    /// The call.
    pub node: NodeId,
}

impl Case {
    /// A call of `op` with `results` results.
    pub fn new(op: OpKind, operands: &str, attrs: &[(&'static str, Attr)], results: usize) -> Case {
        let mut graph = Graph::default();
        let operands: Vec<Option<ValueId>> = operands.split_whitespace().map(|text| add(&mut graph, text)).collect();
        let node = graph.add_node(ScopeId::MAIN, op, &operands, results, 0);
        for (name, attr) in attrs {
            graph.set_attr(node, *name, attr.clone());
        }
        infer_node(&mut graph, node);
        Case { graph, node }
    }

    /// The call.
    pub fn view(&self) -> CallView<'_> {
        CallView::new(&self.graph, self.node)
    }

    /// The results' types.
    pub fn results(&self) -> String {
        let results = self.graph.results(self.node).iter().flatten();
        results.map(|&v| print(&self.graph, v)).collect::<Vec<_>>().join("  ")
    }
}

/// The type of the one result of a call.
pub fn infer(op: OpKind, operands: &str, attrs: &[(&'static str, Attr)]) -> String {
    Case::new(op, operands, attrs, 1).results()
}

/// The types of `results` results of a call.
pub fn infer_all(op: OpKind, operands: &str, attrs: &[(&'static str, Attr)], results: usize) -> String {
    Case::new(op, operands, attrs, results).results()
}

/// Multiply-accumulates, printed.
pub fn macs(op: OpKind, operands: &str, attrs: &[(&'static str, Attr)]) -> String {
    let case = Case::new(op, operands, attrs, 1);
    (crate::ops::def(op).macs)(&case.view()).map_or("?".to_string(), |n| n.to_string())
}

fn int(text: &str) -> Int {
    text.parse::<i64>().map_or_else(|_| Int::named(text), Int::from)
}

fn list(text: &str) -> Vec<&str> {
    let inner = text.trim_start_matches('[').trim_end_matches(']');
    inner.split(',').filter(|t| !t.is_empty()).collect()
}

fn dtype(text: &str) -> DType {
    DType::from_name(text).expect("the test names an element type")
}

fn add(graph: &mut Graph, text: &str) -> Option<ValueId> {
    if text == "-" {
        return None;
    }
    if let Some((ty, data)) = text.split_once('=') {
        let elements = list(data);
        if let Some((ty, dims)) = ty.split_once('[') {
            let dims: Vec<usize> = list(dims).iter().map(|d| d.parse().expect("the test gives a size")).collect();
            let one = constant(dtype(ty), &[], &elements).bytes().expect("tests repeat numbers");
            let tensor = Tensor::splat(dtype(ty), &dims, &one).expect("one element");
            return Some(graph.add_constant(ScopeId::MAIN, "", tensor));
        }
        let dims: &[usize] = if data.starts_with('[') { &[elements.len()] } else { &[] };
        return Some(graph.add_constant(ScopeId::MAIN, "", constant(dtype(ty), dims, &elements)));
    }
    if let Some((ty, data)) = text.split_once(':') {
        let elements: Vec<Int> = list(data).into_iter().map(int).collect();
        let shape = if data.starts_with('[') { Shape::known(&[elements.len()]) } else { Shape::known(&[]) };
        let value = graph.add_input(ScopeId::MAIN, "", Type::tensor(dtype(ty), shape));
        graph.value_mut(value).content = Some(elements.into());
        return Some(value);
    }
    let value = graph.add_input(ScopeId::MAIN, "", Type::Unknown);
    let ty = match text.split_once('[') {
        None if text == "?" => Type::Unknown,
        None => Type::tensor(dtype(text), Shape::UNKNOWN),
        Some((ty, "..]")) => Type::tensor(dtype(ty), Shape::UNKNOWN),
        Some((ty, dims)) => {
            let dims = list(dims).into_iter().enumerate();
            let dims = dims.map(|(i, d)| if d == "?" { value.measured(i) } else { int(d) });
            Type::tensor(dtype(ty), Shape::of(dims.collect::<Vec<_>>()))
        }
    };
    graph.value_mut(value).ty = ty;
    Some(value)
}

fn constant(dtype: DType, dims: &[usize], elements: &[&str]) -> Tensor {
    if dtype == DType::String {
        let strings = elements.iter().map(|e| bytes::Bytes::copy_from_slice(e.as_bytes())).collect();
        return Tensor::strings(dims, strings).expect("as many as dimensions say");
    }
    if dtype.is_float() {
        let elements: Vec<f64> = elements.iter().map(|e| e.parse().expect("the test gives a number")).collect();
        return Tensor::rounded(dtype, dims, &elements).expect("a float type that tests use");
    }
    let width = dtype.bits() / 8;
    let elements = elements.iter().map(|e| e.parse::<i64>().expect("the test gives an integer"));
    let data: Vec<u8> = elements.flat_map(|e| e.to_le_bytes()[..width].to_vec()).collect();
    Tensor::raw(dtype, dims, data.into()).expect("as many as dimensions say")
}

fn print(graph: &Graph, value: ValueId) -> String {
    let v = graph.value(value);
    let Type::Tensor { dtype, shape } = &v.ty else { return format!("{:?}", v.ty) };
    let ty = dtype.map_or("?", DType::name);
    let dims = shape.dims().map_or("..".to_string(), |d| d.iter().map(show).collect::<Vec<_>>().join(","));
    match &v.content {
        None => format!("{ty}[{dims}]"),
        Some(c) => {
            let elements = c.iter().map(show).collect::<Vec<_>>().join(",");
            if shape.rank() == Some(0) { format!("{ty}:{elements}") } else { format!("{ty}:[{elements}]") }
        }
    }
}

/// A size or element, with `?` for what only a run tells.
fn show(n: &Int) -> String {
    let mut out = String::new();
    let text = n.to_string();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '?' {
            while chars.peek().is_some_and(|c| c.is_ascii_digit() || ".[]".contains(*c)) {
                chars.next();
            }
        }
    }
    out
}
