//! Convolutions: `[N, C, spatial…]` with a weight whose slices are output channels.

use smallvec::SmallVec;

use crate::ir::{Attr, DType, Int};
use crate::ops::dims::product;
use crate::ops::ties::{convolution, transposed_convolution};
use crate::ops::window::{GROUP, Padding, Rounding, Windows, groups, spatial};
use crate::ops::{CallView, Channels, Infer, OpDef, Outcome, Quant};

/// Weight `[M, C/group, kernel…]`.
pub static CONV: OpDef = OpDef {
    infer: Some(|c| convolve(c, 0, 1, c.dtype(0).or(c.dtype(1)))),
    channels: |c| mixed(c, 0, 1, 2),
    ties: |c| convolution(c, 0, 1, 2),
    quant: |c| if c.is_weight(1) { Quant::Kernel { weight: 1, axis: 0 } } else { Quant::Activation },
    macs: |c| per_result(c, 1),
    ..OpDef::PURE
};

/// As [`CONV`] with sampling places that move: `[X, W, offset, B, mask]`.
pub static DEFORM_CONV: OpDef =
    OpDef { channels: |c| mixed(c, 0, 1, 3), ties: |c| convolution(c, 0, 1, 3), quant: |_| Quant::Float, ..CONV };

/// Weight `[C, M/group, kernel…]`: each input element adds a scaled kernel to the result.
pub static CONV_TRANSPOSE: OpDef = OpDef {
    infer: Some(transpose),
    channels: |c| along(c, 0, 1, 2, (1, 0)),
    ties: |c| transposed_convolution(c, 0, 1, 2),
    quant: |c| if c.is_weight(1) { Quant::Kernel { weight: 1, axis: 1 } } else { Quant::Activation },
    macs: |c| product(c.dims(0)?)?.checked_mul(&product(c.dims(1)?.get(1..)?)?),
    ..OpDef::PURE
};

/// The channels of a convolution of operand `x` with weight `w` and, when given, bias `b`.
pub(super) fn mixed(call: &CallView<'_>, x: usize, w: usize, b: usize) -> Channels {
    along(call, x, w, b, (0, 1))
}

/// As [`mixed`], with the axes of the weight where output and input channels are.
fn along(call: &CallView<'_>, x: usize, w: usize, b: usize, (out_axis, in_axis): (usize, usize)) -> Channels {
    let Some(groups) = groups(call) else { return Channels::Barrier };
    if !call.is_weight(w) {
        return Channels::Barrier;
    }
    let bias = call.has(b).then_some(b);
    Channels::Mixed { weight: w, out_axis, in_axis, groups, input: (x, 1), output: 1, bias }
}

/// The multiply-accumulates of a convolution with weight `w`: one weight slice for each element of the result.
pub(super) fn per_result(call: &CallView<'_>, w: usize) -> Option<Int> {
    product(call.result_dims(0)?)?.checked_mul(&product(call.dims(w)?.get(1..)?)?)
}

/// Result 0 is the convolution, of `dtype`, of operand `x` with weight `w`.
pub(super) fn convolve(call: &mut Infer<'_>, x: usize, w: usize, dtype: Option<DType>) -> Outcome {
    call.set_dtype(0, dtype);
    let (dx, dw) = (call.dims(x), call.dims(w));
    let n = spatial_rank(dx, dw)?;
    let places = |windows: &Windows, axis: usize| {
        windows.places(axis, dx?.get(axis + 2)?, &kernel(call, dw, axis)?, Rounding::Floor)
    };
    let mut dims: Vec<Int> =
        vec![first(call, dx, 0), dw.and_then(|d| d.first()).map_or_else(|| call.fresh(0, 1), Clone::clone)];
    dims.extend(spatial(call, n, places));
    call.set(0, dtype?, dims);
    Some(())
}

fn first(call: &Infer<'_>, dims: Option<&[Int]>, axis: usize) -> Int {
    dims.and_then(|d| d.get(axis)).map_or_else(|| call.fresh(0, axis), Clone::clone)
}

/// The number of spatial axes, when the two ranks do not contradict.
fn spatial_rank(x: Option<&[Int]>, w: Option<&[Int]>) -> Option<usize> {
    let rank = match (x, w) {
        (Some(x), Some(w)) => (x.len() == w.len()).then_some(x.len())?,
        (Some(known), None) | (None, Some(known)) => known.len(),
        (None, None) => return None,
    };
    rank.checked_sub(2)
}

/// The kernel's size along a spatial axis: the weight's, else what the attribute says.
fn kernel(call: &CallView<'_>, w: Option<&[Int]>, axis: usize) -> Option<Int> {
    if let Some(w) = w {
        return w.get(axis + 2).cloned();
    }
    match call.node().attr("kernel_shape") {
        Some(Attr::Ints(k)) => k.get(axis).copied().filter(|&k| k >= 1).map(Int::from),
        _ => None,
    }
}

fn transpose(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0).or(call.dtype(1));
    call.set_dtype(0, dtype);
    let (dx, dw) = (call.dims(0), call.dims(1));
    let n = spatial_rank(dx, dw)?;
    let group = Int::from(GROUP.of(call.node()));
    let channels = dw.and_then(|d| d.get(1)?.checked_mul(&group));
    let extra = call.per_axis("output_padding", n, 0);
    let explicit: Option<SmallVec<[i64; 8]>> = match call.node().attr("output_shape") {
        None => None,
        Some(Attr::Ints(list)) if list.is_empty() => None,
        // A list of another length, or with a size that cannot be, says nothing that can be relied on.
        _ => Some(call.per_axis("output_shape", n, 0).filter(|l| l.iter().all(|&s| s > 0)).unwrap_or_default()),
    };
    let length = |windows: &Windows, axis: usize| {
        if let Some(sizes) = &explicit {
            return sizes.get(axis).copied().map(Int::from);
        }
        let (size, stride) = (dx?.get(axis + 2)?, Int::from(*windows.strides.get(axis)?));
        let span = windows.span(axis, &kernel(call, dw, axis)?)?;
        let extra = Int::from(*extra.as_ref()?.get(axis)?);
        if windows.padding == Padding::Same {
            // A kernel that does not reach the next place leaves nothing to pad away: implementations fall short.
            let reaches = span.checked_add(&extra)?.surely_at_least(&stride);
            return if reaches { size.checked_mul(&stride) } else { None };
        }
        let (before, after) = windows.pads(axis)?;
        let full = size.checked_sub(&Int::from(1))?.checked_mul(&stride)?.checked_add(&span)?.checked_add(&extra)?;
        let length = full.checked_sub(&Int::from(before))?.checked_sub(&Int::from(after))?;
        length.known().is_none_or(|l| l >= 0).then_some(length)
    };
    let mut dims = vec![first(call, dx, 0), channels.unwrap_or_else(|| call.fresh(0, 1))];
    dims.extend(spatial(call, n, length));
    call.set(0, dtype?, dims);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::*;
    use crate::ops::Channels;
    use crate::ops::testing::{Case, infer, macs};

    #[test]
    fn conv_counts_windows() {
        let half = [("strides", vec![2, 2].into()), ("pads", vec![1, 1, 1, 1].into())];
        assert_eq!(infer(Conv, "float[n,3,224,h] float[8,3,3,3]", &half), "float[n,8,112,(1 + h)/(2)]");
        assert_eq!(infer(Conv, "float[n,3,h] float[8,3,3]", &[]), "float[n,8,-2 + h]");
        let same = [("auto_pad", "SAME_UPPER".into()), ("strides", vec![2].into()), ("dilations", vec![3].into())];
        assert_eq!(infer(Conv, "float[n,3,5] float[8,3,3]", &same), "float[n,8,3]");
        assert_eq!(infer(Conv, "float16[..] float16[8,3,1,1]", &[]), "float16[?,8,?,?]");
        let k1 = [("kernel_shape", vec![1, 1].into())];
        assert_eq!(infer(Conv, "float[n,3,h,5] float[..]", &k1), "float[n,?,h,5]");
    }

    #[test]
    fn malformed_attributes_leave_sizes_open() {
        let short = [("strides", vec![2].into())];
        assert_eq!(infer(Conv, "float[n,3,7,7] float[8,3,3,3]", &short), "float[n,8,?,?]");
        let zero = [("strides", vec![0, 0].into())];
        assert_eq!(infer(Conv, "float[n,3,7,7] float[8,3,3,3]", &zero), "float[n,8,?,?]");
        let huge = [("dilations", vec![i64::MAX, 1].into())];
        assert_eq!(infer(Conv, "float[n,3,7,7] float[8,3,3,3]", &huge), "float[n,8,?,5]");
        assert_eq!(infer(Conv, "float[n,3,7] float[8,3,3,3]", &[]), "float[..]");
        assert_eq!(infer(Conv, "float[n,3,2] float[8,3,3]", &[]), "float[n,8,?]");
    }

    #[test]
    fn conv_transpose_grows() {
        let double = [("strides", vec![2, 2].into())];
        assert_eq!(infer(ConvTranspose, "float[n,8,h,7] float[8,4,2,2]", &double), "float[n,4,2*h,14]");
        let grouped = [("group", 2.into()), ("output_padding", vec![1].into()), ("strides", vec![3].into())];
        assert_eq!(infer(ConvTranspose, "float[n,8,5] float[8,4,3]", &grouped), "float[n,8,16]");
        let fixed = [("output_shape", vec![10, 8].into())];
        assert_eq!(infer(ConvTranspose, "float[n,8,h,w] float[8,4,3,3]", &fixed), "float[n,4,10,8]");
        let same = [("auto_pad", "SAME_LOWER".into()), ("strides", vec![2].into())];
        assert_eq!(infer(ConvTranspose, "float[n,8,h] float[8,4,3]", &same), "float[n,4,2*h]");
        assert_eq!(infer(ConvTranspose, "float[n,8,h] float[8,4,1]", &same), "float[n,4,?]");
    }

    #[test]
    fn channels_are_slices_of_a_weight() {
        let channels = |op, operands| (crate::ops::def(op).channels)(&Case::new(op, operands, &[], 1).view());
        let axes = |op, operands| match channels(op, operands) {
            Channels::Mixed { out_axis, in_axis, bias, .. } => Some((out_axis, in_axis, bias)),
            _ => None,
        };
        assert_eq!(axes(Conv, "float[n,3,h] float[8,3,3]=0 float[8]=0"), Some((0, 1, Some(2))));
        assert_eq!(axes(ConvTranspose, "float[n,3,h] float[3,8,3]=0"), Some((1, 0, None)));
        assert_eq!(axes(Conv, "float[n,3,h] float[8,3,3]"), None);
    }

    #[test]
    fn macs_count_each_product_once() {
        let depthwise = [("group", 8.into()), ("pads", vec![1, 1, 1, 1].into())];
        assert_eq!(macs(Conv, "float[2,8,10,10] float[8,1,3,3]", &depthwise), (2 * 800 * 9).to_string());
        assert_eq!(macs(Conv, "float[n,8,10,10] float[16,8,1,1]", &[]), "12800*n");
        assert_eq!(macs(ConvTranspose, "float[1,8,5] float[8,4,3]", &[]), (40 * 12).to_string());
        assert!(macs(Conv, "float[..] float[16,8,1,1]", &[]).contains('?'));
    }
}
