//! Reductions over axes, which are an operand; and the place of the largest or smallest element along one axis.

use smallvec::SmallVec;

use crate::ir::{DType, Int, Key, OpKind, Shape, Type, User};
use crate::ops::arith::{self, Binary};
use crate::ops::slice::AXIS;
use crate::ops::{CallView, Channels, End, Infer, OpDef, Outcome, Quant, Tie, Ties, normalize_axis, ties};

/// Whether reduced axes stay, with a size of 1.
pub const KEEPDIMS: Key<bool> = Key::new("keepdims", true);
const NOOP_WITH_EMPTY_AXES: Key<bool> = Key::new("noop_with_empty_axes", false);

/// Any reduction: only its shape is known.
pub static REDUCE: OpDef = OpDef { infer: Some(|c| reduce(c, None)), channels, ..OpDef::PURE };

/// The mean: a sum, divided by how many there were, and a pruner sees to that number. Where it is taken away from what
/// it is the mean of, what is left is a deviation that changes with every index, as in `LayerNormalization`.
pub static MEAN: OpDef = OpDef {
    ties: |c| match c.dtype(0) {
        Some(dtype) if dtype.is_float() && !centres(c) => summed(c),
        _ => ties::of_channels(c),
    },
    quant: |_| Quant::Activation,
    ..REDUCE
};

/// A sum of what is zero where its element is: of magnitudes, of squares; its root, its logarithm.
pub static NORM: OpDef = OpDef { ties: summed, ..REDUCE };

/// The sum.
pub static SUM: OpDef = OpDef { infer: Some(|c| reduce(c, Some((0, arith::add)))), ties: summed, ..REDUCE };

/// The product.
pub static PROD: OpDef = OpDef { infer: Some(|c| reduce(c, Some((1, arith::mul)))), ..REDUCE };

/// The largest.
pub static MAX: OpDef = OpDef { infer: Some(|c| reduce_some(c, arith::max)), quant: |_| Quant::SharesScale, ..REDUCE };

/// The smallest.
pub static MIN: OpDef = OpDef { infer: Some(|c| reduce_some(c, arith::min)), quant: |_| Quant::SharesScale, ..REDUCE };

/// Where along an axis the largest or smallest element is.
pub static ARG: OpDef = OpDef {
    infer: Some(arg),
    channels: |c| match c.rank(0).and_then(|rank| normalize_axis(AXIS.of(c.node()), rank)) {
        Some(axis) => moved(c, &Axes::These(SmallVec::from_slice(&[axis]))),
        None => Channels::Barrier,
    },
    ..OpDef::PURE
};

/// An index of a reduced axis may be left out where it is zero.
fn summed(call: &CallView<'_>) -> Ties {
    let mut ties = ties::of_channels(call);
    ties.extend(reduced(call).into_iter().map(|axis| Tie::Summed(End::operand(0, axis))));
    ties
}

/// The axes that a call is known to reduce.
pub fn reduced(call: &CallView<'_>) -> SmallVec<[usize; 4]> {
    match call.rank(0).and_then(|rank| Some((axes(call, rank)?, rank))) {
        Some((axes, rank)) => (0..rank).filter(|&axis| axes.reduces(axis)).collect(),
        None => SmallVec::new(),
    }
}

/// Whether the result is taken away from the operand.
fn centres(call: &CallView<'_>) -> bool {
    let (graph, x) = (call.graph(), call.operand(0));
    let users = graph.result(call.id(), 0).map_or(&[][..], |mean| graph.value(mean).users());
    users.iter().any(|user| match *user {
        User::Node(node, slot) => graph.node(node).op == OpKind::Sub && graph.operand(node, 1 - slot.min(1)) == x,
        User::Output(..) => false,
    })
}

/// Which axes a call reduces.
enum Axes {
    /// None: the result is as large as the operand.
    Nothing,
    /// Every axis.
    All,
    /// Some, each once.
    These(SmallVec<[usize; 4]>),
    /// Only a run tells; how many there are may be known.
    Open(Option<usize>),
}

impl Axes {
    fn reduces(&self, axis: usize) -> bool {
        match self {
            Axes::Nothing | Axes::Open(_) => false,
            Axes::All => true,
            Axes::These(axes) => axes.contains(&axis),
        }
    }
}

/// The axes of a reduction of an operand of `rank`; `None` where an axis is out of range.
fn axes(call: &CallView<'_>, rank: usize) -> Option<Axes> {
    let none = if NOOP_WITH_EMPTY_AXES.of(call.node()) { Axes::Nothing } else { Axes::All };
    if !call.has(1) {
        return Some(none);
    }
    let Some(listed) = call.known_ints(1) else {
        let count = match call.dims(1) {
            Some([n]) => n.known().and_then(|n| usize::try_from(n).ok()),
            _ => None,
        };
        return Some(if count == Some(0) { none } else { Axes::Open(count) });
    };
    if listed.is_empty() {
        return Some(none);
    }
    let mut axes: SmallVec<[usize; 4]> = listed.iter().map(|&a| normalize_axis(a, rank)).collect::<Option<_>>()?;
    axes.sort_unstable();
    axes.dedup();
    Some(Axes::These(axes))
}

/// Set result 0, of `dtype`, to the shape of operand 0 reduced over `axes`.
fn shrink(call: &mut Infer<'_>, dtype: Option<DType>, axes: &Axes) -> Outcome {
    let keep = KEEPDIMS.of(call.node());
    let x = call.dims(0)?;
    let shape = match axes {
        Axes::Open(count) => {
            let rank = if keep { x.len() } else { x.len().checked_sub((*count)?)? };
            Shape::of((0..rank).map(|axis| call.fresh(0, axis)))
        }
        Axes::Nothing | Axes::All | Axes::These(_) => {
            Shape::of(x.iter().enumerate().filter_map(|(axis, dim)| match (axes.reduces(axis), keep) {
                (false, _) => Some(dim.clone()),
                (true, true) => Some(Int::from(1)),
                (true, false) => None,
            }))
        }
    };
    call.set_type(0, Type::Tensor { dtype, shape });
    Some(())
}

fn reduce(call: &mut Infer<'_>, fold: Option<(i64, Binary)>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let axes = axes(call, call.rank(0)?)?;
    shrink(call, dtype, &axes)?;
    let (start, fold) = fold?;
    // Floats round in between, in an order that the runtime chooses.
    if call.rank(0) == Some(1) && axes.reduces(0) && dtype?.is_integer() {
        let elements = call.ints(0)?;
        call.set_content(0, vec![elements.iter().try_fold(Int::from(start), |all, e| fold(&all, e))?]);
    }
    Some(())
}

/// As [`reduce`], for folds that nothing is neutral to.
fn reduce_some(call: &mut Infer<'_>, fold: Binary) -> Outcome {
    reduce(call, None);
    if call.rank(0) == Some(1) && axes(call, 1)?.reduces(0) && call.dtype(0)? != DType::Bool {
        let elements = call.ints(0)?;
        let (first, rest) = elements.split_first()?;
        call.set_content(0, vec![rest.iter().try_fold(first.clone(), |all, e| fold(&all, e))?]);
    }
    Some(())
}

fn arg(call: &mut Infer<'_>) -> Outcome {
    call.set_dtype(0, Some(DType::I64));
    let axis = normalize_axis(AXIS.of(call.node()), call.rank(0)?)?;
    shrink(call, Some(DType::I64), &Axes::These(SmallVec::from_slice(&[axis])))
}

fn channels(call: &CallView<'_>) -> Channels {
    match call.rank(0).and_then(|rank| axes(call, rank)) {
        Some(axes @ (Axes::Nothing | Axes::All | Axes::These(_))) => moved(call, &axes),
        Some(Axes::Open(_)) | None => Channels::Barrier,
    }
}

/// Axes that are not reduced stay what they are.
fn moved(call: &CallView<'_>, axes: &Axes) -> Channels {
    let keep = KEEPDIMS.of(call.node());
    let Some(rank) = call.rank(0) else { return Channels::Barrier };
    let stay = (0..rank).filter(|&axis| keep || !axes.reduces(axis));
    Channels::Moved(stay.map(|axis| (!axes.reduces(axis)).then_some(axis)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::OpKind::*;
    use crate::ops::testing::{Case, infer};

    #[test]
    fn axes_may_be_left_out_listed_or_open() {
        let flat = [("keepdims", 0.into())];
        let noop = [("noop_with_empty_axes", 1.into())];
        for (operands, attrs, expected) in [
            ("float[n,c,h]", &[][..], "float[1,1,1]"),
            ("float[n,c,h]", &flat, "float[]"),
            ("float[n,c,h] int64=[-1]", &[], "float[n,c,1]"),
            ("float[n,c,h] int64=[2,0]", &flat, "float[c]"),
            ("float[n,c,h] int64=[0,-3]", &flat, "float[c,h]"),
            ("float[n,c,h] int64=[]", &noop, "float[n,c,h]"),
            ("float[n,c,h]", &noop, "float[n,c,h]"),
            ("float[n,c,h] int64=[]", &flat, "float[]"),
            ("float[n,c,h] int64[0]", &flat, "float[]"),
            ("float[n,c,h] int64[2]", &flat, "float[?]"),
            ("float[n,c,h] int64[2]", &[], "float[?,?,?]"),
            ("float[n,c,h] int64[k]", &flat, "float[..]"),
            ("float[n,c,h] int64=[3]", &flat, "float[..]"),
            ("float[..] int64=[0]", &flat, "float[..]"),
        ] {
            assert_eq!(infer(ReduceSum, operands, attrs), expected, "{operands} {attrs:?}");
        }
    }

    #[test]
    fn sizes_multiply() {
        let flat = [("keepdims", 0.into())];
        assert_eq!(infer(ReduceProd, "int64:[h,w,3] int64=[0]", &flat), "int64:3*h*w");
        assert_eq!(infer(ReduceProd, "int64=[]", &flat), "int64:1");
        assert_eq!(infer(ReduceMax, "int64:[3,h]", &[]), "int64:[max(3, h)]");
        assert_eq!(infer(ReduceMax, "int64=[]", &flat), "int64[]");
        assert_eq!(infer(ReduceSum, "float:[3,4]", &flat), "float[]");
    }

    #[test]
    fn arg_max_gives_places() {
        assert_eq!(infer(ArgMax, "float16[n,c]", &[("axis", 1.into())]), "int64[n,1]");
        assert_eq!(infer(ArgMin, "float16[n,c]", &[("axis", (-2).into()), ("keepdims", 0.into())]), "int64[c]");
        assert_eq!(infer(ArgMin, "float16[n,c]", &[("axis", 2.into())]), "int64[..]");
    }

    #[test]
    fn axes_that_are_not_reduced_stay() {
        let case = Case::new(ReduceMean, "float[n,c,h] int64=[1]", &[("keepdims", 0.into())], 1);
        assert_eq!(channels(&case.view()), Channels::Moved([Some(0), Some(2)].into_iter().collect()));
        let case = Case::new(ReduceMean, "float[n,c] int64=[1]", &[], 1);
        assert_eq!(channels(&case.view()), Channels::Moved([Some(0), None].into_iter().collect()));
    }
}
