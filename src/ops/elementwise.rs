//! Ops that work one element at a time, with numpy broadcasting.

use crate::ir::{Int, Type};
use crate::ops::{Channels, Infer, OpDef, Outcome, Quant};

/// One operand; the result has its type.
pub static UNARY: OpDef = OpDef { infer: Some(like_first), channels: |_| Channels::Tied, ..OpDef::PURE };

/// Two operands of one element type, broadcast.
pub static BINARY: OpDef = OpDef { infer: Some(arithmetic), quant: |_| Quant::Activation, ..UNARY };

/// As [`BINARY`], in either order.
pub static COMMUTING: OpDef = OpDef { commutes: true, ..BINARY };

fn like_first(call: &mut Infer<'_>) -> Outcome {
    let ty = call.ty(0)?.clone();
    call.set_type(0, ty);
    Some(())
}

fn arithmetic(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0).or_else(|| call.dtype(1));
    call.set_dtype(0, dtype);
    let dims = broadcast(&[call.dims(0)?, call.dims(1)?], |axis| call.fresh(0, axis))?;
    call.set_type(0, Type::Tensor { dtype, shape: crate::ir::Shape::of(dims) });
    Some(())
}

/// The numpy broadcast of several shapes, aligned at the last dimension.
///
/// Two sizes of which neither is 1 must be equal at run time: a number wins over an expression. Where one of two
/// different expressions may be 1, the result is what `fresh` gives for that axis. `None` when the sizes contradict.
pub fn broadcast(shapes: &[&[Int]], fresh: impl Fn(usize) -> Int) -> Option<Vec<Int>> {
    let rank = shapes.iter().map(|s| s.len()).max()?;
    let one = Int::from(1);
    (0..rank)
        .map(|axis| {
            let mut size = one.clone();
            for shape in shapes {
                let Some(at) = (axis + shape.len()).checked_sub(rank) else { continue };
                let dim = &shape[at];
                if *dim == one || *dim == size {
                    continue;
                }
                size = if size == one {
                    dim.clone()
                } else {
                    match (size.known(), dim.known()) {
                        (Some(_), Some(_)) => return None,
                        (Some(_), None) => size,
                        (None, Some(_)) => dim.clone(),
                        (None, None) => fresh(axis),
                    }
                };
            }
            Some(size)
        })
        .collect()
}
