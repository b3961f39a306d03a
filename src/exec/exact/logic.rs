//! Booleans and bits.

use crate::exec::exact::args::Args;
use crate::exec::exact::number::{Integer, map, map_lanes, per_integer, zip, zip_lanes};
use crate::exec::exact::{Folded, Unable};
use crate::ir::{DType, OpKind};

type Byte = [u8; 1];

/// `And`, `Or` and `Xor`.
pub(super) fn logical(args: &Args<'_>) -> Result<Folded, Unable> {
    let operands = [args.tensor(0)?, args.tensor(1)?];
    if operands.iter().any(|t| t.dtype() != DType::Bool) {
        return Err(Unable::malformed(format!("{} of {} and {}", args.op(), operands[0], operands[1])));
    }
    let combine = match args.op() {
        OpKind::And => |a, b| a && b,
        OpKind::Or => |a, b| a || b,
        OpKind::Xor => |a: bool, b: bool| a != b,
        _ => return Err(Unable::NoKernel),
    };
    let bit = |b: &Byte| b[0] != 0;
    zip_lanes::<Byte, Byte, Byte>(args, operands, DType::Bool, |a, b| Some([combine(bit(a), bit(b)).into()]))
        .map(Folded::from)
}

/// `Not`
pub(super) fn not(args: &Args<'_>) -> Result<Folded, Unable> {
    let x = args.tensor(0)?;
    if x.dtype() != DType::Bool {
        return Err(Unable::malformed(format!("Not of {x}")));
    }
    map_lanes::<Byte, Byte>(args, x, DType::Bool, |b| Some([u8::from(b[0] == 0)])).map(Folded::from)
}

/// `BitwiseAnd`, `BitwiseOr`, `BitwiseXor` and `BitShift`.
///
/// A shift by the width or more, or by a negative amount, leaves nothing but copies of the sign bit on the right.
pub(super) fn bitwise(args: &Args<'_>) -> Result<Folded, Unable> {
    let operands = [args.tensor(0)?, args.tensor(1)?];
    let [a, b] = operands;
    if a.dtype() != b.dtype() {
        return Err(Unable::malformed(format!("{} of {a} and {b}", args.op())));
    }
    let direction = args.text(crate::ir::Key::new("direction", ""));
    per_integer!(a.dtype(), T => {
        let by = |b: T| u32::try_from(b.to_i128()).unwrap_or(T::BITS);
        match (args.op(), direction.as_ref()) {
            (OpKind::BitwiseAnd, _) => zip(args, operands, |a: T, b: T| Some(a.and(b))),
            (OpKind::BitwiseOr, _) => zip(args, operands, |a: T, b: T| Some(a.or(b))),
            (OpKind::BitwiseXor, _) => zip(args, operands, |a: T, b: T| Some(a.xor(b))),
            (OpKind::BitShift, "LEFT") => zip(args, operands, |a: T, b: T| Some(a.left(by(b)))),
            (OpKind::BitShift, "RIGHT") => zip(args, operands, |a: T, b: T| Some(a.right(by(b)))),
            (OpKind::BitShift, other) => Err(Unable::malformed(format!("direction {other}"))),
            _ => Err(Unable::NoKernel),
        }
    }, else => Err(Unable::NoKernel))
    .map(Folded::from)
}

/// `BitwiseNot`
pub(super) fn bitwise_not(args: &Args<'_>) -> Result<Folded, Unable> {
    let x = args.tensor(0)?;
    per_integer!(x.dtype(), T => map(args, x, |x: T| Some(Integer::not(x))), else => Err(Unable::NoKernel))
        .map(Folded::from)
}
