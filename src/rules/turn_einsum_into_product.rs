//! `Einsum` that is another operator in other words: `MatMul`, `Mul`, `Transpose`, `ReduceSum`, or nothing.
//!
//! A product over one letter is `MatMul` where the letters stand as it wants them (`bij,bjk->bik`, `...ij,jk->...ik`, in
//! either order), and a constant is turned so that they do. A product over none is `Mul` where one operand has all
//! letters of the result in their order and the other the last of them. One operand whose letters are put in another
//! order is `Transpose`; one that loses some, `ReduceSum`.
//!
//! What would take a `Transpose` of something computed stays, but for scores of an attention where there is an operator
//! for all of it (opset 23). Declines where a constant of more than 64 KB would have
//! to be turned that is also read elsewhere.

use crate::ir::OpKind::{Add, Div, Einsum, MatMul, Mul, ReduceSum, Softmax, Transpose};
use crate::ir::{Tensor, User, ValueId};
use crate::ops::CallView;
use crate::ops::matmul::{Equation, Label};
use crate::rewrite::{Exactness, Expr, Match, Replacement, Rule, Skip, applies};
use crate::rules::support::axes::{operand, spelled};
use crate::rules::support::layout::transposed;
use crate::rules::support::numbers::SMALL;

pub fn rule() -> Rule {
    let name = "turn-einsum-into-product";
    Rule::new(name, Exactness::Rounding, Einsum.any(), |m| -> Result<Replacement, Skip> {
        let root = m.root();
        let equation = Equation::of(&root).ok_or(Skip::NotThis)?;
        let distinct = |term: &Vec<Label>| (1..term.len()).all(|i| !term[..i].contains(&term[i]));
        applies(equation.terms.iter().all(distinct) && distinct(&equation.result))?;
        match &equation.terms[..] {
            [term] => Ok(rearranged(&root, term, &equation.result)?.into()),
            [a, b] => {
                let (x, y) = (root.operand(0).ok_or(Skip::NotThis)?, root.operand(1).ok_or(Skip::NotThis)?);
                let (a, b) = ((x, &a[..]), (y, &b[..]));
                let turn = if are_scores(m) { Turn::Anything } else { Turn::Constants };
                match product(&root, a, b, &equation.result, turn) {
                    Err(Skip::NotThis) => Ok(product(&root, b, a, &equation.result, turn)?.into()),
                    other => Ok(other?.into()),
                }
            }
            _ => Err(Skip::NotThis),
        }
    })
}

/// One operand with its axes in another order, or without some.
fn rearranged(root: &CallView<'_>, term: &[Label], result: &[Label]) -> Result<Expr, Skip> {
    let x = root.operand(0).ok_or(Skip::NotThis)?;
    let from: Vec<usize> = result.iter().filter_map(|l| term.iter().position(|t| t == l)).collect();
    applies(from.len() == result.len())?;
    if from.len() == term.len() {
        let call = Transpose.emit([x.into()]).with("perm", spelled(&from)).named_like(*root);
        return Ok(if from.is_sorted() { x.into() } else { call });
    }
    applies(from.is_sorted())?;
    let lost: Vec<usize> = (0..term.len()).filter(|axis| !from.contains(axis)).collect();
    Ok(ReduceSum.emit([x.into(), operand(&lost).into()]).with("keepdims", 0).named_like(*root))
}

/// A value and what its axes are called.
type Term<'a> = (ValueId, &'a [Label]);

/// The product of `a` and `b`, in this order; `turn` says when `b` may be turned for it.
fn product(root: &CallView<'_>, a: Term<'_>, b: Term<'_>, result: &[Label], turn: Turn) -> Result<Expr, Skip> {
    let within = |labels: &[Label], l: &Label| labels.contains(l);
    // What stands in one operand alone and not in the result is summed first.
    applies(a.1.iter().all(|l| within(b.1, l) || within(result, l)))?;
    applies(b.1.iter().all(|l| within(a.1, l) || within(result, l)))?;
    let summed: Vec<Label> = a.1.iter().copied().filter(|l| !within(result, l)).collect();
    match summed[..] {
        [] => {
            applies(a.1 == result)?;
            let wanted = result.iter().copied().filter(|l| within(b.1, l)).collect::<Vec<_>>();
            let factor = match result.ends_with(b.1) {
                true => b.0.into(),
                false => constant_as(root, b, &wanted, result)?,
            };
            Ok(Mul.emit([a.0.into(), factor]).named_like(*root))
        }
        [over] => {
            let size = |(value, labels): Term<'_>| {
                let axis = labels.iter().position(|l| *l == over)?;
                root.graph().value(value).ty.shape().dims()?.get(axis).cloned()
            };
            // Einsum repeats an axis of size 1, MatMul does not.
            applies(size(a).is_some() && size(a) == size(b))?;
            let (last, rows) = a.1.split_last().ok_or(Skip::NotThis)?;
            applies(*last == over)?;
            let columns: Vec<Label> = b.1.iter().copied().filter(|l| !within(a.1, l)).collect();
            applies(columns.len() <= 1)?;
            let expected: Vec<Label> = rows.iter().chain(&columns).copied().collect();
            applies(expected == result)?;
            // What both have beside the sum: all that stands before a's rows, or the last of it, or nothing.
            let shared: Vec<Label> = rows.iter().copied().filter(|l| within(b.1, l)).collect();
            let batch = rows.split_last().map_or(&[][..], |(_, batch)| batch);
            applies(shared.is_empty() || batch.ends_with(&shared) && columns.len() == 1)?;
            let wanted: Vec<Label> = shared.into_iter().chain([over]).chain(columns).collect();
            let factor = match constant_as(root, b, &wanted, &wanted) {
                _ if b.1 == wanted => b.0.into(),
                Err(Skip::NotThis) if turn == Turn::Anything => turned(b, &wanted)?,
                other => other?,
            };
            Ok(MatMul.emit([a.0.into(), factor]).named_like(*root))
        }
        _ => Err(Skip::NotThis),
    }
}

/// What may be turned to make a product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// What is known now.
    Constants,
    /// What is computed, too.
    Anything,
}

/// `b` with its axes in the order of `wanted`.
fn turned(b: Term<'_>, wanted: &[Label]) -> Result<Expr, Skip> {
    let perm: Option<Vec<usize>> = wanted.iter().map(|l| b.1.iter().position(|m| m == l)).collect();
    let perm = perm.filter(|perm| perm.len() == b.1.len()).ok_or(Skip::NotThis)?;
    Ok(Transpose.emit([b.0.into()]).with("perm", spelled(&perm)))
}

/// Whether the root's result is scaled, masked and then put through `Softmax`, and nothing else reads it.
fn are_scores(m: &Match<'_>) -> bool {
    let graph = m.graph();
    let mut at = m.root().id();
    for _ in 0..LONGEST {
        let Some([User::Node(reader, _)]) = graph.result(at, 0).map(|v| graph.value(v).users()) else { return false };
        match graph.node(*reader).op {
            Softmax => return m.opset() >= 23,
            Add | Div | Mul => at = *reader,
            _ => return false,
        }
    }
    false
}

/// How many calls stand between scores and `Softmax`.
const LONGEST: usize = 4;

/// The constant `b` with its axes in the order of `wanted`, and with an axis of size 1 for each of `aligned` behind its
/// first that it lacks.
fn constant_as(root: &CallView<'_>, b: Term<'_>, wanted: &[Label], aligned: &[Label]) -> Result<Expr, Skip> {
    let graph = root.graph();
    let constant: &Tensor = graph.constant(b.0).ok_or(Skip::NotThis)?;
    let alone = graph.value(b.0).users().len() == 1;
    if !alone && constant.stored_bytes() > SMALL {
        return Err(Skip::Unsuitable("a constant that would have to be turned is also read elsewhere"));
    }
    let perm: Option<Vec<usize>> = wanted.iter().map(|l| b.1.iter().position(|m| m == l)).collect();
    let turned = perm.and_then(|perm| transposed(constant, &perm)).ok_or(Skip::NotThis)?;
    let from = aligned.iter().position(|l| wanted.contains(l)).unwrap_or(aligned.len());
    let mut sizes = turned.dims().iter().copied();
    let dims: Option<Vec<usize>> =
        aligned[from..].iter().map(|l| if wanted.contains(l) { sizes.next() } else { Some(1) }).collect();
    let dims = dims.ok_or(Skip::NotThis)?;
    Ok(turned.reshaped(&dims).map_err(|_| Skip::NotThis)?.into())
}
