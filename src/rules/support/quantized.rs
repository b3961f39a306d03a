//! Integers with a scale and a zero point, said with `QuantizeLinear` and `DequantizeLinear`.

use crate::ir::OpKind::{DequantizeLinear, QuantizeLinear};
use crate::ir::{DType, Tensor};
use crate::ops::CallView;
use crate::rewrite::{Expr, Skip, require};

/// Why a scale is left alone.
const NOT_SINGLE: Skip = Skip::Unsuitable("a scale is computed and not known to be one number");

/// The value, scale and zero point in these slots as a real value. A scale per channel is one along `axis`.
///
/// # Errors
/// Where it cannot be told whether the scale is one number.
pub fn dequantized(call: &CallView<'_>, [x, scale, zero]: [usize; 3], axis: i64) -> Result<Expr, Skip> {
    let operands = [call.operand(x).into(), parameter(call, scale)?, parameter(call, zero)?];
    let channels = call.constant(scale).is_some_and(|t| t.len() > 1);
    let y = DequantizeLinear.emit(operands);
    Ok(if channels { y.with("axis", axis) } else { y })
}

/// `x` with the scale and the zero point in these slots.
///
/// # Errors
/// Where it cannot be told whether the scale is one number.
pub fn quantized(call: &CallView<'_>, x: Expr, [scale, zero]: [usize; 2]) -> Result<Expr, Skip> {
    Ok(QuantizeLinear.emit([x, parameter(call, scale)?, parameter(call, zero)?]))
}

/// A scale or zero point: a scalar where it is one number.
fn parameter(call: &CallView<'_>, slot: usize) -> Result<Expr, Skip> {
    match call.constant(slot) {
        Some(one) if one.len() == 1 => one.reshaped(&[]).map(Expr::Constant).map_err(|_| Skip::NotThis),
        Some(each) => {
            require(each.rank() == 1, "a scale is of more than one dimension")?;
            Ok(call.operand(slot).into())
        }
        None if !call.has(slot) => Ok(Expr::Absent),
        None => {
            if call.rank(slot) != Some(0) {
                return Err(NOT_SINGLE);
            }
            Ok(call.operand(slot).into())
        }
    }
}

/// The constant weight and zero point in these slots, with `scale`, as a real value: a `DequantizeLinear` where it can
/// be one of int8 without a zero point. `channels` is the axis of a scale that is not one number, the last if none.
///
/// # Errors
/// Where one of them is computed, or the scale is neither one number nor one per channel.
pub fn weight(
    call: &CallView<'_>,
    [slot, zero]: [usize; 2],
    scale: &Tensor,
    channels: Option<usize>,
) -> Result<Expr, Skip> {
    let computed = Skip::Unsuitable("its weight or the zero point of it is computed");
    let weight = call.constant(slot).ok_or(computed.clone())?;
    let zeros = match call.has(zero) {
        true => call.constant(zero).and_then(Tensor::reals).ok_or(computed)?,
        false => vec![0.0],
    };
    let axis = channels.or(weight.rank().checked_sub(1)).ok_or(Skip::NotThis)?;
    let size = weight.dims().get(axis).copied().ok_or(Skip::NotThis)?;
    let fits = |len: usize| len == 1 || len == size;
    // The product of the integers has the channels last, that of a convolution before its other axes.
    let behind = if channels.is_some() { weight.rank().saturating_sub(2) } else { 0 };
    let along = scale.rank().checked_sub(1 + behind).and_then(|axis| scale.dims().get(axis));
    let aligned = scale.len() == 1 || along == Some(&scale.len());
    require(fits(scale.len()) && fits(zeros.len()) && aligned, "a scale is neither one number nor one per channel")?;
    let signed = match weight.dtype() {
        DType::I8 if zeros.iter().all(|&z| z == 0.0) => Some(weight.clone()),
        DType::U8 if zeros.iter().all(|&z| z == 128.0) => lowered_by_128(weight),
        _ => None,
    };
    if let Some(signed) = signed {
        let shape: &[usize] = if scale.len() == 1 { &[] } else { &[size] };
        let scale = scale.reshaped(shape).map_err(|_| Skip::NotThis)?;
        let y = DequantizeLinear.emit([signed.into(), scale.into()]);
        return Ok(y.with("axis", i64::try_from(axis).unwrap_or_default()));
    }
    let (elements, scales) = (weight.reals().ok_or(Skip::NotThis)?, scale.reals().ok_or(Skip::NotThis)?);
    let inner: usize = weight.dims()[axis + 1..].iter().product();
    let of = |list: &[f64], i: usize| list[if list.len() == 1 { 0 } else { i / inner % size }];
    let real: Vec<f64> = elements.iter().enumerate().map(|(i, q)| (q - of(&zeros, i)) * of(&scales, i)).collect();
    Tensor::rounded(DType::F32, weight.dims(), &real).map(Expr::Constant).map_err(|_| Skip::NotThis)
}

/// A tensor of uint8 as one of int8, every element 128 less.
pub fn lowered_by_128(tensor: &Tensor) -> Option<Tensor> {
    let bytes = tensor.bytes().filter(|_| tensor.dtype() == DType::U8)?;
    let lowered: Vec<u8> = bytes.iter().map(|b| b ^ 0x80).collect();
    Tensor::raw(DType::I8, tensor.dims(), lowered.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowering_keeps_the_order() {
        let unsigned = Tensor::raw(DType::U8, &[4], vec![0, 127, 128, 255].into()).unwrap();
        assert_eq!(lowered_by_128(&unsigned).unwrap().integers().unwrap(), [-128, -1, 0, 127]);
        assert!(lowered_by_128(&Tensor::scalar(1)).is_none());
    }
}
