//! Matrix products: `MatMul` with its rank cases, `Gemm`, and `Einsum` with its equation.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::ir::{DType, Int, Key, Shape, Type};
use crate::ops::dims::product;
use crate::ops::elementwise::{broadcast, together};
use crate::ops::{CallView, Channels, End, Infer, OpDef, Outcome, Quant, Tie, Ties, ties};

/// What the product of a `Gemm` is scaled by.
pub const ALPHA: Key<f32> = Key::new("alpha", 1.0);

/// What the summand of a `Gemm` is scaled by.
pub const BETA: Key<f32> = Key::new("beta", 1.0);

/// `a · b` over the last two axes, earlier ones broadcast; a vector is a row on the left, a column on the right.
pub static MATMUL: OpDef = OpDef {
    infer: Some(|c| multiply(c, 0, 1, c.dtype(0).or(c.dtype(1)))),
    channels: matmul_channels,
    ties: |c| ties::product(c, 0, 1),
    quant: |c| match matmul_channels(c) {
        Channels::Mixed { weight, out_axis, .. } => Quant::Kernel { weight, axis: out_axis },
        _ => Quant::Activation,
    },
    macs: |c| product(c.result_dims(0)?)?.checked_mul(c.dims(0)?.last()?),
    ..OpDef::PURE
};

/// Whether the first matrix of a `Gemm` is turned around.
pub const TRANS_A: Key<bool> = Key::new("transA", false);
/// Whether the second matrix of a `Gemm` is turned around.
pub const TRANS_B: Key<bool> = Key::new("transB", false);

/// `alpha · A' · B' + beta · C` of matrices, either may be transposed.
pub static GEMM: OpDef = OpDef {
    infer: Some(gemm),
    channels: gemm_channels,
    ties: gemm_ties,
    quant: |c| match gemm_channels(c) {
        Channels::Mixed { weight, out_axis, .. } => Quant::Kernel { weight, axis: out_axis },
        _ => Quant::Activation,
    },
    macs: |c| product(c.result_dims(0)?)?.checked_mul(c.dims(0)?.get(if TRANS_A.of(c.node()) { 0 } else { 1 })?),
    ..OpDef::PURE
};

/// Sums of products of elements, as the equation's letters line them up.
pub static EINSUM: OpDef = OpDef {
    infer: Some(einsum),
    ties: |c| Equation::of(c).map(|e| e.ties(c)).unwrap_or_default(),
    macs: |c| {
        let equation = Equation::of(c)?;
        let sizes = equation.sizes(c, |_| None)?;
        sizes.values().try_fold(Int::from(1), |n, size| n.checked_mul(size.as_ref()?))
    },
    ..OpDef::PURE
};

/// The determinant of each square matrix of the last two axes.
pub static DET: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = c.dtype(0);
        c.set_dtype(0, dtype);
        let [batch @ .., _, _] = c.dims(0)? else { return None };
        c.set(0, dtype, batch.iter().cloned());
        Some(())
    }),
    channels: |c| match c.rank(0).and_then(|rank| rank.checked_sub(2)) {
        Some(batch) => Channels::Moved((0..batch).map(Some).collect()),
        None => Channels::Barrier,
    },
    ..OpDef::PURE
};

/// Result 0 is the matrix product, of `dtype`, of operands `a` and `b`.
pub(super) fn multiply(call: &mut Infer<'_>, a: usize, b: usize, dtype: Option<DType>) -> Outcome {
    multiply_turned(call, (a, false), (b, false), dtype)
}

/// As [`multiply`], of operands each with whether its last two axes are turned around first; a vector is not.
pub(super) fn multiply_turned(
    call: &mut Infer<'_>,
    (a, turns_a): (usize, bool),
    (b, turns_b): (usize, bool),
    dtype: Option<DType>,
) -> Outcome {
    call.set_dtype(0, dtype);
    let turned = |slot: usize, turns: bool| {
        let mut dims = call.dims(slot)?.to_vec();
        if let (true, [.., rows, columns]) = (turns, &mut dims[..]) {
            std::mem::swap(rows, columns);
        }
        Some(dims)
    };
    let dims = product_dims(&turned(a, turns_a)?, &turned(b, turns_b)?, |axis| call.fresh(0, axis))?;
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(dims) });
    Some(())
}

/// The dimensions of a matrix product; `None` for scalars and inner sizes that contradict.
fn product_dims(a: &[Int], b: &[Int], fresh: impl Fn(usize) -> Int) -> Option<Vec<Int>> {
    let ((batch_a, rows, inner_a), (batch_b, inner_b, columns)) = (left(a)?, right(b)?);
    if let (Some(x), Some(y)) = (inner_a.known(), inner_b.known())
        && x != y
    {
        return None;
    }
    let mut dims = broadcast(&[batch_a, batch_b], fresh)?;
    dims.extend(rows.into_iter().chain(columns).cloned());
    Some(dims)
}

/// Batch, rows and inner size of a left operand.
fn left(a: &[Int]) -> Option<(&[Int], Option<&Int>, &Int)> {
    match a {
        [] => None,
        [inner] => Some((&[], None, inner)),
        [batch @ .., rows, inner] => Some((batch, Some(rows), inner)),
    }
}

/// Batch, inner size and columns of a right operand.
fn right(b: &[Int]) -> Option<(&[Int], &Int, Option<&Int>)> {
    match b {
        [] => None,
        [inner] => Some((&[], inner, None)),
        [batch @ .., inner, columns] => Some((batch, inner, Some(columns))),
    }
}

/// Channels run along the axis that the weight does not share with the data.
fn matmul_channels(call: &CallView<'_>) -> Channels {
    let (Some(a), Some(b)) = (call.rank(0), call.rank(1)) else { return Channels::Barrier };
    let rank = a.max(b);
    if call.is_weight(1) && b >= 2 && a >= 1 {
        // A vector on the left has no rows: its result is one axis shorter.
        let output = if a == 1 { rank.saturating_sub(2) } else { rank - 1 };
        let (out_axis, in_axis) = (b - 1, b - 2);
        return Channels::Mixed { weight: 1, out_axis, in_axis, groups: 1, input: (0, a - 1), output, bias: None };
    }
    if call.is_weight(0) && a >= 2 && b >= 1 {
        let (input, output) = if b == 1 { ((1, 0), rank - 2) } else { ((1, b - 2), rank - 2) };
        return Channels::Mixed { weight: 0, out_axis: a - 2, in_axis: a - 1, groups: 1, input, output, bias: None };
    }
    Channels::Barrier
}

fn gemm(call: &mut Infer<'_>) -> Outcome {
    matrices(call, 0, 1, call.dtype(0).or(call.dtype(1)))
}

/// Result 0 is the product, of `dtype`, of the matrices `a` and `b` as attributes turn them around.
pub(super) fn matrices(call: &mut Infer<'_>, a: usize, b: usize, dtype: Option<DType>) -> Outcome {
    call.set_dtype(0, dtype);
    let axis = |slot: usize, axis: usize, result: usize| match call.dims(slot) {
        None => Some(call.fresh(0, result)),
        Some(dims) => {
            if dims.len() == 2 {
                dims.get(axis).cloned()
            } else {
                None
            }
        }
    };
    let rows = axis(a, usize::from(TRANS_A.of(call.node())), 0)?;
    let columns = axis(b, usize::from(!TRANS_B.of(call.node())), 1)?;
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of([rows, columns]) });
    Some(())
}

fn gemm_channels(call: &CallView<'_>) -> Channels {
    if !call.is_weight(1) {
        return Channels::Barrier;
    }
    let (out_axis, in_axis) = if TRANS_B.of(call.node()) { (0, 1) } else { (1, 0) };
    Channels::Mixed {
        weight: 1,
        out_axis,
        in_axis,
        groups: 1,
        input: (0, if TRANS_A.of(call.node()) { 0 } else { 1 }),
        output: 1,
        bias: call.has(2).then_some(2),
    }
}

fn gemm_ties(call: &CallView<'_>) -> Ties {
    matrix_ties(call, (0, 1, 2), &[])
}

/// A product of the matrices `a` and `b`, with `c` added to it where that is given, and `vectors` of an element for each
/// column.
pub(super) fn matrix_ties(call: &CallView<'_>, (a, b, c): (usize, usize, usize), vectors: &[usize]) -> Ties {
    let turns_a = usize::from(TRANS_A.of(call.node()));
    let turns_b = usize::from(TRANS_B.of(call.node()));
    let mut found = vec![
        Tie::Contracted(End::operand(a, 1 - turns_a), End::operand(b, turns_b)),
        Tie::Same(End::operand(a, turns_a), End::result(0, 0)),
        Tie::Same(End::operand(b, 1 - turns_b), End::result(0, 1)),
    ];
    if call.has(c) {
        found.extend(ties::broadcast(call, [c], 0));
    }
    found.extend(vectors.iter().map(|&slot| Tie::Same(End::operand(slot, 0), End::result(0, 1))));
    found
}

/// One subscript of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// Axis `i` of those that the ellipsis stands for.
    Ellipsis(usize),
    /// A letter.
    Letter(u8),
}

/// An einsum equation in which every ellipsis is written out.
#[derive(Debug, PartialEq, Eq)]
pub struct Equation {
    /// What the axes of each operand are called.
    pub terms: Vec<Vec<Label>>,
    /// What the axes of the result are called.
    pub result: Vec<Label>,
}

/// The most axes of an operand that are followed.
const MAX_AXES: usize = 64;

impl Equation {
    /// The equation of an `Einsum`; `None` when it does not fit the operands, or a rank that matters is not known.
    pub fn of(call: &CallView<'_>) -> Option<Equation> {
        const EQUATION: Key<&str> = Key::new("equation", "");
        let ranks: Vec<Option<usize>> = (0..call.operand_count()).map(|slot| call.rank(slot)).collect();
        Equation::parse(&EQUATION.of(call.node()), &ranks)
    }

    /// An axis of the result is each operand's of the same letter; over letters that it lacks, products are summed.
    fn ties(&self, call: &CallView<'_>) -> Ties {
        let mut ties = Ties::new();
        let mut summed: BTreeMap<Label, End> = BTreeMap::new();
        for (slot, term) in self.terms.iter().enumerate() {
            for (axis, label) in term.iter().enumerate() {
                let end = End::operand(slot, axis);
                // What an ellipsis stands for broadcasts.
                if call.dims(slot).and_then(|dims| dims.get(axis)?.known()) == Some(1) {
                    continue;
                }
                if let Some(at) = self.result.iter().position(|l| l == label) {
                    ties.push(Tie::Same(end, End::result(0, at)));
                } else if let Some(&first) = summed.get(label) {
                    ties.push(Tie::Contracted(first, end));
                } else {
                    summed.insert(*label, end);
                    ties.push(Tie::Summed(end));
                }
            }
        }
        ties
    }

    /// Read `text` for operands of these ranks; `None` when they do not fit, or a rank that matters is not known.
    fn parse(text: &str, ranks: &[Option<usize>]) -> Option<Equation> {
        let text: String = text.chars().filter(|c| *c != ' ').collect();
        let (inputs, output) = match text.split_once("->") {
            Some((inputs, output)) => (inputs, Some(output)),
            None => (text.as_str(), None),
        };
        let inputs: Vec<&str> = inputs.split(',').collect();
        if inputs.len() != ranks.len() {
            return None;
        }
        // Every ellipsis stands for the same number of axes.
        let mut wide = None;
        for (term, rank) in inputs.iter().zip(ranks) {
            let letters = letters(term)?;
            if !term.contains("...") {
                if rank.is_some_and(|r| r != letters) {
                    return None;
                }
            } else if let Some(rank) = *rank {
                let axes = rank.checked_sub(letters).filter(|&n| n <= MAX_AXES)?;
                if *wide.get_or_insert(axes) != axes {
                    return None;
                }
            }
        }
        let wide = match wide {
            Some(wide) => wide,
            None if text.contains("...") => return None,
            None => 0,
        };
        let terms: Vec<Vec<Label>> = inputs.iter().map(|t| labels(t, wide)).collect::<Option<_>>()?;
        let result = match output {
            Some(output) => labels(output, wide)?,
            None => {
                let once = |l: &Label| terms.iter().flatten().filter(|m| *m == l).count() == 1;
                let letters = (b'A'..=b'z').map(Label::Letter).filter(once);
                (0..wide).map(Label::Ellipsis).chain(letters).collect()
            }
        };
        let known = |l: &Label| terms.iter().flatten().any(|m| m == l);
        result.iter().all(known).then_some(Equation { terms, result })
    }

    /// The size that each label stands for; `fresh` where it is open, `None` where sizes contradict.
    fn sizes(&self, call: &CallView<'_>, fresh: impl Fn(Label) -> Option<Int>) -> Option<BTreeMap<Label, Option<Int>>> {
        let mut seen: BTreeMap<Label, SmallVec<[&Int; 4]>> = BTreeMap::new();
        let mut open: Vec<Label> = Vec::new();
        for (slot, term) in self.terms.iter().enumerate() {
            match call.dims(slot) {
                Some(dims) => term.iter().zip(dims).for_each(|(&label, dim)| seen.entry(label).or_default().push(dim)),
                None => open.extend(term),
            }
        }
        let mut sizes = BTreeMap::new();
        for (label, dims) in seen {
            let mut doubtful = false;
            let size = together(dims.into_iter(), || {
                doubtful = true;
                Int::from(0)
            })?;
            // A size that is 1 here may be stretched by an operand of unknown shape.
            let stretched = open.contains(&label) && size.known().is_none_or(|n| n == 1);
            sizes.insert(label, if doubtful || stretched { fresh(label) } else { Some(size) });
        }
        for label in open {
            sizes.entry(label).or_insert_with(|| fresh(label));
        }
        Some(sizes)
    }
}

/// How many letters a term has, when it is one.
fn letters(term: &str) -> Option<usize> {
    let rest = term.replacen("...", "", 1);
    rest.bytes().all(|b| b.is_ascii_alphabetic()).then_some(rest.len()).filter(|&n| n <= MAX_AXES)
}

/// The labels of a term, its ellipsis standing for `wide` axes.
fn labels(term: &str, wide: usize) -> Option<Vec<Label>> {
    letters(term)?;
    let spelled = |part: &str| part.bytes().map(Label::Letter).collect::<Vec<_>>();
    Some(match term.split_once("...") {
        Some((before, after)) => {
            let ellipsis = (0..wide).map(Label::Ellipsis);
            spelled(before).into_iter().chain(ellipsis).chain(spelled(after)).collect()
        }
        None => spelled(term),
    })
}

fn einsum(call: &mut Infer<'_>) -> Outcome {
    let dtype = (0..call.operand_count()).find_map(|slot| call.dtype(slot));
    call.set_dtype(0, dtype);
    let equation = Equation::of(call)?;
    let place = |label: Label| equation.result.iter().position(|&l| l == label);
    let sizes = equation.sizes(call, |label| Some(call.fresh(0, place(label)?)))?;
    let dims: Vec<Int> = equation.result.iter().map(|l| sizes.get(l)?.clone()).collect::<Option<_>>()?;
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(dims) });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::OpKind::*;
    use crate::ops::testing::{Case, infer, macs};

    #[test]
    fn every_rank_case_of_matmul() {
        for (operands, expected) in [
            ("float[n,k] float[k,5]", "float[n,5]"),
            ("float[k] float[k,5]", "float[5]"),
            ("float[n,k] float[k]", "float[n]"),
            ("float[k] float[k]", "float[]"),
            ("float[b,1,n,k] float[4,k,5]", "float[b,4,n,5]"),
            ("float[b,n,k] float[c,k,5]", "float[?,n,5]"),
            ("float[k] float[b,k,5]", "float[b,5]"),
            ("float[b,n,k] float[k]", "float[b,n]"),
            ("float[n,3] float[4,5]", "float[..]"),
            ("float[] float[4,5]", "float[..]"),
            ("? float16[4,5]", "float16[..]"),
        ] {
            assert_eq!(infer(MatMul, operands, &[]), expected, "{operands}");
        }
    }

    #[test]
    fn gemm_transposes() {
        let both = [("transA", 1.into()), ("transB", 1.into())];
        assert_eq!(infer(Gemm, "float[k,n] float[8,k]", &both), "float[n,8]");
        assert_eq!(infer(Gemm, "float[..] float[k,8]", &[]), "float[?,8]");
        assert_eq!(infer(Gemm, "float[n] float[k,8]", &[]), "float[..]");
        assert_eq!(macs(Gemm, "float[k,n] float[8,k]", &both), "8*k*n");
    }

    #[test]
    fn einsum_lines_letters_up() {
        let eq = |text: &str| [("equation", text.into())];
        for (text, operands, expected) in [
            ("bij,bjk->bik", "float[b,2,3] float[b,3,k]", "float[b,2,k]"),
            ("bij, bjk", "float[b,2,3] float[b,3,k]", "float[2,k]"),
            ("...ii->...i", "float[n,3,3]", "float[n,3]"),
            ("...ij,...jk", "float[1,2,3] float[b,3,k]", "float[b,2,k]"),
            ("i,j->", "float[n] float[m]", "float[]"),
            ("bA,ba", "float[2,3] float[2,4]", "float[3,4]"),
            ("ij,jk->ik", "float[n,3] float[..]", "float[n,?]"),
            ("ij,jk->ij", "float[n,m] float[..]", "float[n,?]"),
            ("...j,jk->...k", "float[..] float[3,4]", "float[..]"),
            ("ij->ik", "float[n,3]", "float[..]"),
            ("ij", "float[n]", "float[..]"),
            ("i1->i", "float[n,3]", "float[..]"),
            ("i,i->i", "float[2] float[3]", "float[..]"),
            ("i,i->i", "float[n] float[m]", "float[?]"),
            ("", "float[]", "float[]"),
        ] {
            assert_eq!(infer(Einsum, operands, &eq(text)), expected, "{text}");
        }
        assert_eq!(macs(Einsum, "float[b,2,3] float[b,3,k]", &eq("bij,bjk->bik")), "6*b*k");
    }

    #[test]
    fn channels_run_along_the_side_that_the_weight_has_alone() {
        let mixed = |operands| match (MATMUL.channels)(&Case::new(MatMul, operands, &[], 1).view()) {
            Channels::Mixed { weight, out_axis, in_axis, input, output, .. } => {
                Some((weight, out_axis, in_axis, input, output))
            }
            _ => None,
        };
        assert_eq!(mixed("float[n,s,3] float[3,4]=0"), Some((1, 1, 0, (0, 2), 2)));
        assert_eq!(mixed("float[3] float[b,3,4]"), None);
        assert_eq!(mixed("float[3] float[5,3,4]=0"), Some((1, 2, 1, (0, 0), 1)));
        assert_eq!(mixed("float[4,3]=0 float[n,3,s]"), Some((0, 0, 1, (1, 1), 1)));
        assert_eq!(mixed("float[4,3]=0 float[3]"), Some((0, 0, 1, (1, 0), 0)));
        // A vector has no output channels.
        assert_eq!(mixed("float[n,3] float=[1,2,3]"), None);
    }
}
