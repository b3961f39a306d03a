//! Questions whose answer is a boolean.

use bytes::Bytes;

use crate::exec::exact::args::Args;
use crate::exec::exact::cast::small;
use crate::exec::exact::number::{Float, Number, Wide, map_lanes, per_float, per_number, zip_lanes};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, Key, OpKind, Tensor};

type Byte = [u8; 1];

fn same_type<'a>(args: &Args<'a>) -> Result<[&'a Tensor; 2], Unable> {
    let [a, b] = [args.tensor(0)?, args.tensor(1)?];
    if a.dtype() == b.dtype() { Ok([a, b]) } else { Err(Unable::malformed(format!("{} of {a} and {b}", args.op()))) }
}

fn test<T: Number>(args: &Args<'_>, operands: [&Tensor; 2], holds: impl Fn(T, T) -> bool) -> Result<Folded, Unable> {
    zip_lanes::<T::Packed, T::Packed, Byte>(args, operands, DType::Bool, |a, b| {
        Some([holds(T::get(*a), T::get(*b)).into()])
    })
    .map(Folded::from)
}

/// `Equal`
pub(super) fn equal(args: &Args<'_>) -> Result<Folded, Unable> {
    let operands = same_type(args)?;
    match operands[0].dtype() {
        DType::String => zip_lanes::<Bytes, Bytes, Byte>(args, operands, DType::Bool, |a, b| Some([(a == b).into()]))
            .map(Folded::from),
        DType::Bool => {
            let differ = |a: &Byte, b: &Byte| (a[0] == 0) != (b[0] == 0);
            zip_lanes::<Byte, Byte, Byte>(args, operands, DType::Bool, |a, b| Some([u8::from(!differ(a, b))]))
                .map(Folded::from)
        }
        dtype => per_number!(dtype, T => test(args, operands, |a: T, b: T| a == b), else => Err(Unable::NoKernel)),
    }
}

/// `Less`, `LessOrEqual`, `Greater` and `GreaterOrEqual`.
pub(super) fn ordered(args: &Args<'_>) -> Result<Folded, Unable> {
    let operands = same_type(args)?;
    per_number!(operands[0].dtype(), T => match args.op() {
        OpKind::Less => test(args, operands, |a: T, b: T| a < b),
        OpKind::LessOrEqual => test(args, operands, |a: T, b: T| a <= b),
        OpKind::Greater => test(args, operands, |a: T, b: T| a > b),
        OpKind::GreaterOrEqual => test(args, operands, |a: T, b: T| a >= b),
        _ => Err(Unable::NoKernel),
    }, else => Err(Unable::NoKernel))
}

/// `IsNaN` and `IsInf`.
pub(super) fn classify(args: &Args<'_>) -> Result<Folded, Unable> {
    const NEGATIVE: Key<bool> = Key::new("detect_negative", true);
    const POSITIVE: Key<bool> = Key::new("detect_positive", true);
    let x = args.tensor(0)?;
    let (negative, positive) = (NEGATIVE.of(args.node()), POSITIVE.of(args.node()));
    let is_found = |f: f64| match args.op() {
        OpKind::IsNaN => f.is_nan(),
        _ => f.is_infinite() && if f < 0.0 { negative } else { positive },
    };
    per_float!(x.dtype(), T => map_lanes::<<T as Number>::Packed, Byte>(args, x, DType::Bool, |p| {
        let x = T::get(*p);
        Some([u8::from((x.is_nan() || Float::is_infinite(x)) && is_found(x.to_f64()))])
    }), else => {
        if x.dtype().bits() != 8 || !x.dtype().is_float() {
            return Err(Unable::NoKernel);
        }
        map_lanes::<Byte, Byte>(args, x, DType::Bool, |[code]| match small(x.dtype(), *code)? {
            Wide::Float(f) => Some([is_found(f).into()]),
            Wide::Int(_) => None,
        })
    })
    .map(Folded::from)
}
