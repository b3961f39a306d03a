//! Pooling: `[N, C, spatial…]`, each channel on its own.

use smallvec::SmallVec;

use crate::ir::{Attr, DType, Int, Key, Shape, Type};
use crate::ops::window::{Rounding, Windows, spatial};
use crate::ops::{CallView, Channels, Infer, OpDef, Outcome, Quant};

/// Whether the last window may hang over the end.
pub const CEIL_MODE: Key<bool> = Key::new("ceil_mode", false);

/// The largest of each window; result 1 tells where it was.
pub static MAX_POOL: OpDef = OpDef {
    infer: Some(|c| {
        pool(c)?;
        indices(c)
    }),
    quant: |_| Quant::SharesScale,
    ..POOL
};

/// The mean of each window.
pub static AVERAGE_POOL: OpDef = OpDef { quant: |_| Quant::Activation, ..POOL };

/// The p-norm of each window.
pub static LP_POOL: OpDef = OpDef { infer: Some(lp_pool), ..POOL };

/// Pooling over all spatial axes, which stay with size 1.
pub static GLOBAL: OpDef = OpDef { infer: Some(global), ..POOL };

/// The mean over all spatial axes.
pub static GLOBAL_AVERAGE: OpDef = OpDef { quant: |_| Quant::Activation, ..GLOBAL };

/// The largest over all spatial axes.
pub static GLOBAL_MAX: OpDef = OpDef { quant: |_| Quant::SharesScale, ..GLOBAL };

/// Puts maxima back where `MaxPool` found them.
pub static MAX_UNPOOL: OpDef = OpDef { infer: Some(unpool), ..OpDef::PURE };

const POOL: OpDef = OpDef { infer: Some(pool), channels: |c| leading(c, 2), ..OpDef::PURE };

/// The first `kept` axes of the result are operand 0's; the rest of its axes have another meaning.
pub(super) fn leading(call: &CallView<'_>, kept: usize) -> Channels {
    match call.rank(0) {
        Some(rank) => Channels::Moved((0..rank).map(|axis| (axis < kept).then_some(axis)).collect()),
        None => Channels::Barrier,
    }
}

/// The sizes of a pool's windows along `n` spatial axes.
pub fn kernel_shape(call: &CallView<'_>, n: usize) -> Option<SmallVec<[i64; 8]>> {
    call.node().attr("kernel_shape").filter(|a| matches!(a, Attr::Ints(list) if list.len() == n))?;
    call.per_axis("kernel_shape", n, 1).filter(|k| k.iter().all(|&k| k >= 1))
}

fn pool(call: &mut Infer<'_>) -> Outcome {
    let rounding = if CEIL_MODE.of(call.node()) { Rounding::Ceil } else { Rounding::Floor };
    slide(call, |windows, axis, size, kernel| windows.places(axis, size, kernel, rounding))
}

/// As [`pool`]; ONNX does not say of `LpPool` that windows which start in the padding are left out, and so of those
/// nothing is said here.
fn lp_pool(call: &mut Infer<'_>) -> Outcome {
    if !CEIL_MODE.of(call.node()) {
        return pool(call);
    }
    slide(call, |windows, axis, size, kernel| {
        let all = windows.places(axis, size, kernel, Rounding::CeilAll)?;
        windows.places(axis, size, kernel, Rounding::Ceil).filter(|inside| *inside == all)
    })
}

fn slide(call: &mut Infer<'_>, places: impl Fn(&Windows, usize, &Int, &Int) -> Option<Int>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let x = call.dims(0)?;
    let n = x.len().checked_sub(2)?;
    let kernel = kernel_shape(call, n);
    let at = |windows: &Windows, axis: usize| {
        let kernel = Int::from(*kernel.as_ref()?.get(axis)?);
        places(windows, axis, x.get(axis + 2)?, &kernel)
    };
    let dims: Vec<Int> = x.iter().take(2).cloned().chain(spatial(call, n, at)).collect();
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(dims) });
    Some(())
}

/// Result 1 holds an int64 for each element of result 0.
fn indices(call: &mut Infer<'_>) -> Outcome {
    let shape = call.set_so_far(0)?.shape().clone();
    call.set_type(1, Type::tensor(DType::I64, shape));
    Some(())
}

fn global(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let x = call.dims(0)?;
    x.len().checked_sub(2)?;
    let one = Int::from(1);
    let dims: Vec<Int> = x.iter().enumerate().map(|(i, d)| if i < 2 { d.clone() } else { one.clone() }).collect();
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(dims) });
    Some(())
}

fn unpool(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let x = call.dims(0)?;
    let n = x.len().checked_sub(2)?;
    let asked = if call.has(2) { call.ints(2).filter(|sizes| sizes.len() == x.len()) } else { None };
    let kernel = kernel_shape(call, n);
    let length = |windows: &Windows, axis: usize| {
        if call.has(2) {
            return asked.as_ref()?.get(axis + 2).filter(|size| size.surely_non_negative()).cloned();
        }
        let (before, after) = windows.pads(axis)?;
        let (stride, kernel) = (*windows.strides.get(axis)?, *kernel.as_ref()?.get(axis)?);
        let rest = Int::from(kernel.checked_sub(before)?.checked_sub(after)?);
        let length =
            x.get(axis + 2)?.checked_sub(&Int::from(1))?.checked_mul(&Int::from(stride))?.checked_add(&rest)?;
        length.known().is_none_or(|l| l >= 0).then_some(length)
    };
    let dims: Vec<Int> = x.iter().take(2).cloned().chain(spatial(call, n, length)).collect();
    call.set_type(0, Type::Tensor { dtype, shape: Shape::of(dims) });
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::*;
    use crate::ops::testing::{infer, infer_all};

    #[test]
    fn pooling_keeps_batch_and_channels() {
        let k3 = [("kernel_shape", vec![3, 3].into()), ("strides", vec![2, 2].into())];
        let half = "-1 + (1 + h)/(2)";
        let expected = format!("float[n,c,{half},3]  int64[n,c,{half},3]");
        assert_eq!(infer_all(MaxPool, "float[n,c,h,8]", &k3, 2), expected);
        let ceil = [("kernel_shape", vec![3].into()), ("strides", vec![2].into()), ("ceil_mode", 1.into())];
        assert_eq!(infer(AveragePool, "float[n,c,8]", &ceil), "float[n,c,4]");
        assert_eq!(infer(MaxPool, "float[n,c,8]", &[]), "float[n,c,?]");
        assert_eq!(infer(MaxPool, "float[..]", &k3), "float[..]");
        assert_eq!(infer(MaxPool, "float[n]", &k3), "float[..]");
    }

    #[test]
    fn windows_that_start_in_the_padding_are_left_out() {
        let k1 = [("kernel_shape", vec![1].into()), ("strides", vec![2].into()), ("ceil_mode", 1.into())];
        assert_eq!(infer(AveragePool, "float[1,1,2]", &k1), "float[1,1,1]");
        // What ONNX does not say of LpPool is left open.
        assert_eq!(infer(LpPool, "float[1,1,2]", &k1), "float[1,1,?]");
        assert_eq!(infer(LpPool, "float[1,1,3]", &k1), "float[1,1,2]");
    }

    #[test]
    fn global_pooling_leaves_ones() {
        assert_eq!(infer(GlobalAveragePool, "float[n,c,h,w]", &[]), "float[n,c,1,1]");
    }

    #[test]
    fn unpooling_takes_the_size_it_is_told() {
        let k2 = [("kernel_shape", vec![2, 2].into()), ("strides", vec![2, 2].into())];
        assert_eq!(infer(MaxUnpool, "float[n,c,h,3] int64[n,c,h,3]", &k2), "float[n,c,2*h,6]");
        assert_eq!(infer(MaxUnpool, "float[1,1,2,2] int64[1,1,2,2] int64=[1,1,5,5]", &k2), "float[1,1,5,5]");
        assert_eq!(infer(MaxUnpool, "float[1,1,2,2] int64[1,1,2,2] int64[4]", &k2), "float[1,1,?,?]");
    }
}
