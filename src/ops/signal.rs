//! Signal processing: Fourier transforms, windows, mel filters.

use crate::ir::{DType, Int, Key, Shape, Type};
use crate::ops::{CallView, Infer, OpDef, Outcome, normalize_axis};

const ONESIDED: &str = "onesided";

/// Fourier transform of `[…, 1 or 2]` along one axis; the last axis is real and imaginary part.
pub static DFT: OpDef = OpDef { infer: Some(dft), ..OpDef::PURE };

/// Fourier transforms of frames of a signal: `[N, length, 1 or 2]` to `[N, frames, bins, 2]`.
pub static STFT: OpDef = OpDef { infer: Some(stft), ..OpDef::PURE };

/// A bell of as many elements as the operand says.
pub static WINDOW: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = output_datatype(c);
        let size = length(c, 0).unwrap_or_else(|| c.fresh(0, 0));
        c.set(0, dtype, [size]);
        Some(())
    }),
    ..OpDef::PURE
};

/// Filters from spectrum bins to mel bands: `[dft_length / 2 + 1, num_mel_bins]`.
pub static MEL_WEIGHT_MATRIX: OpDef = OpDef {
    infer: Some(|c| {
        let dtype = output_datatype(c);
        let bins = length(c, 1).and_then(|n| half(&n)).unwrap_or_else(|| c.fresh(0, 0));
        let bands = length(c, 0).unwrap_or_else(|| c.fresh(0, 1));
        c.set(0, dtype, [bins, bands]);
        Some(())
    }),
    ..OpDef::PURE
};

fn output_datatype(call: &CallView<'_>) -> Option<DType> {
    const OUTPUT_DATATYPE: Key<i64> = Key::new("output_datatype", 1);
    i32::try_from(OUTPUT_DATATYPE.of(call.node())).ok().and_then(DType::from_code)
}

/// The size that the single element of operand `slot` says.
fn length(call: &CallView<'_>, slot: usize) -> Option<Int> {
    call.int(slot).filter(|n| n.known().is_none_or(|n| n >= 0))
}

/// The distinct bins of a transform of `n` real numbers: `⌊n / 2⌋ + 1`.
fn half(n: &Int) -> Option<Int> {
    n.floor_div(&Int::from(2))?.checked_add(&Int::from(1))
}

fn dft(call: &mut Infer<'_>) -> Outcome {
    const INVERSE: Key<bool> = Key::new("inverse", false);
    let (onesided, inverse) = (Key::new(ONESIDED, false).of(call.node()), INVERSE.of(call.node()));
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let x = call.dims(0)?;
    let last = x.len().checked_sub(1)?;
    let mut dims = x.to_vec();
    let axis = if call.has(2) { call.int(2).and_then(|a| a.known()) } else { Some(-2) };
    match axis {
        Some(axis) => {
            let axis = normalize_axis(axis, x.len()).filter(|&a| a != last)?;
            let n = if call.has(1) {
                length(call, 1)
            } else if onesided && inverse {
                x[axis].checked_sub(&Int::from(1)).and_then(|n| n.checked_mul(&Int::from(2)))
            } else {
                Some(x[axis].clone())
            };
            let n = if onesided && !inverse { n.and_then(|n| half(&n)) } else { n };
            dims[axis] = n.unwrap_or_else(|| call.fresh(0, axis));
        }
        None => dims.iter_mut().enumerate().for_each(|(axis, dim)| *dim = call.fresh(0, axis)),
    }
    dims[last] = Int::from(if onesided && inverse { 1 } else { 2 });
    call.set(0, dtype, dims);
    Some(())
}

fn stft(call: &mut Infer<'_>) -> Outcome {
    let dtype = call.dtype(0);
    call.set_dtype(0, dtype);
    let (batch, signal) = match call.dims(0) {
        Some([batch, signal, _]) => (Some(batch), Some(signal)),
        Some(_) => return None,
        None => (None, None),
    };
    let frame = if call.has(3) {
        length(call, 3)
    } else if call.has(2) {
        match call.dims(2) {
            Some([n]) => Some(n.clone()),
            _ => None,
        }
    } else {
        signal.cloned()
    };
    let frames = || {
        let slack = signal?.checked_sub(frame.as_ref()?)?;
        if slack.known().is_some_and(|s| s < 0) {
            return None;
        }
        slack.floor_div(&length(call, 1)?)?.checked_add(&Int::from(1))
    };
    let bins = || {
        let frame = frame.as_ref()?;
        if Key::new(ONESIDED, true).of(call.node()) { half(frame) } else { Some(frame.clone()) }
    };
    let dims = [batch.cloned(), frames(), bins(), Some(Int::from(2))];
    let dims = dims.into_iter().enumerate().map(|(axis, d)| d.unwrap_or_else(|| call.fresh(0, axis)));
    let ty = Type::Tensor { dtype, shape: Shape::of(dims) };
    call.set_type(0, ty);
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::ir::OpKind::*;
    use crate::ops::testing::infer;

    #[test]
    fn transforms_count_bins() {
        let one = [("onesided", 1.into())];
        let back = [("onesided", 1.into()), ("inverse", 1.into())];
        assert_eq!(infer(DFT, "float[n,l,1]", &[]), "float[n,l,2]");
        assert_eq!(infer(DFT, "float[n,10,1]", &one), "float[n,6,2]");
        assert_eq!(infer(DFT, "float[n,6,2]", &back), "float[n,10,1]");
        assert_eq!(infer(DFT, "float[n,6,2] int64=9", &back), "float[n,9,1]");
        assert_eq!(infer(DFT, "float[n,6,2] int64=9 int64=0", &[]), "float[9,6,2]");
        assert_eq!(infer(DFT, "float[n,6,2] - int64[]", &[]), "float[?,?,2]");
        assert_eq!(infer(DFT, "float[n,6,2] - int64=-1", &[]), "float[..]");
        assert_eq!(infer(DFT, "float[n,6,2] int64[]", &[]), "float[n,?,2]");
    }

    #[test]
    fn frames_step_through_the_signal() {
        assert_eq!(infer(STFT, "float[n,128,1] int64=8 float[16]", &[]), "float[n,15,9,2]");
        let all = [("onesided", 0.into())];
        assert_eq!(infer(STFT, "float[n,128,1] int64=8 - int64=16", &all), "float[n,15,16,2]");
        assert_eq!(infer(STFT, "float[n,l,1] int64[] - int64=16", &[]), "float[n,1 + (-16 + l)/(?),9,2]");
        assert_eq!(infer(STFT, "float[n,8,1] int64=8 - int64=16", &[]), "float[n,?,9,2]");
    }

    #[test]
    fn windows_are_as_long_as_told() {
        assert_eq!(infer(HannWindow, "int64=10", &[]), "float[10]");
        assert_eq!(infer(HammingWindow, "int32:n", &[("output_datatype", 11.into())]), "double[n]");
        assert_eq!(infer(BlackmanWindow, "int64=-1", &[]), "float[?]");
        assert_eq!(infer(MelWeightMatrix, "int64=8 int64=16 int64=8192 float=0 float=4096", &[]), "float[9,8]");
    }
}
