//! `BatchNormalization` in training mode: by the statistics of its own operand, which a constant has, too.

use crate::exec::exact::args::Args;
use crate::exec::exact::{Folded, Unable};
use crate::ir::{OpKind, Tensor};
use crate::ops::norm::{EPSILON, TRAINING_MODE};

/// The first result; what running statistics become is not computed.
///
/// Before opset 14 a call that has results for them is in training mode; such a call has no newer spelling.
pub(super) fn batch(args: &Args<'_>) -> Result<Folded, Unable> {
    let by_results = args.op() == OpKind::Custom && args.results() > 1;
    if !by_results && !TRAINING_MODE.of(args.node()) {
        return Err(Unable::NoKernel);
    }
    let x = args.tensor(0)?;
    let [samples, channels, ..] = *x.dims() else { return Err(Unable::NoKernel) };
    // In f64 on the way, which is two or four times that.
    args.room(x.dtype(), x.len())?;
    let reals = |slot: usize| args.tensor(slot)?.reals().ok_or(Unable::NoKernel);
    let (mut elements, scale, shift) = (reals(0)?, reals(1)?, reals(2)?);
    if !x.dtype().is_float() || scale.len() != channels || shift.len() != channels {
        return Err(Unable::NoKernel);
    }
    let count = x.len().checked_div(channels).unwrap_or(0);
    if count == 0 {
        return Err(Unable::Undefined("the mean of nothing"));
    }
    let inner = count / samples;
    for channel in 0..channels {
        let runs = || (channel * inner..x.len()).step_by(channels * inner).flat_map(|start| start..start + inner);
        let mean = runs().map(|i| elements[i]).sum::<f64>() / count as f64;
        let variance = runs().map(|i| (elements[i] - mean).powi(2)).sum::<f64>() / count as f64;
        let factor = scale[channel] / (variance + f64::from(EPSILON.of(args.node()))).sqrt();
        for i in runs() {
            elements[i] = (elements[i] - mean) * factor + shift[channel];
        }
    }
    let result = Tensor::rounded(x.dtype(), x.dims(), &elements).map_err(|_| Unable::NoKernel)?;
    Ok(Folded::rounding(result))
}
