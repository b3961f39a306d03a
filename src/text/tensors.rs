//! Tensors as text: in full when they are small, else what can be compared at a glance.

use std::fmt::Write;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::ir::{DType, Tensor};
use crate::onnx::proto::TensorProto;
use crate::text::spell::quoted;

/// Tensors of at most so many elements are spelled out.
const MAX_INLINE: usize = 4;
/// Integer vectors (axes, pads, shapes, indices) are read for their elements, so longer ones are spelled out.
const MAX_INLINE_INTEGERS: usize = 16;

/// `float[2,3]`
pub(super) fn ty(tensor: &TensorProto) -> String {
    let name = DType::from_code(tensor.data_type()).map_or("float", DType::name);
    if tensor.dims.is_empty() {
        return name.into();
    }
    format!("{name}[{}]", tensor.dims.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
}

/// `{elements}` of a small tensor, and what a comment says of the tensor.
pub(super) fn contents(proto: &TensorProto) -> (Option<String>, String) {
    let Some(tensor) = read(proto) else { return (None, "data not shown".into()) };
    let integers = tensor.dtype().is_integer() && tensor.rank() <= 1;
    if tensor.len() <= if integers { MAX_INLINE_INTEGERS } else { MAX_INLINE } {
        let readable = match tensor.dtype() {
            // The syntax gives these by their bits.
            DType::F16 | DType::BF16 => tensor.reals().unwrap_or_default(),
            _ => Vec::new(),
        };
        return (Some(spell(&tensor)), readable.into_iter().map(short).collect::<Vec<_>>().join(", "));
    }
    (None, summary(&tensor))
}

/// `{elements}`, however many.
pub(super) fn all(proto: &TensorProto) -> String {
    read(proto).map_or_else(|| "{}".into(), |tensor| spell(&tensor))
}

fn read(proto: &TensorProto) -> Option<Tensor> {
    crate::onnx::tensor::read(proto).ok().map(|(tensor, _)| tensor)
}

fn spell(tensor: &Tensor) -> String {
    let elements: Vec<String> = match tensor.as_strings() {
        Some(strings) => strings.iter().map(|s| quoted(&String::from_utf8_lossy(s))).collect(),
        None => (0..tensor.len()).filter_map(|i| Some(element(tensor.dtype(), &tensor.element(i)?))).collect(),
    };
    format!("{{{}}}", elements.join(", "))
}

/// One packed element as the syntax spells it.
fn element(dtype: DType, bytes: &[u8]) -> String {
    fn float<F: std::fmt::Debug>(f: F) -> String {
        let text = format!("{f:?}");
        if text == "NaN" { "nan".into() } else { text.strip_suffix(".0").map_or(text.clone(), str::to_string) }
    }
    let f32_at = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0.0, f32::from_le_bytes);
    let f64_at = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0.0, f64::from_le_bytes);
    match dtype {
        DType::F32 => float(f32_at(0)),
        DType::F64 => float(f64_at(0)),
        DType::C64 => format!("{}, {}", float(f32_at(0)), float(f32_at(4))),
        DType::C128 => format!("{}, {}", float(f64_at(0)), float(f64_at(8))),
        _ => {
            let bits = bytes.iter().rev().fold(0u64, |n, &b| (n << 8) | u64::from(b));
            if dtype.is_signed_integer() {
                let unused = 64 - dtype.bits().clamp(1, 64);
                (((bits << unused) as i64) >> unused).to_string()
            } else {
                bits.to_string()
            }
        }
    }
}

/// How many elements, their sum and the largest magnitude; a hash where elements are not numbers.
fn summary(tensor: &Tensor) -> String {
    let mut text = format!("{} elements", tensor.len());
    if let Some(strings) = tensor.as_strings() {
        let all: Vec<u8> = strings.iter().flat_map(|s| s.iter().copied().chain([0])).collect();
        let _ = write!(text, ", hash {:08x}", xxh3_64(&all) >> 32);
        return text;
    }
    match moments(tensor) {
        Some((sum, max)) => {
            let _ = write!(text, ", sum {}, |max| {}", short(sum), short(max));
        }
        None => {
            let _ = write!(text, ", hash {:08x}", xxh3_64(&tensor.bytes().unwrap_or_default()) >> 32);
        }
    }
    text
}

/// The sum and the largest magnitude, piece by piece: a weight may be larger than memory would like.
fn moments(tensor: &Tensor) -> Option<(f64, f64)> {
    const PIECE: usize = 1 << 16;
    if let Some(value) = tensor.uniform_real() {
        return Some((value * tensor.len() as f64, value.abs()));
    }
    let bytes = tensor.bytes()?;
    let (mut sum, mut max) = (0.0f64, 0.0f64);
    for start in (0..tensor.len()).step_by(PIECE) {
        let count = PIECE.min(tensor.len() - start);
        let (from, to) = (tensor.dtype().byte_len(start)?, tensor.dtype().byte_len(start + count)?);
        let piece: Bytes = bytes.slice(from..to);
        for real in Tensor::raw(tensor.dtype(), &[count], piece).ok()?.reals()? {
            sum += real;
            max = if real.abs() > max || real.is_nan() { real.abs() } else { max };
        }
    }
    Some((sum, max))
}

/// Five significant digits.
fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    let text = format!("{rounded:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_string)
}
