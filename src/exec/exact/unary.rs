//! Functions of one element that are exact or rounded once by definition.

use crate::exec::exact::args::Args;
use crate::exec::exact::number::{Float, Number, map, per_float, per_number};
use crate::exec::exact::{Folded, Unable};
use crate::ir::OpKind;

/// `Abs`, `Neg`, `Sign` and `Relu`.
pub(super) fn signed(args: &Args<'_>) -> Result<Folded, Unable> {
    let x = args.tensor(0)?;
    per_number!(x.dtype(), T => match args.op() {
        OpKind::Abs => map(args, x, |x: T| Some(Number::abs(x))),
        OpKind::Neg => map(args, x, |x: T| Some(Number::neg(x))),
        OpKind::Sign => map(args, x, |x: T| x.sign()),
        OpKind::Relu => map(args, x, |x: T| Some(x.larger(T::ZERO))),
        _ => Err(Unable::NoKernel),
    }, else => Err(Unable::NoKernel))
    .map(Folded::from)
}

/// `Ceil`, `Floor`, `Round` (half to even), `Sqrt` and `Reciprocal`.
pub(super) fn rounded_once(args: &Args<'_>) -> Result<Folded, Unable> {
    let x = args.tensor(0)?;
    per_float!(x.dtype(), T => match args.op() {
        OpKind::Ceil => map(args, x, |x: T| Some(Float::ceil(x))),
        OpKind::Floor => map(args, x, |x: T| Some(Float::floor(x))),
        OpKind::Round => map(args, x, |x: T| Some(Float::round(x))),
        OpKind::Sqrt => map(args, x, |x: T| Some(Float::sqrt(x))),
        OpKind::Reciprocal => map(args, x, |x: T| T::ONE.div(x)),
        _ => Err(Unable::NoKernel),
    }, else => Err(Unable::NoKernel))
    .map(Folded::from)
}
