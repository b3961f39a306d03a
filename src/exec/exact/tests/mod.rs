//! Kernels against hand-computed values, and laws that relate them.

mod arithmetic;
mod bad;
mod casts;
mod images;
mod laws;
mod moves;
mod quantized;
mod sequences;
mod splats;

use bytes::Bytes;

use crate::exec::exact::number::Number;
use crate::exec::exact::{Folded, Unable, evaluate};
use crate::ir::{Attr, DType, Graph, OpKind, ScopeId, Tensor};
use crate::ops::CallView;

const LIMIT: usize = 1 << 20;

type Attrs<'a> = &'a [(&'static str, Attr)];

/// Fold one call; `None` is an operand that is left out.
fn fold_all(op: OpKind, attrs: Attrs<'_>, operands: &[Option<Tensor>], results: usize) -> Result<Folded, Unable> {
    let mut graph = Graph::default();
    let values: Vec<_> = operands.iter().map(|t| t.clone().map(|t| graph.add_constant(ScopeId::MAIN, "", t))).collect();
    let node = graph.add_node(ScopeId::MAIN, op, &values, results, 0);
    for (name, attr) in attrs {
        graph.set_attr(node, *name, attr.clone());
    }
    evaluate(&CallView::new(&graph, node), operands, LIMIT)
}

/// As [`fold_all`], of a call with all operands given, for its first result.
fn fold(op: OpKind, attrs: Attrs<'_>, operands: &[Tensor]) -> Result<Tensor, Unable> {
    let operands: Vec<Option<Tensor>> = operands.iter().cloned().map(Some).collect();
    fold_all(op, attrs, &operands, 1).map(|f| f.results[0].clone())
}

fn tensor<T: Number>(dims: &[usize], elements: &[T]) -> Tensor {
    super::number::tensor(dims, elements).unwrap()
}

/// Packed bytes, such as 4-bit elements.
fn packed(dtype: DType, dims: &[usize], bytes: &[u8]) -> Tensor {
    Tensor::raw(dtype, dims, Bytes::copy_from_slice(bytes)).unwrap()
}

fn bools(dims: &[usize], elements: &[u8]) -> Tensor {
    packed(DType::Bool, dims, elements)
}

fn strings(dims: &[usize], elements: &[&str]) -> Tensor {
    Tensor::strings(dims, elements.iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect()).unwrap()
}

/// Elements `0, 1, 2 …` of `dims`.
fn iota(dims: &[usize]) -> Tensor {
    let n: i64 = dims.iter().product::<usize>().try_into().unwrap();
    tensor(dims, &(0..n).collect::<Vec<_>>())
}
