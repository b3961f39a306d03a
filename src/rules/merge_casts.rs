//! `Cast(Cast(x))` is one `Cast` where the first holds every value of `x` exactly: int32 → int64 → int32 is nothing,
//! float16 → float → double is float16 → double.
//!
//! Declines where the first cast rounds or wraps (float → float16 → float), because that is what it may be there for.

use crate::ops::shape::TO;
use crate::ir::OpKind::Cast;
use crate::ir::DType;
use crate::ops::CallView;
use crate::rewrite::{Exactness, Expr, Rule, Skip, call, require, var};


pub fn rule() -> Rule {
    let (x, second) = (var("x"), call("second"));
    Rule::new("merge-casts", Exactness::Bitwise, Cast.of(Cast.of(x)).bind(second), move |m| {
        let second = m.call(second);
        let from = m.ty(x).dtype().ok_or(Skip::NotThis)?;
        let (by, to) = (second.dtype(0).ok_or(Skip::NotThis)?, target(second).ok_or(Skip::NotThis)?);
        require(holds_exactly(by, from), "the first cast may round or wrap")?;
        require(same_conversion(from, by, to), "values out of range may convert otherwise")?;
        if to == from {
            return Ok(Expr::Value(m[x]));
        }
        Ok(Cast.emit([m[x].into()]).like(second))
    })
    .even_if_shared()
}

/// The type that a `Cast` converts to.
pub(super) fn target(cast: CallView<'_>) -> Option<DType> {
    DType::from_code(i32::try_from(TO.get(cast.node())?).ok()?)
}

/// Whether every value of type `narrow` is one of type `wide`.
fn holds_exactly(wide: DType, narrow: DType) -> bool {
    // (sign bits, magnitude bits) of an integer; (precision, exponent bits) of a float.
    let integer = |t: DType| match t {
        DType::Bool => Some((0, 1)),
        t if t.is_signed_integer() => Some((1, t.bits() - 1)),
        t if t.is_unsigned_integer() => Some((0, t.bits())),
        _ => None,
    };
    let float = |t: DType| match t {
        DType::F16 => Some((11, 5)),
        DType::BF16 => Some((8, 8)),
        DType::F32 => Some((24, 8)),
        DType::F64 => Some((53, 11)),
        _ => None,
    };
    match (integer(wide), integer(narrow), float(wide), float(narrow)) {
        (Some((s, m)), Some((t, n)), ..) => s >= t && m >= n,
        (_, Some((_, n)), Some((precision, exponent)), _) => n <= precision && n < (1 << (exponent - 1)),
        (_, _, Some((p, e)), Some((q, f))) => p >= q && e >= f,
        _ => false,
    }
}

/// Whether `from → to` does what `by → to` does to the values that `from` has, those that `to` cannot hold included.
fn same_conversion(from: DType, by: DType, to: DType) -> bool {
    // Texts show the type they come from; few runtimes convert to a narrow float from any type.
    if to == DType::String || to.is_float() && to.bits() < 16 {
        return false;
    }
    // An integer wraps into a narrower one; a float out of range becomes whatever the runtime likes.
    let changes_kind = from.is_float() != by.is_float();
    !changes_kind || to.is_float() || to == DType::Bool || holds_exactly(to, from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use DType::*;

    #[test]
    fn what_holds_what() {
        for (wide, narrow, expected) in [
            (I64, I32, true),
            (I32, I64, false),
            (I16, U8, true),
            (U16, I8, false),
            (F32, F16, true),
            (F32, BF16, true),
            (F16, BF16, false),
            (F32, I32, false),
            (F32, I16, true),
            (F64, I32, true),
            (F16, U8, true),
            (BF16, I8, true),
            (F16, Bool, true),
            (F16, U16, false),
            (I64, F16, false),
            (U8, U4, true),
            (F32, F8E4M3FN, false),
        ] {
            assert_eq!(holds_exactly(wide, narrow), expected, "{wide} holds {narrow}");
        }
        assert!(!same_conversion(U8, F32, I8) && same_conversion(U8, I32, I8) && same_conversion(U8, F32, I16));
    }
}
