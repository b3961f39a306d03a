//! Ops that work one element at a time, with numpy broadcasting.

use smallvec::SmallVec;

use crate::ir::{Atom, DType, Int, Key, Shape, Type};
use crate::ops::arith::{self, Binary, Unary, each};
use crate::ops::{CallView, Channels, Infer, OpDef, Outcome, Quant};

/// One operand; the result has its type.
pub static UNARY: OpDef = OpDef { infer: Some(like_first), channels: |_| Channels::Tied, ..OpDef::PURE };

/// As [`UNARY`], with a kernel that maps integers to integers.
pub static ACTIVATION: OpDef = OpDef { quant: |_| Quant::Activation, ..UNARY };

/// `|x|`.
pub static ABS: OpDef = OpDef { infer: Some(|c| unary(c, arith::abs)), ..UNARY };

/// `−x`.
pub static NEG: OpDef = OpDef { infer: Some(|c| unary(c, arith::neg)), ..UNARY };

/// −1, 0 or 1.
pub static SIGN: OpDef = OpDef { infer: Some(|c| unary(c, arith::sign)), ..UNARY };

/// Rounding to an integer, in one of several directions.
pub static ROUNDING: OpDef = OpDef { infer: Some(|c| unary(c, arith::same)), ..UNARY };

/// `max(x, 0)`.
pub static RELU: OpDef = OpDef { infer: Some(|c| unary(c, arith::relu)), quant: |_| Quant::SharesScale, ..UNARY };

/// `min(max(x, low), high)`, either bound may be left out.
pub static CLIP: OpDef = OpDef {
    infer: Some(|c| {
        like_first(c)?;
        c.set_content(0, clipped(c));
        Some(())
    }),
    quant: |_| Quant::SharesScale,
    ..UNARY
};

/// Logical not.
pub static NOT: OpDef = OpDef { infer: Some(|c| unary(c, arith::not)), ..UNARY };

/// Whether a float is NaN or infinite.
pub static CLASSIFY: OpDef = OpDef { infer: Some(|c| like_first_but(c, DType::Bool)), ..UNARY };

/// Zero a random part of the elements when training; nothing else.
pub static DROPOUT: OpDef = OpDef {
    deterministic: |call| !may_train(call),
    infer: Some(|c| {
        like_first(c)?;
        if let Type::Tensor { shape, .. } = c.ty(0)?.clone() {
            c.set_type(1, Type::tensor(DType::Bool, shape));
        }
        if !may_train(c) {
            c.set_content(0, c.ints(0));
        }
        Some(())
    }),
    quant: |_| Quant::SharesScale,
    ..UNARY
};

/// `x` where it is positive, `slope · x` elsewhere; the slope broadcasts to `x` and never widens it.
pub static PRELU: OpDef = OpDef { quant: |_| Quant::Activation, ..UNARY };

/// Two operands of one element type, broadcast.
pub static BINARY: OpDef = OpDef { infer: Some(|c| binary(c, |_, _| None)), ..UNARY };

/// As [`BINARY`], in either order.
pub static COMMUTING: OpDef = OpDef { commutes: true, ..BINARY };

/// `a + b`.
pub static ADD: OpDef = OpDef { infer: Some(|c| binary(c, arith::add)), quant: |_| Quant::Activation, ..COMMUTING };

/// `a − b`.
pub static SUB: OpDef = OpDef { infer: Some(|c| binary(c, arith::sub)), quant: |_| Quant::Activation, ..BINARY };

/// `a · b`.
pub static MUL: OpDef = OpDef { infer: Some(|c| binary(c, arith::mul)), quant: |_| Quant::Activation, ..COMMUTING };

/// `a / b`, rounded towards zero for integers.
pub static DIV: OpDef = OpDef {
    infer: Some(|c| {
        let exact = c.dtype(0).or(c.dtype(1)).is_none_or(DType::is_float);
        binary(c, if exact { arith::div_exact } else { arith::div_integers })
    }),
    quant: |_| Quant::Activation,
    ..BINARY
};

/// What remains of a division.
pub static MOD: OpDef = OpDef {
    infer: Some(|c| {
        const FMOD: Key<bool> = Key::new("fmod", false);
        binary(c, if FMOD.of(c.node()) { arith::remainder } else { arith::modulo })
    }),
    ..BINARY
};

/// `a` raised to `b`, of `a`'s element type.
pub static POW: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = c.dtype(0);
        broadcast_all(c, dtype)?;
        // How a float power rounds is the runtime's business, even where the exact result is an integer.
        if dtype.is_some_and(DType::is_integer) {
            c.set_content(0, each(c, |e| arith::pow(e.first()?, e.get(1)?)));
        }
        Some(())
    }),
    ..BINARY
};

/// Bits moved left or right.
pub static BIT_SHIFT: OpDef = BINARY;

/// `a = b`.
pub static EQUAL: OpDef = OpDef { infer: Some(|c| comparison(c, arith::equal)), ..COMMUTING };

/// `a > b`.
pub static GREATER: OpDef = OpDef { infer: Some(|c| comparison(c, arith::greater)), ..BINARY };

/// `a ≥ b`.
pub static GREATER_OR_EQUAL: OpDef = OpDef { infer: Some(|c| comparison(c, arith::greater_or_equal)), ..BINARY };

/// `a < b`.
pub static LESS: OpDef = OpDef { infer: Some(|c| comparison(c, arith::less)), ..BINARY };

/// `a ≤ b`.
pub static LESS_OR_EQUAL: OpDef = OpDef { infer: Some(|c| comparison(c, arith::less_or_equal)), ..BINARY };

/// Logical and.
pub static AND: OpDef = OpDef { infer: Some(|c| comparison(c, arith::and)), ..COMMUTING };

/// Logical or.
pub static OR: OpDef = OpDef { infer: Some(|c| comparison(c, arith::or)), ..COMMUTING };

/// Logical exclusive or.
pub static XOR: OpDef = OpDef { infer: Some(|c| comparison(c, arith::xor)), ..COMMUTING };

/// `a` where a condition holds, `b` elsewhere.
pub static WHERE: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = c.dtype(1).or(c.dtype(2));
        broadcast_all(c, dtype)?;
        c.set_content(0, each(c, |e| arith::choose(e.first()?, e.get(1)?, e.get(2)?)));
        Some(())
    }),
    ..BINARY
};

/// Any number of operands of one element type, broadcast, in any order.
pub static VARIADIC: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = (0..c.operand_count()).find_map(|slot| c.dtype(slot));
        broadcast_all(c, dtype)
    }),
    quant: |_| Quant::Activation,
    ..COMMUTING
};

/// The sum of all operands.
pub static SUM: OpDef = OpDef { infer: Some(|c| variadic(c, arith::add)), ..VARIADIC };

/// The smallest of all operands.
pub static MIN: OpDef = OpDef { infer: Some(|c| variadic(c, arith::min)), quant: |_| Quant::SharesScale, ..VARIADIC };

/// The largest of all operands.
pub static MAX: OpDef = OpDef { infer: Some(|c| variadic(c, arith::max)), quant: |_| Quant::SharesScale, ..VARIADIC };

/// Whether a `Dropout` may drop anything: its third operand is given and not known to be false.
fn may_train(call: &CallView<'_>) -> bool {
    call.has(2) && call.known_ints(2).is_none_or(|train| train != [0])
}

/// Result 0 has the type of operand 0.
pub(super) fn like_first(call: &mut Infer<'_>) -> Outcome {
    let ty = call.ty(0)?.clone();
    call.set_type(0, ty);
    Some(())
}

/// Result 0 has the dimensions of operand 0, and another element type.
pub(super) fn like_first_but(call: &mut Infer<'_>, dtype: DType) -> Outcome {
    call.set_dtype(0, Some(dtype));
    let shape = call.ty(0)?.shape().clone();
    call.set_type(0, Type::tensor(dtype, shape));
    Some(())
}

fn unary(call: &mut Infer<'_>, f: Unary) -> Outcome {
    like_first(call)?;
    call.set_content(0, each(call, |e| f(e.first()?)));
    Some(())
}

fn binary(call: &mut Infer<'_>, f: Binary) -> Outcome {
    let dtype = call.dtype(0).or(call.dtype(1));
    broadcast_all(call, dtype)?;
    call.set_content(0, each(call, |e| f(e.first()?, e.get(1)?)));
    Some(())
}

fn comparison(call: &mut Infer<'_>, f: Binary) -> Outcome {
    broadcast_all(call, Some(DType::Bool))?;
    call.set_content(0, each(call, |e| f(e.first()?, e.get(1)?)));
    Some(())
}

fn variadic(call: &mut Infer<'_>, f: Binary) -> Outcome {
    let dtype = (0..call.operand_count()).find_map(|slot| call.dtype(slot));
    broadcast_all(call, dtype)?;
    // A float sum of several rounds in between.
    if call.operand_count() <= 2 || !dtype?.is_float() {
        let fold = |e: &[&Int]| {
            let (first, rest) = e.split_first()?;
            rest.iter().try_fold((*first).clone(), |all, e| f(&all, e))
        };
        call.set_content(0, each(call, fold));
    }
    Some(())
}

fn clipped(call: &Infer<'_>) -> Option<Vec<Int>> {
    let bound = |slot| if call.has(slot) { call.int(slot).map(Some) } else { Some(None) };
    let (low, high) = (bound(1)?, bound(2)?);
    let clip = |x: Int| {
        let x = low.as_ref().map_or(x.clone(), |low| x.greater(low));
        high.as_ref().map_or(x.clone(), |high| x.lesser(high))
    };
    Some(call.elements(0)?.into_iter().map(clip).collect())
}

/// Result 0 is of `dtype` and as large as all operands broadcast together.
pub(super) fn broadcast_all(call: &mut Infer<'_>, dtype: Option<DType>) -> Outcome {
    call.set_dtype(0, dtype);
    let shapes: Vec<&[Int]> = (0..call.operand_count()).map(|slot| call.dims(slot)).collect::<Option<_>>()?;
    let dims = broadcast(&shapes, |axis| call.fresh(0, axis))?;
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(dims) });
    Some(())
}

/// The numpy broadcast of several shapes, aligned at the last dimension.
///
/// Two sizes of which neither is 1 must be equal at run time: a size that is provably not 1 wins over one that may
/// be, and a number over an expression. Where each of two different expressions may be 1, the result is what `fresh`
/// gives for that axis. `None` when the sizes contradict, or there is no shape.
pub fn broadcast(shapes: &[&[Int]], fresh: impl Fn(usize) -> Int) -> Option<Vec<Int>> {
    let rank = shapes.iter().map(|s| s.len()).max()?;
    (0..rank)
        .map(|axis| together(shapes.iter().filter_map(|s| s.get((axis + s.len()).checked_sub(rank)?)), || fresh(axis)))
        .collect()
}

/// The one size that several sizes along an axis broadcast to: see [`broadcast`].
pub(super) fn together<'a>(sizes: impl Iterator<Item = &'a Int>, fresh: impl FnOnce() -> Int) -> Option<Int> {
    let mut wide: SmallVec<[&Int; 3]> = SmallVec::new();
    for size in sizes {
        if size.known() != Some(1) && !wide.contains(&size) {
            wide.push(size);
        }
    }
    let mut known = wide.iter().filter(|s| s.known().is_some());
    let two = Int::from(2);
    match (&wide[..], known.next(), known.next()) {
        ([], _, _) => Some(Int::from(1)),
        ([size], _, _) => Some((*size).clone()),
        (_, Some(_), Some(_)) => None,
        (_, Some(known), None) => Some((*known).clone()),
        (_, None, _) => {
            let widest = wide.iter().find(|s| s.surely_at_least(&two) || is_one_last(s, &wide));
            Some(widest.map_or_else(fresh, |size| (*size).clone()))
        }
    }
}

/// Whether all of `sizes` are 1 when `size` is, as `min(64, n)` is when `n` is: then `size` is what they broadcast to.
fn is_one_last(size: &Int, sizes: &[&Int]) -> bool {
    let Some(atom) = size.as_atom() else { return false };
    let one = Int::from(1);
    let at_one = |a: &Atom| (a == atom).then(|| one.clone());
    sizes.iter().all(|other| other.substitute(&at_one).as_ref() == Some(&one))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::OpKind::*;
    use crate::ops::is_deterministic;
    use crate::ops::testing::{Case, infer, infer_all};

    fn shape(text: &str) -> Vec<Int> {
        text.split_whitespace().map(|t| t.parse::<i64>().map_or_else(|_| Int::named(t), Int::from)).collect()
    }

    #[test]
    fn broadcasting_never_takes_two_unknown_sizes_for_equal() {
        for (a, b, expected) in [
            ("n 1 3", "4 1", Some("n 4 3")),
            ("n", "n", Some("n")),
            ("n", "m", Some("?")),
            ("n", "5", Some("5")),
            ("n", "0", Some("0")),
            ("n", "1", Some("n")),
            ("", "n 2", Some("n 2")),
            ("2", "3", None),
        ] {
            let dims = broadcast(&[&shape(a), &shape(b)], |_| Int::named("?"));
            assert_eq!(dims, expected.map(shape), "{a} with {b}");
        }
    }

    #[test]
    fn a_size_that_is_never_one_wins() {
        let (n, padded) = (Int::named("n"), &Int::named("m") + 2);
        let dims = broadcast(&[std::slice::from_ref(&n), std::slice::from_ref(&padded)], |_| Int::named("?"));
        assert_eq!(dims, Some(vec![padded]));
        let capped = Int::from(64).lesser(&n);
        let dims = broadcast(&[std::slice::from_ref(&capped), std::slice::from_ref(&n)], |_| Int::named("?"));
        assert_eq!(dims, Some(vec![n.clone()]));
        let three = [n.clone()];
        let dims = broadcast(&[&three, &[Int::named("m")], &three], |_| Int::named("?"));
        assert_eq!(dims, Some(vec![Int::named("?")]));
    }

    #[test]
    fn types_follow_the_operands() {
        assert_eq!(infer(Sqrt, "float16[n,3]", &[]), "float16[n,3]");
        assert_eq!(infer(Add, "float[..] float[3]", &[]), "float[..]");
        assert_eq!(infer(Add, "? float[3]", &[]), "float[..]");
        assert_eq!(infer(Pow, "float[n,1] int64[4]", &[]), "float[n,4]");
        assert_eq!(infer(Less, "float[n,1] float[4]", &[]), "bool[n,4]");
        assert_eq!(infer(IsNaN, "double[n]", &[]), "bool[n]");
        assert_eq!(infer(IsNaN, "double[..]", &[]), "bool[..]");
        assert_eq!(infer(Where, "bool[n,1] ? float[4]", &[]), "float[..]");
        assert_eq!(infer(Where, "bool[n,1] float[] float[4]", &[]), "float[n,4]");
        assert_eq!(infer(Max, "float[n,1] float[4] float[2,1,1]", &[]), "float[2,n,4]");
        assert_eq!(infer(PRelu, "float[n,c,h] float[c,1]", &[]), "float[n,c,h]");
        assert_eq!(infer_all(Dropout, "float[n,3]", &[], 2), "float[n,3]  bool[n,3]");
    }

    #[test]
    fn shape_arithmetic_is_followed() {
        assert_eq!(infer(Add, "int64:[h,w] int64=1", &[]), "int64:[1 + h,1 + w]");
        assert_eq!(infer(Mul, "float:[h,w] float=[2,3]", &[]), "float:[2*h,3*w]");
        assert_eq!(infer(Mul, "float:h float=0.5", &[]), "float[]");
        assert_eq!(infer(Div, "float:[4] float=[8]", &[]), "float[1]");
        assert_eq!(infer(Div, "int64:[h] int64=[2]", &[]), "int64:[(h)/(2)]");
        assert_eq!(infer(Floor, "float:[h]", &[]), "float:[h]");
        assert_eq!(infer(Equal, "int64:[h,3] int64=-1", &[]), "bool:[0,0]");
        assert_eq!(infer(Where, "bool=[1,0] int64:[h,h] int64=[7,8]", &[]), "int64:[h,8]");
        assert_eq!(infer(Max, "int64:h int64=0", &[]), "int64:h");
        assert_eq!(infer(Clip, "int64:h - int64=5", &[]), "int64:min(5, h)");
        assert_eq!(infer(Sub, "int64[] int64=1", &[]), "int64:-1 + ?");
        assert_eq!(infer(Sub, "int64[..] int64=1", &[]), "int64[..]");
    }

    #[test]
    fn what_wraps_or_rounds_is_not_followed() {
        assert_eq!(infer(Mul, "float:h float:w", &[]), "float[]");
        assert_eq!(infer(Add, "float=16777216 float=1", &[]), "float[]");
        assert_eq!(infer(Add, "int32=2147483647 int32=1", &[]), "int32[]");
        assert_eq!(infer(Sub, "uint32=1 uint32=2", &[]), "uint32[]");
        assert_eq!(infer(Add, "uint8:h uint8=2", &[]), "uint8[]");
        assert_eq!(infer(Pow, "float=3 float=2", &[]), "float[]");
        assert_eq!(infer(Add, "int32[] int32=1", &[]), "int32[]");
    }

    #[test]
    fn dropout_is_deterministic_unless_it_may_train() {
        let deterministic = |operands| {
            let case = Case::new(Dropout, operands, &[], 1);
            is_deterministic(&case.graph, case.node)
        };
        assert!(deterministic("float[n]") && deterministic("float[n] - bool=0"));
        assert!(!deterministic("float[n] - bool=1") && !deterministic("float[n] - bool[]"));
    }
}
